"""What is not shared, or turns out wrong, is done the plain way."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from recurrent_networks import (
    Net,
    is_right,
    last,
    owned,
    text,
)
from shareable import eager, is_shared
from unmask import Players, logit, masked, masking
from unmask.lattice import coalitions
from unmask.sharing import way_to_share
from unmask.sharing.recurrent.cells import Cell


@pytest.fixture(name="always")
def _always(monkeypatch):
    eager(monkeypatch)


class Drawn(Net):
    """Begins at random: each row by itself, or all alike."""

    alike = False

    def forward(self, x):
        start = torch.randn(1, 1 if self.alike else x.size(0), 6).double()
        start = start.expand(1, x.size(0), 6).contiguous()
        return self.end(self.rnn(self.begin(x), start)[0][:, -1])


@pytest.mark.parametrize("alike", [False, True])
def test_a_state_that_is_drawn_is_found_out(always, alike):
    model = Drawn(nn.GRU, last, batch_first=True)
    model.alike = alike
    x = text()
    game = masked(logit(model, 1), x, owned(x), 0 * x)
    game.table()
    assert not is_shared(game)
    assert (way_to_share(logit(model, 1), x, owned(x), 64) is None) == (not alike)


class Begun(Net):
    """Begins as all words but the first say, which in most coalitions is nothing."""

    limit = 0.0

    def forward(self, x):
        read = self.begin(x)
        start = (self.limit - read[:, 1:].sum((1, 2))).relu()[:, None].expand(-1, 6)[None]
        return self.end(self.rnn(read, start.contiguous())[0][:, -1])


@pytest.mark.parametrize("batch_size", [1, 2, None])
def test_a_state_that_depends_on_a_player_of_another_batch(always, batch_size):
    """A single coalition of the last eight words begins unlike the others."""
    model = Begun(nn.GRU, last, batch_first=True)
    x = text()
    players = Players(torch.arange(9), tuple("abcdefghi"))
    with torch.no_grad():
        made = torch.where(players.cover(coalitions(9)), x, 0)
        sums = model.begin(made)[:, 1:].sum((1, 2)).unique()
    model.limit = float(sums[:2].mean())
    assert way_to_share(logit(model, 1), x, players, batch_size or 64) is None
    assert not is_right(model, x, players, 0 * x, batch_size=batch_size)


class Packed(Net):
    def forward(self, x):
        packed = pack_padded_sequence(self.begin(x), [x.shape[1]] * len(x), batch_first=True)
        _, state = self.rnn(packed)
        return self.end(state[-1])


class Mixed(Net):
    """Hands times to the recurrent layer as if they were a batch."""

    def forward(self, x):
        outputs, _ = self.rnn(self.begin(x).transpose(0, 1))
        return self.end(outputs[-1])


def test_what_is_declined(always):
    x = text()

    def shared(model):
        return way_to_share(logit(model, 1), x, owned(x), 64) is not None

    model = Net(nn.GRU, last, batch_first=True)
    assert shared(model)
    assert not shared(Packed(nn.GRU, last, batch_first=True))
    assert not shared(Mixed(nn.GRU, last, batch_first=True))
    assert not shared(Net(nn.GRU, last, batch_first=True, bidirectional=True, num_layers=2))
    assert not shared(Net(nn.GRU, last, batch_first=True).bfloat16())
    assert not shared(Net(nn.GRU, last, batch_first=True).train())
    handle = model.rnn.register_forward_hook(lambda *_: None)
    assert not shared(model)
    handle.remove()
    assert shared(model)
    both = nn.Sequential(nn.Embedding(20, 5), nn.GRU(5, 3, batch_first=True)).double().eval()
    assert not shared(both)  # it puts out two tensors


def test_dropout_that_is_on_is_not_shared(always):
    model = Net(nn.LSTM, last, batch_first=True, num_layers=2, dropout=0.5)
    x = text()
    assert is_right(model, x, owned(x), 0 * x)
    model.train()
    with pytest.warns(UserWarning, match="draws at random"):
        game = masked(logit(model, 1), x, owned(x), 0 * x)
    game.table()
    assert not is_shared(game)


def test_wrong_states_are_found_out(always, monkeypatch):
    true = Cell.step

    def wrong(self, fed, carried, state):
        return tuple((own[0] + 1e-4, *own[1:]) for own in true(self, fed, carried, state))

    monkeypatch.setattr(Cell, "step", wrong)
    x = text()
    model = Net(nn.GRU, last, batch_first=True)
    assert not is_right(model, x, owned(x), 0 * x)
    monkeypatch.setattr(masking, "alike", lambda *_: True)  # the check is what found it
    with pytest.raises(AssertionError):
        is_right(model, x, owned(x), 0 * x)


def test_what_fails_only_when_shared_is_done_the_plain_way(always, monkeypatch):
    def fails(*_):
        raise RuntimeError("no more")

    monkeypatch.setattr(Cell, "step", fails)
    x = text()
    assert not is_right(Net(nn.GRU, last, batch_first=True), x, owned(x), 0 * x)


def test_an_exception_leaves_no_trace(always):
    model = Net(nn.LSTM, last, batch_first=True)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    before = [(set(vars(m)), m.training) for m in model.modules()]
    x, state = text(), torch.get_rng_state()
    game = masked(logit(model, 7), x, owned(x), 0 * x)  # there are three classes
    with pytest.raises((IndexError, ValueError)):
        game.table()
    assert [(set(vars(m)), m.training) for m in model.modules()] == before
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert is_right(model, x, owned(x), 0 * x)
