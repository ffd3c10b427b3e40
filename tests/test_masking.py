import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from strategies import NAMES, masks, networks, players, relu_network, tensors
from unmask import (
    Players,
    Score,
    constant,
    features,
    log_odds,
    logit,
    masked,
    patches,
    token,
    token_log_odds,
    tokens,
)
from unmask.internals import value_and_gradient
from unmask.lattice import coalitions

SIZES = [1, 2, 3, 5, 64, 1000, None]


def slow_values(score, x, some, backgrounds, rows):
    """The definition, one coalition, one background, one position after the other."""
    values = []
    for mask in rows.tolist():
        total = 0.0
        for background in backgrounds:
            mixed = background.clone().flatten()
            for place, owner in enumerate(some.owner.flatten().tolist()):
                if owner == -1 or mask[owner]:
                    mixed[place] = x.flatten()[place]
            total += score(mixed.view(1, *x.shape)).item()
        values.append(total / len(backgrounds))
    return torch.tensor(values, dtype=torch.float64)


def agree(game, expected, tolerance=1e-9):
    """Both ways to the values: asked one by one in another order, and all at once."""
    rows = coalitions(len(game.names))
    there = torch.arange(len(rows)).flip(0)
    table, asked = game.table(), game(rows[there])[there]
    assert table.shape == asked.shape == expected.shape
    assert (table - expected).abs().max() <= tolerance
    assert (asked - expected).abs().max() <= tolerance
    assert not table.requires_grad
    assert not asked.requires_grad
    return table


@given(st.data())
def test_values_are_their_definition(data):
    some = data.draw(players())
    shape = tuple(some.owner.shape)
    x = data.draw(tensors(*shape))
    backgrounds = data.draw(tensors(data.draw(st.integers(1, 4)), *shape))
    batch_size = data.draw(st.sampled_from(SIZES))
    network = relu_network([x.numel(), 5, 3], seed=data.draw(st.integers(0, 99)))
    score = log_odds(nn.Sequential(nn.Flatten(), network), 1)
    game = masked(score, x, some, backgrounds, batch_size=batch_size)
    expected = slow_values(score, x, some, backgrounds, coalitions(len(some.names)))
    agree(game, expected)
    rows = data.draw(masks(len(some.names)))
    assert torch.allclose(game(rows), slow_values(score, x, some, backgrounds, rows), atol=1e-9)


@given(networks(), tensors(2, 4))
def test_the_ends_are_the_input_and_the_baseline(network, pair):
    score = log_odds(network, 0)
    table = masked(score, pair[0], features(4), pair[1]).table()
    assert torch.allclose(table[[-1, 0]], score(pair).detach(), atol=1e-12)


def test_a_known_game():
    def model(x):
        return torch.stack([2 * x[:, 0] * x[:, 1], 0 * x[:, 0], -x[:, 0]], dim=1)

    table = masked(log_odds(model, 0), torch.ones(2), features(2), torch.zeros(2)).table()
    assert table[3].item() == pytest.approx(1.6867383, abs=1e-6)  # logits (2, 0, -1)


@pytest.mark.parametrize("batch_size", SIZES)
def test_a_player_that_the_network_ignores_changes_nothing(batch_size):
    network = relu_network([5, 8, 3], seed=0)
    with torch.no_grad():
        network[0].weight[:, 2] = 0
    x = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    table = masked(log_odds(network, 0), x, features(5), constant(x), batch_size=batch_size).table()
    without, there = table.view(4, 2, 4).unbind(1)
    assert torch.equal(without, there)


def test_a_model_that_ignores_its_input_gives_a_flat_game():
    game = masked(
        logit(lambda x: torch.ones(len(x), 2), 1), torch.ones(3), features(3), torch.zeros(3)
    )
    assert game.table().tolist() == [1.0] * 8


@pytest.mark.parametrize("batch_size", SIZES)
@pytest.mark.parametrize("count", [1, 4, 11])
def test_batches_never_change_a_result(count, batch_size):
    network = relu_network([6, 8, 3], seed=3)
    x, *backgrounds = torch.randn(1 + count, 6, dtype=torch.float64)
    backgrounds = torch.stack(backgrounds)
    expected = slow_values(log_odds(network, 2), x, features(6), backgrounds, coalitions(6))
    seen = []

    def model(rows):
        seen.append(len(rows))
        return network(rows)

    agree(masked(log_odds(model, 2), x, features(6), backgrounds, batch_size=batch_size), expected)
    assert max(seen) <= (batch_size or 2048)


