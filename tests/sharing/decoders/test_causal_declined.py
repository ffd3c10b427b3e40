"""What a tree of prefixes leaves alone or gets wrong is done the plain way, and leaves no trace."""

import threading

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules import module as torch_module

from decoding import USUAL, apart, llama, text
from shareable import eager, is_shared
from unmask import Players, Score, log_odds, masked, masking, token_log_odds
from unmask.lattice import coalitions
from unmask.sharing import rows_run
from unmask.sharing.decoders.decoder import _standing_in
from unmask.zoo.llama import Attention, Llama


@pytest.fixture(name="always")
def _always(monkeypatch):
    eager(monkeypatch)


def of_all_places(output, _rows):
    return output.log_softmax(-1)[..., 3].sum(1)


# Wrong, or not to be trusted.


class Both(Attention):
    """Looks ahead."""

    def forward(self, x):
        heads = (self.heads, self.size)
        q, k, v = (
            part(x).unflatten(-1, (-1, self.size)).transpose(1, 2)
            for part in (self.wq, self.wk, self.wv)
        )
        k, v = (part.repeat_interleave(self.heads // self.shared, 1) for part in (k, v))
        seen = functional.scaled_dot_product_attention(q, k, v)
        return self.wo(seen.transpose(1, 2).reshape(*x.shape[:2], heads[0] * heads[1]))


def test_a_model_that_looks_ahead_is_found_out_before_any_work(always, monkeypatch):
    model = llama()
    for layer in model.layers:
        layer.attention.__class__ = Both
    x, players = text(*USUAL)
    score = token_log_odds(model, 3)
    game = masked(score, x, players, 0 * x)
    assert apart(game, score, x, players, 0 * x) <= 1e-12
    assert rows_run(game) == {"all": 128}


class Forgetful(Llama):
    """Goes on well from one row, but not from several."""

    def states_after(self, tokens, past):
        states = super().states_after(tokens, past)
        return states + 0.01 * (len(tokens) > 1)


def test_a_wrong_table_is_found_out(always, monkeypatch):
    model = llama(kind=Forgetful)
    x, players = text(*USUAL)
    score = token_log_odds(model, 3)
    game = masked(score, x, players, 0 * x)
    assert apart(game, score, x, players, 0 * x) <= 1e-12
    assert rows_run(game)["all"] == 128
    monkeypatch.setattr(masking, "alike", lambda *_: True)  # the check is what found it
    assert apart(game, score, x, players, 0 * x) > 1e-4


@pytest.mark.parametrize("rank", [-3, -100])
def test_a_place_that_matters_to_other_rows_only_is_read(always, rank):
    """Neither NaN nor a turned sign is above the threshold, but other rows are: perhaps only one,
    which no check would meet."""
    model = llama()
    x, players = text(*range(10))
    with torch.no_grad():
        seen = model(torch.where(players.cover(coalitions(10)), x, 0))[:, 8]
    word = seen[-1].abs().argmin()
    seen = seen[:, word]
    limit = seen.mul(1e8).round().unique()[rank : rank + 2].mean() / 1e8
    assert seen[-1] < limit  # at x itself
    assert -seen[-1] < limit

    def read(output, _rows):
        return output[:, -1, 3] + (output[:, 8, word] > limit)

    score = Score(model, read)
    game = masked(score, x, players, 0 * x)
    assert apart(game, score, x, players, 0 * x) <= 1e-12


@pytest.mark.parametrize("place", [-1, 6])
def test_large_numbers_that_stand_for_nothing_hide_no_mistake(always, place):
    """A vocabulary is cut by a number far below all logits, beside which those all look alike."""
    ahead = llama(dtype=torch.float32)
    for layer in ahead.layers:
        layer.attention.__class__ = Both
    x, players = text(*USUAL)
    for model in (ahead, llama(dtype=torch.float32, kind=Forgetful)):

        def cut(ids, model=model):
            return model(ids).masked_fill(torch.arange(30) > 4, -1e9)

        score = Score(cut, lambda output, _rows: output[:, place, 3])
        game = masked(score, x, players, 0 * x)
        assert apart(game, score, x, players, 0 * x) <= 1e-5
        assert not is_shared(game)


def test_a_place_that_depends_on_the_text_is_found_out(always):
    """The last token that is not hidden is read."""
    model = llama()

    def last(ids):
        return model(ids)[torch.arange(len(ids)), (ids > 0).cumsum(1).argmax(1)]

    x, players = text(*range(8))
    score = log_odds(last, 3)
    game = masked(score, x, players, 0 * x)
    assert apart(game, score, x, players, 0 * x) <= 1e-12
    assert rows_run(game)["all"] == 256


def test_a_single_row_that_reads_elsewhere_is_found_out(always):
    """Though no row that is compared with the model is that one."""
    model = llama()

    def last(ids):
        return model(ids)[torch.arange(len(ids)), 7 - 3 * (ids == 0).all(1).long()]

    x, players = text(*range(8))
    score = log_odds(last, 3)
    game = masked(score, x, players, 0 * x)
    assert apart(game, score, x, players, 0 * x) <= 1e-12
    assert rows_run(game)["all"] == 256
    assert "all, to check" not in rows_run(game)


def plain(model, x=None, players=None, usual=True):
    """A table that is made the plain way, and right."""
    if usual:
        x, players = text(*USUAL)
    score = token_log_odds(model, 3)
    game = masked(score, x, players, 0 * x)
    assert apart(game, score, x, players, 0 * x) <= 1e-12
    return rows_run(game)


def test_hooks_and_changed_modules_are_left_alone(always):
    model = llama()
    handle = model.layers[0].register_forward_hook(lambda *_: None)
    assert plain(model) == {"all": 128}
    assert plain(lambda ids: model(ids)) == {"all": 128}
    handle.remove()
    assert is_shared_table(model)
    model.norm.forward = model.norm.forward
    assert plain(model) == {"all": 128}
    del model.norm.forward
    handle = torch_module.register_module_forward_hook(lambda *_: None)
    assert plain(lambda ids: model(ids)) == {"all": 128}
    handle.remove()


def is_shared_table(model):
    x, players = text(*USUAL)
    game = masked(token_log_odds(model, 3), x, players, 0 * x)
    game.table()
    return is_shared(game)


def test_training_mode_is_left_alone(always):
    assert plain(llama().train()) == {"all": 128}


def test_half_precision_is_left_alone(always):
    """A check against rows that are rounded so much would let almost anything pass."""
    x, players = text(*USUAL)
    model = llama(dtype=torch.bfloat16)
    game = masked(token_log_odds(model, 3), x, players, 0 * x)
    game.table()
    assert rows_run(game) == {"all": 128}


def before(ids, model):
    """Puts a token in front."""
    return model(torch.cat([ids[:, :1] * 0 + 5, ids], 1))


def twice(ids, model):
    return model(ids) + model(ids.flip(1)).flip(1)


def written(ids, model):
    ids[:, 3] = 7
    return model(ids)


@pytest.mark.parametrize("call", [before, twice, written])
def test_other_tokens_than_the_input_are_not_shared(always, call):
    model = llama()
    rows = plain(lambda ids: call(ids, model))
    assert rows == {"all": 128}


def replaced(ids, model):
    return model(torch.where(ids == 0, 29, ids))


def replaced_in_place(ids, model):
    ids[ids == 0] = 29
    return model(ids)


@pytest.mark.parametrize("call", [replaced, replaced_in_place])
def test_other_tokens_in_some_rows_only_are_refused_at_once(always, call):
    """Hidden words become another token on their way; of x itself, nothing does."""
    model = llama()
    rows = plain(lambda ids: call(ids, model))
    assert rows["all"] == 128
    assert "all, to check" not in rows


def test_a_model_that_writes_on_the_states(always):
    """It may, but what others go on from must not change."""

    class Writing(Llama):
        def read_states(self, states):
            return super().read_states(states.mul_(1.0))

    score = Score(llama(kind=Writing), of_all_places)
    x, players = text(*USUAL)
    game = masked(score, x, players, 0 * x)
    assert apart(game, score, x, players, 0 * x) <= 1e-12
    assert rows_run(game)["all"] == 128


def test_few_players_are_left_alone(always):
    x, players = text(0, 1, 2, 3, 4, 5)
    assert plain(llama(), x, players, usual=False) == {"all": 64}


def test_small_work_is_left_alone():
    assert plain(llama()) == {"all": 128}


def test_numbers_that_are_no_text_are_left_alone(always):
    x, players = torch.rand(7, 3, dtype=torch.float64), text(*range(7))[1]
    model = nn.Sequential(nn.Flatten(), nn.Linear(21, 2)).double().eval()
    rows = torch.arange(7)[:, None].expand(7, 3).clone()
    for score in (log_odds(model, 0), log_odds(lambda x: model(x), 0)):
        game = masked(score, x, Players(rows, players.names), 0 * x)
        game.table()
        assert rows_run(game) == {"all": 128}
    columns = Players(torch.arange(21).remainder(7).view(7, 3), players.names)
    game = masked(log_odds(model, 0), x, columns, 0 * x)
    game.table()
    assert rows_run(game) == {"all": 128}


# No trace.


class Failing(Llama):
    """Fails after some calls."""

    calls, limit = 0, 10**9

    def read_states(self, states):
        type(self).calls += 1
        if type(self).calls > self.limit:
            raise RuntimeError("no more")
        return super().read_states(states)


@pytest.mark.parametrize("limit", [0, 1, 2, 6, 10])
def test_an_exception_leaves_nothing_behind(always, monkeypatch, limit):
    monkeypatch.setattr(Failing, "limit", limit)
    monkeypatch.setattr(Failing, "calls", 0)
    model = llama(kind=Failing)
    before = [(module, set(vars(module))) for module in model.modules()]
    x, players = text(*USUAL)
    game = masked(token_log_odds(model, 3), x, players, 0 * x, batch_size=8)
    with pytest.raises(RuntimeError, match="no more"):
        game.table()
    assert [(module, set(vars(module))) for module in model.modules()] == before
    assert not torch_module._has_any_global_hook()


def test_the_model_stays_as_it_was(always):
    model = llama()
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    before = [(m, set(vars(m)), m.training) for m in model.modules()]
    state = torch.get_rng_state()
    x, players = text(*USUAL)
    score = token_log_odds(model, 3)
    with torch.inference_mode():
        inside = masked(score, x, players, 0 * x).table()
    game = masked(score, x, players, 0 * x)
    table = game.table()
    assert torch.equal(inside, table)
    assert is_shared(game)
    assert not table.requires_grad
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())
    assert [(m, set(vars(m)), m.training) for m in model.modules()] == before
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    score(x[None]).sum().backward()  # nothing that it keeps was made without a graph
    assert model.layers[0].attention.wq.weight.grad.abs().sum() > 0


def test_another_thread_meets_the_model_itself():
    model = nn.Linear(2, 2)
    x = torch.ones(1, 2)
    true, seen = model(x), []
    with _standing_in(model, lambda x: 0 * x):
        assert torch.equal(model(x), 0 * x)
        other = threading.Thread(target=lambda: seen.append(model(x)))
        other.start()
        other.join()
    assert torch.equal(seen[0], true)
    assert torch.equal(model(x), true)
