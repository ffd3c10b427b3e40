import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from recurrent_networks import (
    KINDS,
    READS,
    Net,
    is_right,
    last,
    mean,
    owned,
    some,
    states,
    text,
)
from shareable import definition, eager, is_shared
from unmask import Players, log_odds, logit, masked, words
from unmask.lattice import coalitions
from unmask.sharing import rows_run, way_to_share
from unmask.sharing.recurrent import recurring
from unmask.sharing.recurrent.cells import Cell


@pytest.fixture(name="always")
def _always(monkeypatch):
    eager(monkeypatch)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize(
    "options",
    [{}, {"num_layers": 2}, {"bidirectional": True}, {"num_layers": 3, "bias": False}],
)
def test_tables_are_their_definition(always, kind, read, options):
    for ids in (True, False):
        for batch_first in (True, False):
            model = Net(kind, read, ids=ids, batch_first=batch_first, **options)
            x = text(ids=ids)
            assert is_right(model, x, owned(x), torch.zeros_like(x))


@pytest.mark.parametrize("read", [last, mean, states, some])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bidirectional": True}])
def test_projected_states(always, read, options):
    x = text()
    model = Net(nn.LSTM, read, batch_first=True, proj_size=3, **options)
    assert is_right(model, x, owned(x), torch.zeros_like(x))


def test_the_other_nonlinearity(always):
    x = text(ids=False)
    model = Net(nn.RNN, mean, ids=False, batch_first=True, nonlinearity="relu")
    assert is_right(model, x, owned(x), torch.zeros_like(x))


@given(st.data())
def test_random_owners(data):
    with pytest.MonkeyPatch.context() as patch:
        eager(patch)
        n = data.draw(st.integers(1, 5))
        length = data.draw(st.integers(n, 8))
        owner = torch.tensor(
            data.draw(st.permutations([*range(n), *data.draw(
                st.lists(st.integers(-1, n - 1), min_size=length - n, max_size=length - n)
            )]))
        )  # fmt: skip
        ids = data.draw(st.booleans())
        x = text(ids=ids, length=length)
        if not ids and data.draw(st.booleans()):  # players that share a time
            flat = torch.cat([owner, owner.flip(0), owner.roll(1), owner.roll(2)]).view(4, -1)
            players = Players(flat.T.contiguous(), tuple("abcde"[:n]))
        else:
            players = owned(x, owner)
        backgrounds = 0 * torch.stack([x, x])
        backgrounds[1] = 3
        model = Net(
            data.draw(st.sampled_from(KINDS)), data.draw(st.sampled_from(READS)), ids=ids,
            batch_first=data.draw(st.booleans()), bidirectional=data.draw(st.booleans()),
        )  # fmt: skip
        shared = is_right(
            model, x, players, backgrounds[: data.draw(st.integers(1, 2))],
            batch_size=data.draw(st.sampled_from([None, 1, 2, 5, 7, 64])),
        )  # fmt: skip
        assert shared


def test_rows_that_are_run(always):
    """One state before the first player, 2 for one time, 4 for two, 8 for two, 16 for three."""
    x = text()
    game = masked(logit(Net(nn.GRU, last, batch_first=True), 1), x, owned(x), 0 * x)
    game.table()
    steps = 1 * 1 + 2 * 1 + 4 * 2 + 8 * 2 + 16 * 3
    assert rows_run(game) == {
        "all, to plan": 4, "before rnn": 2, "rnn": -(-steps // 9), "the rest": 16,
        "all, to check": 64,
    }  # fmt: skip


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 100])
def test_no_more_states_than_the_batch_at_a_time(always, monkeypatch, rows):
    counts, true = [], Cell.step

    def watched(self, fed, carried, state):
        counts.append(len(state[0][0]))
        return true(self, fed, carried, state)

    monkeypatch.setattr(Cell, "step", watched)
    x = text(length=8)
    model = Net(nn.LSTM, last, batch_first=True)
    game = masked(logit(model, 1), x, owned(x, torch.arange(8)), 0 * x, batch_size=rows)
    table = game.table()
    assert is_shared(game)
    assert (
        table - definition(logit(model, 1), x, owned(x, torch.arange(8)), 0 * x)
    ).abs().max() < 1e-12
    assert max(counts) == min(2**8, 1 << rows.bit_length() - 1)
    assert sum(counts) == 2**9 - 2  # each state once, whatever the batch


def test_a_player_that_matters_nowhere(always):
    class Cropped(Net):
        def forward(self, x):
            return super().forward(x[:, 2:7])

    x = text()
    assert is_right(Cropped(nn.LSTM, mean, batch_first=True), x, owned(x), 0 * x)


class Convolved(Net):
    """Each time sees its neighbours before the recurrent layer does."""

    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        self.conv = nn.Conv1d(5, 5, 3, padding=1).double()
        begin = self.begin
        self.begin = nn.Identity()
        self.look_up = begin
        self.eval()

    def forward(self, x):
        if not hasattr(self, "conv"):  # while it is made
            return super().forward(x)
        return super().forward(self.conv(self.look_up(x).transpose(1, 2)).transpose(1, 2).tanh())


@pytest.mark.parametrize("bidirectional", [False, True])
def test_convolutions_before(always, bidirectional):
    x = text()
    model = Convolved(nn.GRU, mean, batch_first=True, bidirectional=bidirectional)
    players = owned(x, torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, -1]))
    assert is_right(model, x, players, 0 * x, batch_size=3)
    game = masked(logit(model, 1), x, players, 0 * x)
    game.table()
    assert rows_run(game)["before rnn"] == 4  # two colours: no time sees more than two players


