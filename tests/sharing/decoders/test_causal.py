import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from decoding import USUAL, apart, llama, text
from exhibits import exhibit
from shareable import definition, eager, is_shared
from unmask import Score, log_odds, masked, token_log_odds
from unmask.lattice import coalitions
from unmask.sharing import rows_run
from unmask.sharing.decoders.past import Past, Spread
from unmask.zoo.llama import Llama


@pytest.fixture(name="always")
def _always(monkeypatch):
    eager(monkeypatch)


@settings(max_examples=25)
@given(st.data())
def test_players_anywhere(data):
    """Their tokens in pieces, in any order, on any background, in batches of any size."""
    with pytest.MonkeyPatch.context() as patch:
        eager(patch)
        n = 7
        spare = data.draw(st.lists(st.integers(-1, n - 1), max_size=6))
        owner = data.draw(st.permutations([*range(n), *spare]))
        x, players = text(*owner, seed=data.draw(st.integers(0, 9)))
        backgrounds = torch.randint(
            0, 30, (data.draw(st.integers(1, 2)), len(x)),
            generator=torch.Generator().manual_seed(data.draw(st.integers(0, 9))),
        )  # fmt: skip
        equal = data.draw(st.lists(st.integers(0, len(x) - 1), max_size=4))
        backgrounds[:, equal] = x[equal]
        model = llama(data.draw(st.integers(0, 9)))
        position = data.draw(st.integers(-len(x), len(x) - 1))
        score = token_log_odds(model, 3, position=position)
        batch_size = data.draw(st.sampled_from([None, 3, 7, 64]))
        game = masked(score, x, players, backgrounds, batch_size=batch_size)
        assert apart(game, score, x, players, backgrounds) <= 1e-10
        assert is_shared(game)


def test_one_row_at_a_time(always):
    x, players = text(*USUAL)
    score = token_log_odds(llama(), 3)
    game = masked(score, x, players, 0 * x, batch_size=1)
    assert apart(game, score, x, players, 0 * x) <= 1e-10
    assert is_shared(game)


def test_rows_are_counted(always):
    """By hand. Nobody's tokens join the level before them."""
    x, players = text(*USUAL)
    game = masked(token_log_odds(llama(), 3), x, players, 0 * x)
    game.table()
    assert rows_run(game) == {
        "all, to plan": 2,
        "the rest, to plan": 2 * 12 + 3,
        "token 0": 1,
        "tokens 1 to 2": 2,
        "token 3": 4,
        "tokens 4 to 5": 8,
        "token 6": 16,
        "tokens 7 to 8": 32,
        "token 9": 64,
        "tokens 10 to 11": 128,
        "the rest": 128,
        "all, to check": 64,
    }


def test_what_nobody_reads_and_what_does_not_change_is_not_computed(always, monkeypatch):
    """The first word is the same when hidden; the last two stand behind what is read."""
    read, made = [], Llama.states_after

    def watched(model, tokens, past):
        read.append((past.start, *tokens.shape))
        return made(model, tokens, past)

    monkeypatch.setattr(Llama, "states_after", watched)
    x, players = text(*USUAL)
    background = 0 * x
    background[1:3] = x[1:3]
    score = token_log_odds(llama(), 3, position=8)
    game = masked(score, x, players, background)
    assert apart(game, score, x, players, background) <= 1e-10
    rows = rows_run(game)
    levels = {name: count for name, count in rows.items() if name.startswith("token")}
    assert levels == {"tokens 0 to 2": 1, "token 3": 2, "tokens 4 to 5": 4} | {
        "token 6": 8,
        "tokens 7 to 8": 16,
    }
    planned = [(0, 1, 6), (6, 1, 6)]  # in two halves
    assert read == [*planned, (0, 1, 3), (3, 2, 1), (4, 4, 2), (6, 8, 1), (7, 16, 2)]


def test_players_that_change_nothing_do_not_make_batches_small(always):
    """Of eight words one differs from its background; the model reads 256 rows in few batches."""
    model, calls = llama(), []

    def called(ids):
        calls.append(len(ids))
        return model(ids)

    x, players = text(*range(8))
    background = x.clone()
    background[5] = 0
    score = token_log_odds(called, 3)
    game = masked(score, x, players, background, batch_size=64)
    table = game.table()
    assert is_shared(game)
    assert sorted(calls)[-5:] == [64] * 5  # four of the table, and what is checked
    assert (table - definition(score, x, players, background)).abs().max() <= 1e-12


def test_a_batch_is_never_larger_than_it_may_be(always, monkeypatch):
    """Neither what is read at a time nor what is kept nor what the model is asked for."""
    seen, kept = [], []
    look_up, made = functional.embedding, Past.__init__

    def watched(ids, *others):
        seen.append(len(ids))
        return look_up(ids, *others)

    def keeping(past, rows, tokens):
        kept.append((rows, tokens))
        made(past, rows, tokens)

    monkeypatch.setattr(functional, "embedding", watched)
    monkeypatch.setattr(Past, "__init__", keeping)
    x, players = text(*USUAL)
    game = masked(token_log_odds(llama(), 3), x, players, 0 * x, batch_size=11)
    game.table()
    assert is_shared(game)
    assert max(seen) == 11  # of the 64 that are compared; of a tree there are 8
    assert kept == [(1, 12), (8, 12)]


