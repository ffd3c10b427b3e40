"""Try every method that explains inputs on every kind of model, and write down what became of it.

python docs/universality.py            # docs/universality.md; fails where something is unexplained
python docs/universality.py lrp gradient   # these alone, told and not written
"""

import re
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from unmask import catalogue, masked
from unmask.catalogue import Entry
from unmask.evaluation.universality import VERDICTS, Kind, Outcome, tried_on
from unmask.results import Attribution
from unmask.score import Score, logit
from unmask.zoo.kinds import PLAYERS, kind, kinds

TOLERANCE = 0.05
"""What a method that promises to add up may miss, in bfloat16 too."""
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "extremal_perturbation": {"areas": (1 / 3,)},  # two players of six
    "information_bottleneck": {"beta": 0.1},  # with 10 it lets nothing through for scores so small
    "deep_taylor": {"low": -1.0, "high": 2.0},  # between which all numbers of these inputs lie
}
"""What a method must be told of these inputs, where its defaults suit others."""


@dataclass(frozen=True)
class Why:
    """Why a method may disagree with the Shapley values without a fault in the code.

    Args:
        methods: which.
        kinds: on which kinds of model; all if empty.
        reason: why.
    """

    methods: tuple[str, ...]
    kinds: tuple[str, ...]
    reason: str


KNOWN = (
    Why(
        ("grad_cam", "grad_cam_plus_plus", "x_grad_cam", "score_cam", "ablation_cam"),
        ("cnn",),
        "One weight stands for a whole channel, which is right if the channels are averaged at the "
        "end. This network flattens them, and reads the same channel differently from place to "
        "place. `hires_cam` and `layer_cam` weigh each place by itself, and are right.",
    ),
    Why(
        ("deconvnet",),
        ("residual_cnn",),
        "On its way back it does not ask which ReLUs were active. Behind a mean over all places, "
        "every place is handed the same.",
    ),
    Why(
        ("blur_integrated_gradients",),
        (),
        "Its 'nothing' is the blurred image. Blurring keeps brightness, which is all that these "
        "networks read, so that nothing is taken away.",
    ),
    Why(
        ("deep_taylor",),
        ("mlp_tanh", "lstm", "transformer"),
        "Its rule follows positive weights alone, which is derived for layers of ReLUs, whose "
        "activations are not negative. Tanh and layer normalisation have negative ones.",
    ),
    Why(
        ("taylor_decomposition",),
        ("residual_cnn",),
        "The nearest root may lie where the image says that it is elsewhere: what is told then "
        "goes to the channels of places, which no player owns.",
    ),
    Why(
        ("contextual_decomposition",),
        ("lstm",),
        "A part is judged half by what it does alone, also without what no player owns. Here that "
        "says where each part lies, so that a part alone does not know whether it matters.",
    ),
    Why(
        ("vargrad",),
        (),
        "It tells how much the gradient varies, and not how large it is: where the model is linear "
        "that is nothing, and where it is linear in pieces, the kinks decide.",
    ),
    Why(
        ("flipping_set", "smallest_flipping_set"),
        (),
        "What they find is a set that turns the decision, and one of the two players that matter "
        "can be enough, or no set at all; it is not meant to rank.",
    ),
)
MARKS = {"ok": "ok", "refused": "no", "wrong": "**wrong**", "crash": "**crash**"}
Table = Mapping[str, Sequence[Outcome]]


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # of networks this small, threads only wait for each other
    chosen = [entry for entry in fitting() if entry.name in sys.argv[1:] or not sys.argv[1:]]
    models = (*kinds(), onnx())
    table = {entry.name: row(entry, models) for entry in chosen}
    if sys.argv[1:]:
        for name, outcomes in table.items():
            for model, outcome in zip(models, outcomes, strict=True):
                print(f"{name:28} {model.name:15} {outcome.verdict:8} {outcome.reason}")
        return
    page = Path(__file__).with_suffix(".md")
    page.write_text(written(table, [model.name for model in models]), "utf-8")
    counts = Counter(outcome.verdict for outcomes in table.values() for outcome in outcomes)
    print(page, dict(counts))
    unexplained = [
        f"{name} on {model.name}: {outcome.verdict}. {outcome.reason}"
        for name, outcomes in table.items()
        for model, outcome in zip(models, outcomes, strict=True)
        if outcome.verdict == "crash"
        or (outcome.verdict == "wrong" and known(name, model.name) is None)
    ]
    sys.exit("\n".join(unexplained))


def fitting() -> list[Entry]:
    """The methods that say of each input what its parts contribute to a score."""
    return [
        entry
        for entry in catalogue.methods().values()
        if entry.result is Attribution
        and ({"score", "x"} <= set(entry.needs) or entry.needs == ("game",))
        and entry.family != "evaluation"
    ]