class Padded(Net):
    """Reads the output at the last word that is not padding, and adds the mean of the words."""

    def forward(self, x):
        x = x.long()
        outputs, _ = self.rnn(self.begin(x))
        there = (x != 3).unsqueeze(2)
        found = (outputs * there).sum(1) / there.sum(1).clamp(min=1)
        return self.end(found) + self.begin(x).mean(1)[:, :3]


def test_models_that_look_at_the_input_again(always):
    x = text()
    model = Padded(nn.LSTM, None, batch_first=True)
    assert is_right(model, x, owned(x), torch.full_like(x, 3), batch_size=5)
    model = Padded(nn.LSTM, None, batch_first=True, bidirectional=True)
    assert is_right(model, x, owned(x), torch.full_like(x, 3))


class Begun(Net):
    """Hands states to the recurrent layer, and asks for the shape of its input."""

    def forward(self, x):
        zeros = torch.zeros(2, x.size(0), 6, dtype=torch.float64)
        apart = torch.cat([zeros[:1] + 2, zeros[1:] - 1])
        outputs, (_, kept) = self.rnn(self.begin(x), (zeros, apart))
        return self.end(outputs.sum(1).view(x.size(0), -1) / x.shape[1] + kept[1])


class Learned(Net):
    """Begins with a state that was learned, and ends with the first time and the states."""

    def forward(self, x):
        start = self.begin.weight[3:5, None].expand(2, x.size(0), 5).contiguous()
        outputs, (shown, _) = self.rnn(self.begin(x), (start, start + 1))
        return self.end(outputs[:, 0] + shown.transpose(0, 1).reshape(x.size(0), -1))


def test_given_states(always):
    x = text()
    assert is_right(Begun(nn.LSTM, None, batch_first=True, num_layers=2), x, owned(x), 0 * x)
    model = Learned(nn.LSTM, None, width=5, batch_first=True, bidirectional=True)
    assert is_right(model, x, owned(x), 0 * x)


@pytest.mark.parametrize(
    ("both", "numbers"),
    # Of two rows of nine times the three gates of six units; or of the suffixes, of which the
    # levels read 1, 1, 2, 1 and 4 times, the outputs of six units.
    [(False, 2 * 9 * 18), (True, (1 * 1 + 2 * 1 + 4 * 2 + 8 * 1 + 16 * 4) * 6)],
)
def test_tables_that_are_held_are_small(always, monkeypatch, both, numbers):
    x = text()
    model = Net(nn.GRU, mean, batch_first=True, bidirectional=both)
    monkeypatch.setattr(recurring, "LARGEST", numbers)
    assert is_right(model, x, owned(x), 0 * x)
    monkeypatch.setattr(recurring, "LARGEST", numbers - 1)
    assert not is_right(model, x, owned(x), 0 * x)


class Classifier(nn.Module):
    def __init__(self, rnn):
        super().__init__()
        self.look_up, self.rnn = nn.Embedding(500, 128), rnn
        self.end = nn.Linear(256, 2)

    def forward(self, x):
        return self.end(self.rnn(self.look_up(x))[0].mean(1))


@pytest.mark.parametrize("both", [False, True])
def test_large_networks_are_shared_by_themselves(both):
    """In float32, by the kernels of the processor; no more apart than batches are."""
    torch.manual_seed(0)
    rnn = nn.LSTM(128, 128 if both else 256, batch_first=True, bidirectional=both)
    model = Classifier(rnn).eval()
    x = torch.randint(500, (12,))
    game = masked(log_odds(model, 1), x, words(list(range(12))), torch.zeros_like(x))
    table = game.table()
    assert is_shared(game)
    some = coalitions(12)[::16]
    with torch.no_grad():
        true = log_odds(model, 1)(torch.where(some, x, 0))
    assert (table[::16] - true).abs().max() <= 1e-5 * true.abs().max()
    assert torch.equal(table, game.table())


def test_small_networks_are_left_alone():
    x = text()
    game = masked(logit(Net(nn.LSTM, last, batch_first=True), 1), x, owned(x), 0 * x)
    game.table()
    assert rows_run(game) == {"all": 16}


def test_players_at_the_beginning_of_a_long_text():
    """What follows them is read by all rows, which the layer itself does faster."""
    model = Classifier(nn.LSTM(128, 256, batch_first=True)).eval()
    x = torch.zeros(60, dtype=torch.long)
    early = words([*range(11), *[None] * 49])
    late = words([*[None] * 49, *range(11)])
    assert way_to_share(log_odds(model, 1), x, early, 64) is None
    assert way_to_share(log_odds(model, 1), x, late, 64) is not None


@pytest.mark.gpu
def test_on_a_gpu(always):
    x = text().cuda()
    for options in ({"num_layers": 2}, {"bidirectional": True}):
        model = Net(nn.LSTM, mean, batch_first=True, **options).cuda()
        score = logit(model, 1)
        players = owned(text())
        game = masked(score, x, players, 0 * x)
        table = game.table()
        assert table.device == x.device
        assert is_shared(game)
        with torch.no_grad():
            true = score(torch.where(players.cover(coalitions(4)).cuda(), x, 0 * x))
        assert (table - true).abs().max() <= 1e-11
