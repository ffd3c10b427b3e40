"""Universality: planted verdicts, and a small part of the table of methods and kinds."""

import importlib.util
import itertools
from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score

from unmask import Game, features, logit
from unmask.evaluation import Kind, universality
from unmask.evaluation.universality import VERDICTS, concordance, tried_on
from unmask.methods.saliency import integrated_gradients
from unmask.planted import linear_network
from unmask.results import Attribution
from unmask.zoo.kinds import KINDS, kinds, shapley
from unmask.zoo.kinds import kind as kind_of

WEIGHTS = torch.tensor([4.0, 3.0, 0.0, 0.0])
X = torch.tensor([[1.0, 2.0, 1.0, 3.0], [2.0, 1.0, -1.0, 1.0]])
LINEAR = Kind(
    "linear", logit(linear_network(WEIGHTS), 0), X, torch.zeros(4), features(4), WEIGHTS * X
)
SLOW = ("residual_cnn", "point_cloud", "causal_lm")  # to train
QUICK = [name for name in KINDS if name not in SLOW]
MARKED = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
PAGE = Path(__file__).parents[2] / "docs" / "universality.py"


def right(score, x):
    return Attribution(WEIGHTS * x)


def raising(error):
    def explain(score, x):
        raise error

    return explain


@pytest.fixture(scope="module")
def page():
    """The script that writes the table."""
    spec = importlib.util.spec_from_file_location("universality_page", PAGE)
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize(
    ("explain", "tolerance", "verdict", "reason"),
    [
        (right, None, "ok", ""),
        (right, 1e-6, "ok", ""),
        (lambda score, x: Attribution(1.1 * WEIGHTS * x), None, "ok", ""),
        (lambda score, x: Attribution(1.1 * WEIGHTS * x), 0.09, "wrong", "misses 10.0% of the"),
        (lambda score, x: Attribution(1.1 * WEIGHTS * x), 0.11, "ok", ""),
        (lambda score, x: Attribution(-WEIGHTS * x), None, "wrong", "agrees with the truth by -1"),
        (lambda score, x: Attribution(torch.ones(2, 4)), None, "wrong", "truth by 0.00 only"),
        (lambda score, x: Attribution(x * torch.nan), None, "wrong", "must be finite"),
        (lambda score, x: Attribution(x[:, :3]), None, "wrong", "has shape"),
        (lambda score, x: WEIGHTS * x, None, "wrong", "no Attribution, but a Tensor"),
        (raising(ValueError("There is no layer. Name one.")), None, "refused", "There is no layer"),
        (raising(TypeError("This is no module. Give one.")), None, "refused", "no module"),
        (raising(ValueError("invalid")), None, "crash", "ValueError: invalid"),
        (raising(RuntimeError("There is no layer. Name one.")), None, "crash", "RuntimeError"),
        (raising(KeyError("layer")), None, "crash", "KeyError"),
    ],
)
def test_each_verdict(explain, tolerance, verdict, reason):
    outcome = tried_on(LINEAR, explain, tolerance)
    assert outcome.verdict == verdict
    assert reason in outcome.reason
    assert bool(outcome.reason) == bool(reason)


def test_the_numbers_count_the_kinds():
    others = [Kind(f"kind {i}", *list(vars(LINEAR).values())[1:]) for i in range(4)]
    explain = {
        "kind 0": right,
        "kind 1": raising(ValueError("There is no layer. Name one.")),
        "kind 2": lambda score, x: Attribution(-WEIGHTS * x),
        "kind 3": raising(RuntimeError("No.")),
    }
    found = universality(others, explain=explain)
    assert found.curves["verdict"].tolist() == [0, 1, 2, 3]
    assert [found.numbers[verdict] for verdict in VERDICTS] == [1, 1, 1, 1]
    assert found.numbers["universality"] == 0.25
    assert found.numbers["agreement_kind 0"] == 1
    assert found.numbers["agreement_kind 2"] == -1
    assert "agreement_kind 1" not in found.numbers


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"no kinds of model to try\. Give one"):
        universality([], explain=right)
    with pytest.raises(ValueError, match=r"explains 'linear', but of 'other'\. Give one"):
        universality([LINEAR], explain={"other": right})
    with pytest.raises(ValueError, match=r"no kind of model 'perceptron'\. Choose from linear"):
        kinds(["linear", "perceptron"])


def test_concordance_pair_by_pair():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(5, 6, generator=generator).double()
    values = torch.randn(5, 6, generator=generator).double().round()  # with ties
    means = []
    for one, true in zip(values.tolist(), truth.tolist(), strict=True):
        most = max(map(abs, true))
        counted = [
            (one[i] > one[j]) - (one[i] < one[j])
            for i, j in itertools.permutations(range(6), 2)
            if true[i] - true[j] > most / 2
        ]
        means.append(sum(counted) / len(counted))
    assert concordance(values, truth) == pytest.approx(sum(means) / 5)


def test_of_a_planted_set_concordance_is_that_of_a_detector():
    """2 AUROC - 1, by scikit-learn."""
    planted = torch.tensor([[1.0, 0, 0, 1, 0, 0, 1]])
    values = torch.randn(1, 7, generator=torch.Generator().manual_seed(1))
    area = roc_auc_score(planted[0].numpy(), values[0].numpy())
    assert concordance(values, planted) == pytest.approx(2 * area - 1)