def row(entry: Entry, models: Sequence[Kind]) -> list[Outcome]:
    """What becomes of a method on each kind."""
    tolerance = TOLERANCE if "completeness" in entry.axioms else None
    return [tried_on(model, explainer(entry, model), tolerance) for model in models]


def explainer(entry: Entry, model: Kind) -> Callable[[Score, Tensor], Attribution]:
    """A method, with all that it needs besides a score and inputs taken from the kind of model."""
    given: dict[str, object] = {
        "baseline": model.baseline,
        "players": model.players,
        "data": model.data,
        "window": window(model),
        "generator": torch.Generator().manual_seed(0),
    }
    if model.layer is not None and "layer" in entry.needs:
        given["layer"] = model.layer

    def explain(score: Score, x: Tensor) -> Attribution:
        options = OPTIONS.get(entry.name)
        if "game" not in entry.needs:
            return catalogue.fill(entry, given | {"score": score, "x": x}, options)
        values = []
        for i, one in enumerate(x):
            game = masked(score.at(torch.tensor([i])), one, model.players, model.baseline)
            values.append(catalogue.fill(entry, {"game": game}, options).values)
        return Attribution(torch.cat(values))

    return explain


def window(model: Kind) -> int | tuple[int, ...]:
    """As large as a player."""
    shape = model.x.shape[1:]
    if len(shape) == 3:
        return shape[1] // 2
    return 1 if len(shape) == 1 else (shape[0] // PLAYERS, shape[1])


def onnx() -> Kind:
    """The multi-layer perceptron, saved as an ONNX file and opened as `unmask run` would."""
    from unmask.run.models.open_onnx import open_onnx

    same = kind("mlp_relu")
    assert isinstance(same.score.model, nn.Module)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlp.onnx"
        torch.onnx.export(
            same.score.model,
            (same.x,),
            path,
            input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
            dynamo=False,
        )
        model = open_onnx(path).model
    return replace(same, name="onnx", score=logit(model, 0), layer=None)


def known(method: str, kind: str) -> int | None:
    """The place of the reason for which a method disagrees, if one is known."""
    for place, why in enumerate(KNOWN):
        if method in why.methods and (not why.kinds or kind in why.kinds):
            return place
    return None


def written(table: Table, names: Sequence[str]) -> str:
    """The page."""
    counts = Counter(outcome.verdict for outcomes in table.values() for outcome in outcomes)
    total = sum(counts.values())
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    lines = [
        "# Which methods explain which kinds of model",
        "",
        "<!-- written by docs/universality.py -->",
        "",
        f"{len(table)} methods on {len(names)} kinds of model, each pair tried:"
        f" {said}, of {total}.",
        f"A kind is a small network of `unmask.zoo.kinds`, taught that two of its {PLAYERS} "
        "players matter; ONNX is the perceptron again, as a file. *ok*: the method runs, and "
        "orders the players as the exact Shapley values do (Kendall's tau above 0.8, over the "
        "pairs that these tell clearly apart, averaged over three inputs); one that promises "
        f"to add up misses at most {TOLERANCE:.0%} of the score's change. *no*: it refuses, and "
        "says what to do. *wrong*: it runs and says something else; the number is that of the "
        "reason below.",
        "",
        f"| method | {' | '.join(names)} |",
        f"| --- |{' --- |' * len(names)}",
    ]
    for method, outcomes in table.items():
        cells = [mark(method, name, outcome) for name, outcome in zip(names, outcomes, strict=True)]
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    lines += ["", "## Why some are wrong", ""]
    lines += [f"{place}. {reason_of(why)}" for place, why in enumerate(KNOWN, 1)]
    lines += ["", "## Why some refuse", ""]
    lines += refusals(table, names)
    return "\n".join([*lines, ""])


def mark(method: str, name: str, outcome: Outcome) -> str:
    place = known(method, name) if outcome.verdict == "wrong" else None
    return MARKS[outcome.verdict] if place is None else f"wrong ({place + 1})"


def reason_of(why: Why) -> str:
    who = ", ".join(f"`{method}`" for method in why.methods)
    return f"{who}{' on ' + ', '.join(why.kinds) if why.kinds else ''}: {why.reason}"


def refusals(table: Table, names: Sequence[str]) -> list[str]:
    """Each message once, with the methods and the kinds that it was met with."""
    met: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for method, outcomes in table.items():
        for name, outcome in zip(names, outcomes, strict=True):
            if outcome.verdict == "refused":
                said = re.sub(f"^{method} needs", "The method needs", outcome.reason)
                met[said].append((method, name))
    lines = []
    for message, pairs in sorted(met.items(), key=lambda item: -len(item[1])):
        methods = list(dict.fromkeys(f"`{method}`" for method, _ in pairs))
        others = f" and {len(methods) - 3} more" if len(methods) > 3 else ""
        where = ", ".join(dict.fromkeys(name for _, name in pairs))
        lines.append(f"* {', '.join(methods[:3])}{others}, on {where}: “{message}”")
    return lines


if __name__ == "__main__":
    main()