def test_one_player_and_an_input_without_axes():
    x, baseline = torch.tensor(2.0), torch.tensor(-1.0)
    one = Players(torch.tensor(0), ("a",))
    game = masked(Score(lambda x: 3 * x, lambda output, rows: output), x, one, baseline)
    agree(game, torch.tensor([-3.0, 6.0]))
    for batch_size in SIZES:
        whole = Players(torch.zeros(4, dtype=torch.long), ("all",))
        game = masked(
            logit(lambda x: x.sum(1), 0), torch.ones(4), whole, torch.zeros(4),
            batch_size=batch_size,
        )  # fmt: skip
        agree(game, torch.tensor([0.0, 4.0]))


def scaled(x):
    return x.mul_(2).relu_()


def through_data(x):
    mine = x.clone()
    x.data.mul_(2)  # which torch does not count as writing
    return mine.mul(2).relu()


@pytest.mark.parametrize("first", [scaled, through_data])
@pytest.mark.parametrize("batch_size", SIZES)
def test_a_model_may_work_in_place_on_its_input(first, batch_size):
    network = relu_network([6, 3], seed=0)
    x = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    before = x.clone()
    clean = log_odds(lambda rows: network((2 * rows).relu()), 0)
    expected = slow_values(clean, x, features(6), torch.zeros(1, 6).double(), coalitions(6))
    writing = log_odds(lambda rows: network(first(rows)), 0)
    agree(masked(writing, x, features(6), constant(x), batch_size=batch_size), expected)
    assert torch.equal(x, before)


def test_a_model_may_begin_to_write_late():
    network = relu_network([6, 3], seed=0)
    calls = []

    def model(rows):
        calls.append(len(rows))
        return network(rows.mul_(2) if len(calls) % 3 == 0 else 2 * rows)

    x = torch.randn(6, dtype=torch.float64)
    expected = slow_values(
        log_odds(lambda rows: network(2 * rows), 0), x, features(6), torch.zeros(1, 6).double(),
        coalitions(6),
    )  # fmt: skip
    agree(masked(log_odds(model, 0), x, features(6), constant(x), batch_size=4), expected)


def test_a_first_layer_in_place():
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(60, 3)).eval()
    clean = nn.Sequential(nn.ReLU(), *network[1:])
    x = torch.randn(4, 5, 3).permute(2, 0, 1)  # the layout of a picture file
    cut = patches((3, 4, 5), (2, 3))
    expected = slow_values(log_odds(clean, 0), x, cut, torch.zeros(1, 3, 4, 5), coalitions(6))
    for batch_size in SIZES:
        game = masked(log_odds(network, 0), x, cut, constant(x), batch_size=batch_size)
        agree(game, expected, 1e-5)


def test_channels_last():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2))
    network = network.eval()
    x = torch.randn(1, 3, 4, 5)
    cut = patches((3, 4, 5), (2, 3))
    expected = slow_values(log_odds(network, 0), x[0], cut, torch.zeros(1, 3, 4, 5), coalitions(6))
    network.to(memory_format=torch.channels_last)
    last = x.contiguous(memory_format=torch.channels_last)[0]
    game = masked(log_odds(network, 0), last, cut, torch.zeros(3, 1, 1), batch_size=8)
    agree(game, expected, 1e-5)


@pytest.mark.parametrize(
    ("dtype", "read", "tolerance"),
    [
        (torch.float64, torch.float64, 1e-12),
        (torch.float32, torch.float32, 1e-5),
        (torch.float16, torch.float32, 2e-2),
        (torch.bfloat16, torch.float32, 1e-1),
    ],
)
def test_the_model_stays_in_its_own_type(dtype, read, tolerance):
    exact = relu_network([6, 8, 3], seed=0)
    x = torch.randn(6, generator=torch.Generator().manual_seed(2)).double()
    backgrounds = torch.randn(5, 6, generator=torch.Generator().manual_seed(3)).double()
    expected = slow_values(log_odds(exact, 0), x, features(6), backgrounds, coalitions(6))
    network = relu_network([6, 8, 3], seed=0, dtype=dtype)
    # The baseline may come in another type.
    game = masked(log_odds(network, 0), x.to(dtype), features(6), backgrounds, batch_size=8)
    assert agree(game, expected, tolerance).dtype == read