def test_the_same_call_gives_the_same_bits(always):
    x, players = text(*USUAL)
    game = masked(token_log_odds(llama(dtype=torch.float32), 3), x, players, 0 * x, batch_size=16)
    first = game.table()
    assert torch.equal(first, game.table())
    assert is_shared(game)


def test_single_precision(always):
    x, players = text(*USUAL)
    score = token_log_odds(llama(dtype=torch.float32), 3)
    game = masked(score, x, players, 0 * x)
    assert apart(game, score, x, players, 0 * x) <= 1e-4  # rounding of logits of size ten
    assert is_shared(game)
    assert game.table().dtype == torch.float32


# What a caller makes of the logits.


class Choice(nn.Module):
    """A few words of the vocabulary, at the end of the text."""

    def __init__(self, model):
        super().__init__()
        self.model, self.words = model, [4, 9, 2]

    def forward(self, ids):
        return self.model(ids)[:, -1, self.words].log_softmax(-1)


def average(ids, model):
    return model(ids).mean(1)


def two_places(ids, model):
    return model(ids)[:, [4, -1]].flatten(1)


CALLERS = [
    (Choice, 12),
    (lambda model: lambda ids: model(ids)[:, -1], 12),
    (lambda model: lambda ids: model(ids)[:, 5], 6),
    (lambda model: lambda ids: average(ids, model), 12),
    (lambda model: lambda ids: two_places(ids, model), 12),
    (lambda model: lambda ids: (model(ids) - 2 * model(ids))[:, -1], 12),
    (lambda model: nn.Sequential(model, nn.Flatten()).double().eval(), 12),
]


@pytest.mark.parametrize(("caller", "end"), CALLERS)
def test_callers(always, caller, end):
    x, players = text(*USUAL)
    score = log_odds(caller(llama()), 1)
    game = masked(score, x, players, 0 * x)
    assert apart(game, score, x, players, 0 * x) <= 1e-10
    assert is_shared(game)
    last = [name for name in rows_run(game) if name.startswith("token")][-1]
    assert last.split()[-1] == str(end - 1)


def of_all_places(output, _rows):
    return output.log_softmax(-1)[..., 3].sum(1)


def of_signs(output, _rows):
    """Comparisons feel no NaN."""
    return (output[..., 3] > 0).double().mean(1) + output[:, -1, 4]


@pytest.mark.parametrize("read", [of_all_places, of_signs])
def test_scores_that_read_every_place(always, read):
    x, players = text(*USUAL)
    score = Score(llama(), read)
    game = masked(score, x, players, 0 * x)
    assert apart(game, score, x, players, 0 * x) <= 1e-10
    assert is_shared(game)


def test_the_head_is_spared_what_no_score_reads(always, monkeypatch):
    """The logits of one place of 128 rows, and the rows that plan and check."""
    numbers = []
    true = functional.linear

    def watched(x, weight, *others):
        if len(weight) == 30:
            numbers.append(x[..., 0].numel())
        return true(x, weight, *others)

    monkeypatch.setattr(functional, "linear", watched)
    x, players = text(*USUAL)
    game = masked(token_log_odds(llama(), 3), x, players, 0 * x)
    game.table()
    assert is_shared(game)
    # The model itself, its states, turned and not, each place spoilt, all, and what is checked.
    whole = 1 + 2 + 2 * 12 + 1 + 64
    assert sum(numbers) == 12 * whole + 128


def test_what_is_not_known_stays_so():
    """Even where somebody writes on it."""
    spread, known = Spread(), torch.ones(2, 1, 3)
    first = spread(known, [2], 4)
    assert first[:, 2].eq(1).all()
    assert first[:, [0, 1, 3]].isnan().all()
    assert spread(known, [2], 4).data_ptr() == first.data_ptr()
    first.zero_()
    again = spread(known, [2], 4)
    assert again[:, 2].eq(1).all()
    assert again[:, [0, 1, 3]].isnan().all()
    assert spread(known, [1], 4)[:, [0, 2, 3]].isnan().all()


# Real.


def test_stories():
    """A real prompt on the real model, of which nobody says that it is to be shared."""
    shown = exhibit("stories")
    counts = [len(shown.players(i).names) for i in range(len(shown.inputs))]
    number = max(i for i, count in enumerate(counts) if count in (11, 12))
    x, players, background = shown.inputs[number], shown.players(number), shown.baseline(number)
    score = token_log_odds(shown.model, 300)
    game = masked(score, x, players, background)
    table = game.table()
    assert is_shared(game)
    n = len(players.names)
    levels = [count for name, count in rows_run(game).items() if name.startswith("token")]
    assert levels == [2**i for i in range(n + 1)]
    some = torch.randperm(2**n, generator=torch.Generator().manual_seed(0))[:512]
    with torch.no_grad():
        true = score(torch.where(players.cover(coalitions(n)[some]), x, background))
    assert (table[some] - true).abs().max() <= 1e-4  # rounding of logits of size ten in float32