def test_the_judge_counts_orders():
    """Shapley values as the mean over all orders in which players come."""
    table = torch.randn(16, generator=torch.Generator().manual_seed(2)).double()
    game = Game(
        lambda masks: table[(masks * torch.tensor([1, 2, 4, 8])).sum(1)],
        tuple("abcd"),
        table.clone,
    )
    found = torch.zeros(4).double()
    for order in itertools.permutations(range(4)):
        place = 0
        for player in order:
            found[player] += (table[place + 2**player] - table[place]) / 24
            place += 2**player
    assert torch.allclose(shapley(game), found, atol=1e-12)


def test_the_truth_in_closed_form():
    black_box = kind_of("black_box")
    v = black_box.x.double()
    expected = torch.zeros_like(v)  # of 2 (a + b) + a b each gets half of the product
    expected[:, 1], expected[:, 2] = (2 * v[:, i] + v[:, 1] * v[:, 2] / 2 for i in (1, 2))
    assert torch.allclose(black_box.truth, expected, atol=1e-5)
    assert torch.allclose(kind_of("linear").truth[:, :2].float(), kind_of("linear").x[:, :2]
                          * torch.tensor([3.0, 2.0]), atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("name", MARKED)
def test_of_each_kind_two_players_matter_and_the_truth_adds_up(name):
    model = kind_of(name)
    whole = model.score(model.x)
    nothing = model.score(model.baseline[None])
    # bfloat16 has three digits.
    close = 0.05 if name == "half_precision" else 1e-4
    assert torch.allclose(model.truth.sum(1), (whole - nothing).double(), atol=close)
    ordered = model.truth.mean(0).abs().sort(descending=True).values
    assert ordered[1] > 5 * ordered[2]
    assert model.x.shape[1:] == model.baseline.shape == model.players.owner.shape
    assert model.layer is None or model.layer in dict(model.score.model.named_modules())


def test_kinds_are_the_same_each_time_and_leave_chance_alone():
    drawn = torch.get_rng_state()
    one, other = (KINDS["mlp_relu"]("mlp_relu") for _ in range(2))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert torch.equal(one.truth, other.truth)
    assert kinds(["mlp_relu"])[0] is kind_of("mlp_relu")


# A part of the table

EVERYWHERE = ("shapley_exact", "ablation", "kernel_shap", "occlusion")
IDS = {"token_ids", "causal_lm"}
BLACK = {"black_box", "scikit_learn"}
IMAGES = {"cnn", "residual_cnn"}
REFUSED = {
    **dict.fromkeys(EVERYWHERE, frozenset()),
    **dict.fromkeys(
        ("gradient", "integrated_gradients", "deeplift", "lrp"), frozenset(IDS | BLACK)
    ),
    "guided_backprop": IDS | BLACK | {"mlp_gelu", "mlp_tanh", "gated_mlp", "point_cloud"},
    "cam": set(KINDS) - {"residual_cnn"},
    "hires_cam": set(KINDS) - IMAGES,
    "rise": set(KINDS) - IMAGES,
    "feature_omission": IDS,
}


@pytest.mark.filterwarnings("ignore")  # where there is no ReLU, guided backprop says so, and runs
@pytest.mark.parametrize("chosen", [QUICK, pytest.param(SLOW, marks=pytest.mark.slow)], ids=len)
@pytest.mark.parametrize("name", REFUSED)
def test_a_method_works_where_it_can_and_refuses_elsewhere(name, chosen, page):
    entry = page.catalogue.entry(name)
    outcomes = dict(zip(chosen, page.row(entry, kinds(chosen)), strict=True))
    expected = {kind: "refused" if kind in REFUSED[name] else "ok" for kind in chosen}
    assert {kind: outcome.verdict for kind, outcome in outcomes.items()} == expected, outcomes


def test_what_goes_through_numpy_is_refused_and_not_answered_with_zeros(page):
    entry = page.catalogue.entry("contextual_decomposition")
    outcomes = page.row(entry, kinds(["black_box", "scikit_learn"]))
    assert [outcome.verdict for outcome in outcomes] == ["refused", "refused"]


def test_noise_is_wrong_everywhere():
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        found = universality(
            kinds([name for name in QUICK if name not in IDS]),
            explain=lambda score, x, generator=generator: Attribution(
                torch.randn(x.shape, generator=generator).to(x.dtype)
            ),
        )
        assert found.numbers["ok"] == 0
        assert found.numbers["wrong"] == found.numbers["kinds"]


def test_one_function_for_all_kinds():
    """Whose baseline is nothing: integrated gradients promises to add up, and does."""
    chosen = kinds(["linear", "mlp_gelu", "cnn", "two_inputs", "black_box", "token_ids"])

    def explain(score, x):
        return integrated_gradients(score, x, baseline=torch.zeros_like(x[0]))

    found = universality(chosen, explain=explain, tolerance=0.02)  # steps over kinks
    assert [VERDICTS[int(code)] for code in found.curves["verdict"]] == [
        *("ok", "ok", "ok", "ok"),
        *("refused", "refused"),
    ]


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")  # of the old exporter, which needs no onnxscript
def test_an_onnx_file_is_a_kind_too(page):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    model = page.onnx()
    rows = [page.row(page.catalogue.entry(name), [model])[0] for name in ("shapley_exact", "lrp")]
    assert [row.verdict for row in rows] == ["ok", "refused"]


def test_the_page_holds_every_method_and_explains_what_is_wrong(page):
    text = PAGE.with_suffix(".md").read_text()
    table = [line for line in text.splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in table] == [entry.name for entry in page.fitting()]
    assert "**" not in "".join(table)  # the mark of what is wrong for no known reason
    for place, why in enumerate(page.KNOWN, 1):
        for method in why.methods:
            (line,) = [line for line in table if line.startswith(f"| `{method}` ")]
            assert f"wrong ({place})" in line, method
