"""Trials: what becomes of the score when parts of inputs are removed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from strategies import relu_network
from unmask import (
    Attribution,
    Game,
    Players,
    constant,
    correct,
    features,
    log_odds,
    logit,
    masked,
    patches,
    tokens,
)
from unmask.evaluation import (
    completeness_gap,
    comprehensiveness,
    contribution_fidelity,
    deletion,
    faithfulness_correlation,
    faithfulness_estimate,
    insertion,
    irof,
    logic_fidelity,
    monotonicity,
    non_sensitivity,
    on_trial,
    pixel_flipping,
    removal_infidelity,
    road,
    road_combined,
    sensitivity_n,
    sufficiency,
    surrogate_r2,
)
from unmask.evaluation.trial import tried

N = 5


def network():
    return relu_network([N, 8, 3], seed=0, dtype=torch.float64)


def rows(count=4):
    return torch.randn(count, N, generator=torch.Generator().manual_seed(1)).double()


@settings(max_examples=25)
@given(st.integers(1, 7), st.integers(1, 40), st.integers(0, 99))
def test_every_input_is_asked_under_every_mask_of_its_own(inputs, batch_size, seed):
    model, x = network(), rows(inputs)
    masks = torch.rand(inputs, 6, N, generator=torch.Generator().manual_seed(seed)) < 0.5
    classes = torch.arange(inputs) % 3
    trial = on_trial(
        log_odds(model, classes), x, features(N), torch.full((N,), 0.5), batch_size=batch_size
    )
    found = trial.ask(lambda rows, numbers: masks[rows, numbers], 6)
    for b in range(inputs):
        for k in range(6):
            row = [float(x[b, i]) if masks[b, k, i] else 0.5 for i in range(N)]
            expected = log_odds(model, int(classes[b]))(torch.tensor([row]).double()).detach()
            assert float(found[b, k]) == pytest.approx(float(expected), abs=1e-12)


def test_a_trial_agrees_with_the_games_of_its_inputs():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)).double()
    x = torch.rand(3, 2, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    players, backgrounds = patches((2, 6, 6), (2, 2)), torch.rand(4, 2, 6, 6).double()
    score = log_odds(model.eval(), 1)
    masks = torch.tensor([[True, False, True, False], [False] * 4, [True] * 4])
    found = on_trial(score, x, players, backgrounds, batch_size=3).under(masks)
    for i, one in enumerate(x):
        game = masked(score, one, players, backgrounds)
        assert torch.allclose(found[i], game(masks), atol=1e-12)
        assert torch.allclose(tried(game).under(masks), game(masks)[None])


def test_ends_are_the_whole_input_and_nothing():
    x, score = rows(), logit(network(), 2)
    whole, nothing = on_trial(score, x, features(N), constant(x[0])).ends()
    assert torch.allclose(whole, score(x))
    assert torch.allclose(nothing, score(torch.zeros(4, N).double()))


def test_a_function_fills_the_holes_of_each_input_in_its_own_way():
    x, score = rows(), logit(network(), 2)

    def own_mean(numbers, visible):
        return torch.where(visible, x[numbers], x[numbers].mean(1, keepdim=True))

    _, nothing = on_trial(score, x, features(N), own_mean).ends()
    assert torch.allclose(nothing, score(x.mean(1, keepdim=True).expand_as(x)))


def test_what_a_player_is_said_to_do_is_the_sum_over_its_positions():
    owner = torch.tensor([[0, 1, -1], [1, 1, 0]])
    x = torch.ones(2, 2, 3)
    trial = on_trial(
        logit(lambda x: x.flatten(1), 0), x, Players(owner, ("a", "b")), torch.zeros(2, 3)
    )
    values = torch.tensor([[[1.0, 2, 4], [8, 16, 32]], [[0, 0, 9], [0, 0, 1]]])
    assert trial.of(Attribution(values)).tolist() == [[33, 26], [1, 0]]
    own = torch.tensor([[1.0, 2], [3, 4]])
    assert trial.of(Attribution(own)).tolist() == own.tolist()
    half = trial.of(Attribution(torch.full((2, 2, 3), 0.1, dtype=torch.bfloat16)))
    assert half.dtype == torch.float32


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (2, 4, 4)])
def test_a_map_of_one_channel_is_shared_out_among_all(shape):
    x = torch.ones(2, 3, 4, 4)
    trial = on_trial(
        logit(lambda x: x.flatten(1), 0), x, patches((3, 4, 4), (2, 2)), torch.zeros(3, 4, 4)
    )
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    own = values.view(2, 2, 2, 2, 2).sum((2, 4)).flatten(1)  # a quarter of the picture each
    assert torch.allclose(trial.of(Attribution(values)), own, atol=1e-6)


def test_a_number_per_token_is_shared_out_among_its_embedding():
    x = torch.ones(2, 3, 5)
    trial = on_trial(logit(lambda x: x.flatten(1), 0), x, tokens(3, width=5), torch.zeros(3, 5))
    values = torch.tensor([[1.0, 2, 4], [0, 0, 3]])
    assert torch.allclose(trial.of(Attribution(values)), values)
    assert torch.allclose(trial.of(Attribution(values[..., None])), values)


def test_tokens_are_removed_as_ids():
    table = torch.randn(7, 2, generator=torch.Generator().manual_seed(0))
    score = logit(lambda ids: table[ids].sum(1), 1)
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    found = on_trial(score, ids, tokens(3), torch.zeros(3, dtype=torch.long)).under(
        torch.tensor([[True, False, True]])
    )
    expected = table[[1, 0, 3]].sum(0)[1], table[[4, 0, 6]].sum(0)[1]
    assert torch.allclose(found[:, 0], torch.stack(expected))


def test_no_masks_are_no_scores():
    x = rows()
    trial = on_trial(logit(network(), 0), x, features(N), constant(x[0]))
    assert trial.under(torch.zeros(0, N).bool()).shape == (4, 0)


class Exploding(nn.Module):
    def forward(self, x):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": network()}, "tried before a Score, but got a Sequential|Type-check error"),
        ({"x": rows() * torch.nan}, r"The input must be finite, .* Impute"),
        ({"x": rows()[:0]}, "The batch is empty"),
        ({"players": features(4)}, r"label positions of shape \(4,\), but one input has shape"),
        ({"players": Players(torch.zeros(N).long(), ("all",))}, "the only player is 'all'"),
        ({"baseline": torch.zeros(3)}, r"The baseline has shape \(3,\), one input \(5,\)"),
        ({"score": logit(network(), torch.tensor([0, 1]))}, "classes of 2 inputs, but x holds 4"),
        ({"score": logit(network().append(nn.BatchNorm1d(3)), 0)}, "Call model.eval"),
    ],
)
def test_what_cannot_be_tried_is_refused(change, message):
    given = {"score": logit(network(), 0), "x": rows(), "players": features(N)}
    given |= {"baseline": torch.zeros(N).double()} | change
    with pytest.raises((ValueError, TypeError), match=message):
        on_trial(**given)


@pytest.mark.parametrize(
    ("attribution", "message"),
    [
        (torch.zeros(4, N), "A metric rates an Attribution, but got a Tensor|Type-check"),
        (Attribution(torch.zeros(4, 3)), r"shape \(4, 3\), but the inputs \(4, 5\)"),
        (Attribution(torch.zeros(3, N)), r"shape \(3, 5\), but the inputs \(4, 5\)"),
        (Attribution(torch.full((4, N), torch.nan)), "The attribution must be finite"),
    ],
)
def test_what_says_nothing_of_these_inputs_is_refused(attribution, message):
    x = rows()
    trial = on_trial(logit(network(), 0), x, features(N), constant(x[0]))
    with pytest.raises((ValueError, TypeError), match=message):
        trial.of(attribution)


def test_a_game_takes_one_row_and_nothing_else_is_a_trial():
    game = Game(lambda masks: masks.double().sum(1), ("a", "b"))
    assert tried(game).of(Attribution(torch.tensor([[1.0, 2.0]]))).tolist() == [[1, 2]]
    with pytest.raises(ValueError, match=r"2 players, but the attribution has shape \(1, 3\)"):
        tried(game).of(Attribution(torch.zeros(1, 3)))
    with pytest.raises(TypeError, match=r"needs a Trial or a Game, but got a Score|Type-check"):
        tried(correct(network(), 1))


def test_a_model_that_fails_leaves_gradients_as_they_were():
    x = rows()
    trial = on_trial(logit(Exploding(), 0), x, features(N), constant(x[0]))
    with pytest.raises(RuntimeError, match="no"):
        trial.ends()
    assert torch.is_grad_enabled()


def test_columns_are_positions_where_players_have_another_order_and_names_do_not_tell():
    players = features(["a", "b", "c"], groups={"z": ["c"]})  # z, a, b
    trial = on_trial(logit(nn.Linear(3, 1), 0), torch.ones(1, 3), players, torch.zeros(3))
    values = torch.tensor([[1.0, 2.0, 4.0]])
    assert trial.of(Attribution(values)).tolist() == [[4, 1, 2]]
    assert trial.of(Attribution(values, names=("a", "b", "c"))).tolist() == [[4, 1, 2]]
    assert trial.of(Attribution(values, names=players.names)).tolist() == [[1, 2, 4]]


def test_a_game_of_many_players_is_not_handed_all_masks_at_once():
    n, handed = 5000, []

    def value(masks):
        handed.append(len(masks))
        return masks[:, 0].double()

    trial = tried(Game(value, tuple(map(str, range(n)))))
    found = trial.ask(lambda _, k: torch.arange(n) < k[:, None], n + 1)
    assert found.tolist() == [[0.0] + [1.0] * n]
    assert max(handed) * n <= 2**24
    assert trial.ask(lambda _, k: torch.ones(0, n, dtype=torch.bool), 0).shape == (1, 0)


def test_of_a_game_with_a_graph_none_is_kept():
    weights = torch.arange(3.0, requires_grad=True)
    trial = tried(Game(lambda own: own.float() @ weights, tuple("abc")))
    assert not trial.under(torch.eye(3).bool()).requires_grad


OF_TRIALS = (
    *(pixel_flipping, deletion, insertion, irof, sufficiency, comprehensiveness, road),
    *(road_combined, monotonicity, faithfulness_correlation, faithfulness_estimate),
    *(sensitivity_n, surrogate_r2, completeness_gap, non_sensitivity, removal_infidelity),
    *(logic_fidelity, contribution_fidelity),
)


@pytest.mark.parametrize("metric", OF_TRIALS, ids=lambda one: one.__name__)
def test_every_input_that_the_model_is_run_on_is_counted(metric):
    asked = []

    def model(x):
        asked.append(len(x))
        return network()(x)

    x, backgrounds = rows(2), rows(3) - 1
    trial = on_trial(logit(model, 0), x, features(N), backgrounds)
    rated = metric(trial, Attribution(x * torch.tensor([3.0, 1, 2, 5, 4])))
    assert rated.evaluations == sum(asked)