def test_token_ids_and_their_embeddings_are_one_game():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        embed, head = nn.Embedding(9, 4), nn.Linear(4, 9)
    ids = torch.tensor([3, 8, 1, 5])

    def language_model(vectors):
        return head(vectors.cumsum(1))

    score = token_log_odds(lambda ids: language_model(embed(ids)), 2)
    by_id = masked(score, ids, tokens(["the", "cat", "sat", "on"]), token(ids, 0), batch_size=3)
    by_vector = masked(
        token_log_odds(language_model, 2), embed(ids), tokens(4, width=4), embed(token(ids, 0))
    )
    expected = slow_values(score, ids, tokens(4), token(ids, 0)[None], coalitions(4))
    agree(by_id, expected, 1e-5)
    agree(by_vector, expected, 1e-5)


@pytest.mark.parametrize("made", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_inference_mode_of_the_caller_changes_nothing(made, asked):
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 3)).eval()
    values = torch.randn(6)
    game = masked(log_odds(network, 0), values, features(6), constant(values), batch_size=4)
    expected = game.table().double()
    with torch.inference_mode(made):
        x = values.clone()
        game = masked(log_odds(network, 0), x, features(6), constant(x), batch_size=4)
    with torch.inference_mode(asked):
        agree(game, expected, 1e-6)


def test_no_graph_grows_from_an_input_that_wants_a_gradient():
    network = relu_network([6, 3], seed=0)
    x = torch.randn(6, dtype=torch.float64, requires_grad=True)
    baseline = torch.randn(6, dtype=torch.float64, requires_grad=True)
    game = masked(log_odds(network, 0), x, features(6), baseline, batch_size=4)
    expected = slow_values(log_odds(network, 0), x, features(6), baseline[None], coalitions(6))
    agree(game, expected)
    assert x.grad is None
    assert network[0].weight.grad is None


class Positions(nn.Module):
    """Keeps what it has computed once, as models of sequences do."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 3)
        self.kept = None

    def forward(self, x):
        if self.kept is None or len(self.kept) < len(x):
            self.kept = torch.arange(6.0 * len(x)).view(-1, 6).sin()
        return self.head(x * self.kept[: len(x)])


def test_what_the_model_keeps_can_still_take_part_in_gradients():
    model, x = Positions(), torch.ones(6)
    masked(log_odds(model, 0), x, features(6), constant(x)).table()
    value_and_gradient(log_odds(model, 0), x[None])
    log_odds(model, 0)(x[None]).sum().backward()
    assert model.head.weight.grad is not None


def out_of_memory_above(limit, network, seen):
    def model(rows):
        seen.append(len(rows))
        if len(rows) > limit:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return network(rows)

    return model


@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize("limit", [1, 3, 20])
@pytest.mark.parametrize("count", [1, 7])
def test_batches_halve_when_memory_runs_out(count, limit, writes):
    network = relu_network([6, 8, 3], seed=1)
    x = torch.randn(6, dtype=torch.float64)
    backgrounds = torch.randn(count, 6, dtype=torch.float64)
    expected = slow_values(log_odds(network, 0), x, features(6), backgrounds, coalitions(6))
    seen = []
    short = out_of_memory_above(limit, network, seen)

    def model(rows):
        return short(rows.add_(1).sub_(1)) if writes else short(rows)

    game = masked(log_odds(model, 0), x, features(6), backgrounds, batch_size=50)
    agree(game, expected)
    tries = sum(rows > limit for rows in seen)
    assert 1 <= tries <= 6  # it learns what fits, and does not try the same again
    assert max(rows for rows in seen if rows <= limit) >= limit / 2


def test_memory_that_is_too_small_for_one_input_is_an_error():
    model = out_of_memory_above(0, None, [])
    game = masked(logit(model, 0), torch.ones(3), features(3), torch.zeros(3))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        game.table()


def test_a_model_that_raises_in_the_middle_leaves_nothing_behind():
    network = relu_network([6, 8, 3], seed=1)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    calls = []

    def model(rows):
        calls.append(len(rows))
        if len(calls) == 3:
            raise RuntimeError("the third batch")
        return network(rows)

    x = torch.randn(6, dtype=torch.float64)
    expected = masked(log_odds(network, 0), x, features(6), constant(x)).table()
    game = masked(log_odds(model, 0), x, features(6), constant(x), batch_size=4)
    with pytest.raises(RuntimeError, match="the third batch"):
        game.table()
    agree(game, expected)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_no_coalition_has_no_value():
    game = masked(logit(nn.Linear(3, 2), 0), torch.ones(3), features(3), torch.zeros(3))
    assert game(torch.zeros(0, 3, dtype=torch.bool)).shape == (0,)


def test_the_players_keep_their_names():
    x = torch.ones(4)
    assert masked(logit(nn.Linear(4, 2), 0), x, features(NAMES[:4]), x).names == NAMES[:4]
