"""What is chosen unasked, and that it is said."""

import pytest
import torch
from torch import nn

from run.tiny import (
    perceptron,
    rows,
    write_classifier,
    write_csv,
    write_language_model,
    write_picture,
)
from unmask.run import Choice, Opened, Source, Wishes, open_model, read_inputs, suggest
from unmask.run.choices.scene import Scene
from unmask.run.choices.subject import subject

NAMES = ("age", "height", "weight", "dose")


class Linear(nn.Module):
    """One number: a weighted sum of columns."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))

    def forward(self, x):
        return x @ self.weights[:, None]


class Softmax(nn.Module):
    """Probabilities instead of logits."""

    def __init__(self):
        super().__init__()
        self.inner = perceptron()

    def forward(self, x):
        return self.inner(x).softmax(-1)


def table(tmp_path, x, names):
    write_csv(tmp_path / "t.csv", x, names, {})
    return Source(file=str(tmp_path / "t.csv"))


def suggested(model, source, **wishes):
    opened = model if isinstance(model, Opened) else Opened(model, "")
    material = read_inputs(source, opened)
    found = suggest("m", source, opened, material, Wishes(**wishes))
    return found, opened, material


def test_a_small_table(tmp_path):
    found, opened, material = suggested(perceptron(), table(tmp_path, rows(3), NAMES))
    plan = found.plan
    assert plan.score == Choice("log_odds", {"target": "predicted"})
    assert plan.players == Choice("features")
    assert plan.baseline == Choice("mean")
    assert list(plan.methods) == [
        "and_or",
        "universal_matching",
        "sparsity",
        "shapley_exact",
        "gradient",
        "integrated_gradients",
    ]
    said = " ".join(found.notes)
    for part in ("log-odds of the class that the model predicts", "the 4 columns", "mean of the 3"):
        assert part in said
    made = subject(Scene(opened, material, 1), plan)
    torch.testing.assert_close(made.baseline, rows(3).mean(0))
    z = perceptron()(rows(3)[1:2])[0].detach()
    assert made.reading.target == int(z.argmax())
    assert made.reading.probability == pytest.approx(float(z.softmax(0).max()))
    assert made.players.names == NAMES
    assert made.view.present == tuple(f"{v:.4g}" for v in rows(3)[1].tolist())


def test_a_single_row_has_no_mean(tmp_path):
    found, _, _ = suggested(perceptron(), table(tmp_path, rows(1), NAMES))
    assert found.plan.baseline == Choice("constant", {"value": 0.0})
    assert "zeros" in " ".join(found.notes)


def test_of_many_columns_those_that_matter_are_players(tmp_path):
    # The score is linear, so hiding column i alone changes it by weight i times (x_i - mean_i).
    weights = [0.0] * 20
    strong = [19, 0, 3, 7, 5, 11, 2, 17, 13, 8, 16, 9]
    for rank, i in enumerate(strong):
        weights[i] = 5.0 + rank
    weights[4] = 0.01
    x = torch.zeros(4, 20)
    x[::2] = 1.0
    names = tuple(f"c{i}" for i in range(20))
    found, opened, material = suggested(Linear(weights), table(tmp_path, x, names))
    assert found.plan.score == Choice("output")
    assert found.plan.players == Choice(
        "features", {"columns": tuple(f"c{i}" for i in sorted(strong))}
    )
    assert "12 of 20 columns" in " ".join(found.notes)
    made = subject(Scene(opened, material, 0), found.plan)
    assert (made.players.owner >= 0).sum() == 12
    assert made.players.owner[4] == -1
    assert made.reading.score.name == "output"
    assert made.reading.probability is None


def test_probabilities_are_read_as_such(tmp_path):
    source = table(tmp_path, rows(3), NAMES)
    found, opened, material = suggested(Softmax(), source)
    assert found.plan.score.options["outputs"] == "probabilities"
    logits, plain_opened, plain_material = suggested(perceptron(), source)
    for i in range(3):
        one = subject(Scene(opened, material, i), found.plan).reading
        other = subject(Scene(plain_opened, plain_material, i), logits.plan).reading
        x = material.inputs[i][None]
        torch.testing.assert_close(one.score(x), other.score(x), rtol=1e-4, atol=1e-4)
        assert one.probability == pytest.approx(other.probability)


def test_many_inputs_are_not_all_explained_unasked(tmp_path):
    source = table(tmp_path, rows(9), NAMES)
    found, _, _ = suggested(perceptron(), source)
    assert found.plan.rows == (0, 1, 2, 3, 4)
    assert "first 5 of 9" in found.notes[0]
    assert suggested(perceptron(), source, rows=(8,))[0].plan.rows == (8,)


def test_pictures(tmp_path):
    write_picture(tmp_path / "a.png", 48, 64)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3))
    source = Source(file=str(tmp_path / "a.png"))
    found, opened, material = suggested(model, source)
    assert found.plan.players == Choice("patches", {"grid": (3, 4)})
    assert found.plan.baseline == Choice("blur", {"radius": 8.0})
    made = subject(Scene(opened, material, 0), found.plan)
    assert made.view.pixels.shape == (48, 64, 3)
    assert made.baseline.std() < material.inputs[0].std() / 5
    assert suggested(model, source, grid=(2, 5))[0].plan.players.options["grid"] == (2, 5)


def test_small_pictures_are_hidden_by_their_mean_colour(tmp_path):
    write_picture(tmp_path / "a.png", 8, 8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    found, opened, material = suggested(model, Source(file=str(tmp_path / "a.png")))
    assert found.plan.baseline == Choice("colour")
    x = material.inputs[0]
    made = subject(Scene(opened, material, 0), found.plan)
    for c in range(3):
        torch.testing.assert_close(made.baseline[c], x[c].mean().expand(8, 8))


def test_texts(tmp_path):
    write_classifier(tmp_path)
    opened = open_model(str(tmp_path))
    source = Source(text=("the film was not good , very bad . a story once upon time", "goodish !"))
    found, _, material = suggested(opened, source)
    assert found.plan.players == Choice("words", {"most": 12})
    assert found.plan.baseline == Choice("token", {"id": 4})
    assert "gradient" not in found.plan.methods
    assert "mask token '[MASK]'" in " ".join(found.notes)
    assert "gradient methods are left out" in " ".join(found.notes)
    made = subject(Scene(opened, material, 0), found.plan)
    assert len(material.sentences[0].names) == 14
    assert len(made.players.names) == 12
    # The two that stay out are those whose own hiding changes the score least.
    x, score = material.inputs[0], made.reading.score
    effects = {}
    for word, name in enumerate(material.sentences[0].names):
        hidden = x.clone()
        for place, owner in enumerate(material.sentences[0].words):
            if owner == word:
                hidden[place] = 4
        with torch.no_grad():
            effects[name] = abs(float(score(x[None])) - float(score(hidden[None])))
    weakest = sorted(effects, key=effects.__getitem__)[:2]
    assert set(weakest) == set(effects) - set(made.players.names)
    assert subject(Scene(opened, material, 1), found.plan).players.names == ("goodish", "!")


def test_language_models_are_read_at_the_next_token(tmp_path):
    write_language_model(tmp_path)
    opened = open_model(str(tmp_path))
    found, _, material = suggested(opened, Source(text=("once upon a",)))
    assert found.plan.score == Choice("token_log_odds", {"target": "predicted"})
    reading = subject(Scene(opened, material, 0), found.plan).reading
    wanted, _, _ = suggested(opened, Source(text=("once upon a",)), target="time")
    named = subject(Scene(opened, material, 0), wanted.plan).reading
    assert opened.class_name(named.target) == "'time'"
    p = Scene(opened, material, 0).output().double().softmax(0)
    expected = torch.log(p[named.target] / (1 - p[named.target]))
    with torch.no_grad():
        value = float(named.score(material.inputs[0][None]))
    assert value == pytest.approx(float(expected), abs=1e-4)
    assert reading.prediction == opened.class_name(int(p.argmax()))


def test_targets_by_name_and_number(tmp_path):
    source = table(tmp_path, rows(3), NAMES)
    opened = Opened(perceptron(), "", classes=("cat", "dog", "cow"))
    for target in ("dog", 1):
        found, _, material = suggested(opened, source, target=target)
        reading = subject(Scene(opened, material, 0), found.plan).reading
        assert reading.target == 1
        assert reading.score.name == "log-odds of dog"
    for target, said in [("dig", "no class 'dig'. The nearest name is 'dog'"), (3, "out of range")]:
        with pytest.raises(ValueError, match=said):
            suggested(opened, source, target=target)


def test_a_model_that_fails_on_everything_is_told_at_once(tmp_path):
    with pytest.raises(
        ValueError, match=r"fails on every input \(3 tried\)\. The first said: Runtime"
    ):
        suggested(perceptron(columns=5), table(tmp_path, rows(3), NAMES))


def test_unknown_players(tmp_path):
    with pytest.raises(ValueError, match="The players 'pixels' are unknown"):
        suggested(perceptron(), table(tmp_path, rows(3), NAMES), players="pixels")


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"grid": (2, 2)}, r"the shape \(4,\). Leave out --grid"),
        ({"players": "patches"}, "Patches cut a picture"),
        ({"players": "words"}, "are not read from text"),
        ({"target": 3}, "Class 3 is out of range"),
    ],
)
def test_a_wish_that_a_table_cannot_fulfil_is_refused_at_once(tmp_path, wishes, said):
    with pytest.raises(ValueError, match=said):
        suggested(perceptron(), table(tmp_path, rows(3), NAMES), **wishes)


def test_the_terms_of_more_parts_than_a_table_holds_are_searched_for(tmp_path):
    write_picture(tmp_path / "p.png", 8, 8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).eval()
    source = Source(file=str(tmp_path / "p.png"))
    found = suggested(model, source, grid=(5, 5))[0]
    assert dict(found.plan.methods) == {
        "large_n": {"budget": 8192}, "universal_matching": {"samples": 1024},
        "gradient": {}, "integrated_gradients": {},
    }  # fmt: skip
    assert found.notes[-1].startswith("As 25 players are too many for a table of all coalitions")
    assert "asking the model 8,192 times of each input" in found.notes[-1]
    assert "and_or" in suggested(model, source, grid=(4, 5))[0].plan.methods
    write_picture(tmp_path / "p.png", 64, 64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2)).eval()
    with pytest.raises(ValueError, match=r"These are 4,096 players, .* among 4,000 at the most"):
        suggested(model, source, grid=(64, 64))


def test_as_many_columns_or_words_as_are_wished_for_may_be_hidden(tmp_path):
    source = table(tmp_path, rows(3, 30), tuple(f"c{i}" for i in range(30)))
    model = perceptron(30)
    few = suggested(model, source, most=5)[0].plan
    assert len(few.players.options["columns"]) == 5
    assert "and_or" in few.methods
    many = suggested(model, source, most=30)[0]
    assert many.plan.players == Choice("features")
    assert "large_n" in many.plan.methods
    assert len(suggested(model, source)[0].plan.players.options["columns"]) == 12
    with pytest.raises(ValueError, match=r"At most 0 players are asked for.*at least 1"):
        suggested(model, source, most=0)


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"most": 3}, "At most 3 players are asked for, and the players are patches"),
        ({"players": "features"}, r"columns of a table, but the input has the shape \(3, 8, 8\)"),
        ({"players": "tokens"}, r"players are tokens, but the input has the shape \(3, 8, 8\)"),
    ],
)
def test_a_wish_that_a_picture_cannot_fulfil_is_refused_at_once(tmp_path, wishes, said):
    write_picture(tmp_path / "p.png", 8, 8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).eval()
    with pytest.raises(ValueError, match=said):
        suggested(model, Source(file=str(tmp_path / "p.png")), **wishes)
