"""Terms in common across inputs, against plain counts."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from exhibits import exhibit
from strategies import NAMES
from unmask import masked
from unmask.interactions import and_or_games, transferability_samples
from unmask.planted import planted_terms
from unmask.results import Interactions


def terms_of(effects: dict[tuple[str, bool], float], players: int = 4) -> Interactions:
    """Terms written as {("ab", is_or): effect}."""
    members = [[name in term for name in NAMES[:players]] for term, _ in effects]
    return Interactions(
        torch.tensor(members, dtype=torch.bool).view(len(effects), players),
        torch.tensor([is_or for _, is_or in effects], dtype=torch.bool),
        torch.tensor(list(effects.values()), dtype=torch.float64),
        0.0,
        NAMES[:players],
    )


@st.composite
def explained(draw: st.DrawFn, inputs: int | None = None) -> list[dict[tuple[str, bool], float]]:
    """Effects of a few patterns on some inputs; some have none."""
    patterns = [("a", False), ("ab", False), ("ab", True), ("cd", True), ("abcd", False)]
    inputs = draw(st.integers(1, 6)) if inputs is None else inputs
    size = st.sampled_from([0.0, 1.0, -1.0, 0.5, -0.5, 0.05])
    return [{p: draw(size) for p in patterns} for _ in range(inputs)]


def salient_signs(effects: dict[tuple[str, bool], float], tau: float) -> dict:
    strongest = max(map(abs, effects.values()), default=0.0)
    return {p: 1 if e > 0 else -1 for p, e in effects.items() if e and abs(e) >= tau * strongest}


@settings(max_examples=60)
@given(explained(), st.sampled_from([0.1, 0.5, 1.0]))
def test_numbers_are_those_of_plain_counts(inputs, tau):
    found = transferability_samples([terms_of(e) for e in inputs], tau=tau, samples=10)
    signs = [salient_signs(e, tau) for e in inputs]
    patterns = {p for own in signs for p in own}
    plus = {p: sum(own.get(p) == 1 for own in signs) for p in patterns}
    minus = {p: sum(own.get(p) == -1 for own in signs) for p in patterns}
    assert found.numbers["inputs"] == len(inputs)
    assert found.numbers["patterns"] == len(patterns)
    assert found.numbers["salient"] == pytest.approx(sum(map(len, signs)) / len(inputs))
    alpha = sorted(((plus[p] + minus[p]) / len(inputs) for p in patterns), reverse=True)
    assert found.curves["alpha"].tolist() == pytest.approx(alpha)
    if patterns:
        beta = {p: max(plus[p], minus[p]) / (plus[p] + minus[p]) for p in patterns}
        weight = {p: plus[p] + minus[p] for p in patterns}
        wanted = sum(weight[p] * beta[p] for p in patterns) / sum(weight.values())
        assert found.numbers["beta"] == pytest.approx(wanted)
        again = [p for p in patterns if weight[p] > 1]
        repeated = sum(weight[p] * beta[p] for p in again) / max(1, sum(weight[p] for p in again))
        assert found.numbers["beta_repeated"] == pytest.approx(repeated)
        assert sorted(found.curves["beta"].tolist()) == pytest.approx(sorted(beta.values()))
    rho = found.curves["rho"]
    assert bool((rho.diff() >= -1e-12).all())
    # How the equally frequent are ranked is free; between their groups rho is determined.
    some = [own for own in signs if own]
    for k in range(1, len(alpha)):
        if alpha[k - 1] > alpha[k] and some:
            known = {p for p in patterns if (plus[p] + minus[p]) / len(inputs) >= alpha[k - 1]}
            wanted = sum(len(known & own.keys()) / len(own) for own in some) / len(some)
            assert float(rho[k - 1]) == pytest.approx(wanted)
    if some:
        assert float(rho[-1]) == pytest.approx(1)
        held = [
            sum(any(p in b for j, b in enumerate(signs) if j != i) for p in own) / len(own)
            for i, own in enumerate(signs)
            if own
        ]
        assert float(found.curves["rho_held_out"][-1]) == pytest.approx(sum(held) / len(held))


def test_the_example_of_the_specification():
    """Signs (+, +, +, -) of one pattern and (+, 0, 0, 0) of another, on four inputs."""
    first = {("ab", False): 1.0, ("cd", True): 0.9}
    one = {("ab", False): 1.0, ("cd", True): 0.01}
    found = transferability_samples([terms_of(e) for e in (first, one, one, {("ab", False): -1.0})])
    assert found.curves["alpha"].tolist() == [1.0, 0.25]
    assert found.curves["beta"].tolist() == [0.75, 1.0]
    assert found.numbers["beta"] == pytest.approx(0.8)
    assert found.numbers["beta_repeated"] == pytest.approx(0.75)
    assert found.curves["rho"].tolist() == pytest.approx([(0.5 + 3) / 4, 1.0])
    assert found.curves["rho_held_out"].tolist() == pytest.approx([(0.5 + 3) / 4, (0.5 + 3) / 4])
    assert found.numbers["dictionary_80"] == 1
    assert found.curves["bin_alpha"].tolist() == [0.25, 1.0]
    assert found.curves["bin_beta"].tolist() == [1.0, 0.75]
    assert found.curves["bin_patterns"].tolist() == [1, 1]
    strength = [1.0, (0.9 + 0.01 + 0.01 + 0) / 4]
    assert found.curves["strength"].tolist() == pytest.approx(strength)


def test_the_held_out_dictionary_is_ranked_by_the_others():
    """By hand: 'a' on inputs 0 1 2, 'ab' on 0 1, 'cd' on 3 alone."""
    a, ab, cd = ("a", False), ("ab", False), ("cd", False)
    inputs = [{a: 1.0, ab: 1.0}, {a: 1.0, ab: 1.0}, {a: 1.0}, {cd: 1.0}]
    found = transferability_samples([terms_of(e) for e in inputs])
    assert found.curves["rho"].tolist() == pytest.approx([(0.5 + 0.5 + 1 + 0) / 4, 0.75, 1.0])
    # Without input 0: a twice, ab and cd once each. Of ties the one that is more frequent in all.
    assert found.curves["rho_held_out"].tolist() == pytest.approx([0.5, 0.75, 0.75])


def test_what_lies_on_the_edge_of_a_bin_belongs_below_it():
    """Salient on 2 and on 3 of ten inputs: in (0, 0.2] and in (0.2, 0.4]."""
    a, b = ("a", False), ("cd", True)
    inputs = [{a: float(i < 2), b: float(5 <= i < 8)} for i in range(10)]
    found = transferability_samples([terms_of(e) for e in inputs])
    assert found.curves["bin_alpha"].tolist() == pytest.approx([0.2, 0.3])
    assert found.curves["bin_patterns"].tolist() == [1, 1]


def test_identical_inputs_share_everything():
    own = planted_terms(6, 4, 4, torch.Generator().manual_seed(0))
    found = transferability_samples([own] * 5)
    assert found.curves["alpha"].tolist() == [1.0] * 8
    assert found.numbers["beta"] == found.numbers["beta_low"] == found.numbers["beta_high"] == 1
    assert found.curves["rho"].tolist() == pytest.approx([k / 8 for k in range(1, 9)])
    torch.testing.assert_close(found.curves["rho"], found.curves["rho_held_out"])
    assert found.numbers["dictionary_80"] == 7


def test_noise_has_no_sign_in_common():
    """What must fail: effects whose sign is a coin on each input."""
    own = planted_terms(6, 6, 6, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    coins = (torch.rand(400, 12, generator=generator) < 0.5) * 2 - 1
    found = transferability_samples([replace(own, effects=own.effects * coin) for coin in coins])
    # The larger of two binomial counts: one half and 0.8 standard deviations, sqrt(1 / 1600).
    assert found.numbers["beta"] == pytest.approx(0.5 + 0.8 / 1600**0.5, abs=0.02)
    assert found.numbers["rho_half"] == pytest.approx(0.5)


def test_intervals_hold_the_truth_nine_times_in_ten():
    """Two patterns, the second on a third of all inputs: rho of the first is 1 - 1/3 * 1/2."""
    held = 0
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        both = torch.rand(40, generator=generator) < 1 / 3
        found = transferability_samples(
            [terms_of({("a", False): 1.0, ("cd", True): float(b)}) for b in both.tolist()],
            samples=200,
        )
        assert found.numbers["half"] == 1
        held += found.numbers["rho_half_low"] <= 1 - 1 / 6 <= found.numbers["rho_half_high"]
    assert 50 <= held <= 60  # of 60 at 95 %: 57, less 3 deviations of a bootstrap of 40 inputs


def test_no_terms_at_all():
    found = transferability_samples([terms_of({}), terms_of({})])
    assert found.numbers["patterns"] == 0
    assert found.numbers["salient"] == 0
    assert found.numbers["dictionary_80"] == 0
    assert len(found.curves["rho"]) == 0


def test_curves_end_where_they_are_told():
    own = planted_terms(6, 4, 4, torch.Generator().manual_seed(0))
    whole, short = (transferability_samples([own, own], most=most) for most in (None, 3))
    assert len(whole.curves["rho"]) == 8
    for name in ("k", "rho", "rho_held_out", "alpha", "beta"):
        assert torch.equal(short.curves[name], whole.curves[name][:3])
    assert short.numbers == whole.numbers


def test_the_same_generator_gives_the_same_interval():
    inputs = [planted_terms(4, 3, 2, torch.Generator().manual_seed(i)) for i in range(6)]
    one, two = (
        transferability_samples(inputs, generator=torch.Generator().manual_seed(3)) for _ in "ab"
    )
    assert one.numbers == two.numbers
    other = transferability_samples(inputs, generator=torch.Generator().manual_seed(4))
    assert one.numbers["rho_half_low"] != other.numbers["rho_half_low"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tau": 1.5}, "tau is a share"),
        ({"most": 0}, "most counts from 1, but is 0. Give a positive number"),
        ({"bins": 0}, "bins counts from 1"),
        ({"samples": 0}, "Intervals come from inputs that are drawn anew"),
    ],
)
def test_settings_that_mean_nothing_are_refused(change, message):
    own = planted_terms(4, 3, 2, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=message):
        transferability_samples([own, own], **change)


def test_explanations_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="There are no explanations"):
        transferability_samples([])
    one, other = (planted_terms(n, 2, 1, torch.Generator().manual_seed(0)) for n in (3, 4))
    with pytest.raises(ValueError, match="equally many players"):
        transferability_samples([one, other])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["breast_cancer", "adult"])
def test_inputs_of_a_real_class_share_more_than_inputs_at_random(name):
    """Against the same terms with their players mixed, input by input."""
    shown = exhibit(name)
    assert shown.labels is not None
    rows = [i for i, label in enumerate(shown.labels) if label == 1][:12]
    few = [
        masked(shown.score(shown.model, 1), shown.inputs[i], shown.players(i), shown.baseline(i))
        for i in rows
    ]
    terms = list(and_or_games(few, precision=1e-2))
    found = transferability_samples(terms)
    generator = torch.Generator().manual_seed(0)

    def mixed(one: Interactions) -> Interactions:
        order: Tensor = torch.randperm(len(one.names), generator=generator)
        return replace(one, members=one.members[:, order])

    chance = transferability_samples([mixed(one) for one in terms])
    # A dictionary made of the inputs it is tried on flatters chance most, so only what is held out.
    for k in (10, 30, 100):
        ours, theirs = (one.curves["rho_held_out"][k] for one in (found, chance))
        assert float(ours) > float(theirs)
