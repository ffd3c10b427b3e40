import pytest
import torch
from hypothesis import assume, event, given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from shareable import definition, eager, image, is_shared, small
from unmask import Players, log_odds, logit, masked, masking, patches
from unmask.lattice import coalitions
from unmask.sharing import rows_run, stages, way_to_share
from unmask.sharing.convolutions import colouring
from unmask.sharing.dependence import measured
from unmask.zoo.lenet import LeNet
from unmask.zoo.resnet import ResNet20
from unmask.zoo.squeezenet import SqueezeNet
from unmask.zoo.vgg import VGG11


@pytest.fixture(name="always")
def _always(monkeypatch):
    eager(monkeypatch)


REAL = [
    (LeNet, (1, 28, 28), (3, 4), 1e-5),
    (lambda: VGG11(width=0.25), (3, 32, 32), (3, 4), 1e-5),
    (ResNet20, (3, 32, 32), (2, 5), 1e-5),
    pytest.param(SqueezeNet, (3, 227, 227), (2, 4), 1e-5, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("make", "shape", "grid", "tolerance"), REAL)
def test_tables_of_real_networks_are_their_definition(make, shape, grid, tolerance):
    torch.manual_seed(0)
    model, x = make().eval(), image(*shape, dtype=torch.float32)
    players = patches(shape, grid)
    game = masked(log_odds(model, 1), x, players, torch.full(shape, 0.3))
    table = game.table()
    assert is_shared(game)
    n = len(players.names)
    masks = coalitions(n)[:: 2**n // 128]
    with torch.no_grad():
        true = torch.cat(
            [
                log_odds(model, 1)(torch.where(players.cover(some), x, torch.tensor(0.3)))
                for some in masks.split(16)
            ]
        )
    scale = true.abs().max()
    assert (table[:: 2**n // 128] - true).abs().max() <= tolerance * scale  # rounding in float32
    rows = rows_run(game)
    assert rows.pop("all, to plan") == n + 1
    assert rows.pop("all, to check") == 64
    assert rows.pop("the rest") == 2**n
    counts = list(rows.values())
    assert counts == sorted(counts)
    assert 16 in counts  # four colours for a grid whose places see a corner at most
    assert counts[-1] <= 2**n / 4


class Residual(nn.Module):
    def __init__(self, channels, dilation):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.conv(x)
        out += x
        return self.relu(out)


@st.composite
def convolutional(draw):
    """A small network of local layers, in float64."""
    torch.manual_seed(draw(st.integers(0, 99)))
    channels, layers = 2, []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["conv", "conv", "residual", "max", "average", "depthwise"]))
        if kind == "conv":
            wide = draw(st.integers(1, 4))
            kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
            padding, dilation = draw(st.integers(0, 2)), draw(st.integers(1, 2))
            layers += [
                nn.Conv2d(channels, wide, kernel, stride, padding, dilation),
                nn.BatchNorm2d(wide),
                draw(st.sampled_from([nn.ReLU(), nn.ReLU(inplace=True), nn.GELU(), nn.Tanh()])),
            ]
            layers[-2].running_mean.uniform_(-1, 1)
            layers[-2].running_var.uniform_(0.5, 2)
            channels = wide
        elif kind == "residual":
            layers.append(Residual(channels, draw(st.integers(1, 2))))
        elif kind == "depthwise":
            layers.append(nn.Conv2d(channels, channels, 3, padding=1, groups=channels))
        else:
            pool = nn.MaxPool2d if kind == "max" else nn.AvgPool2d
            layers.append(pool(2, stride=draw(st.integers(1, 2)), ceil_mode=draw(st.booleans())))
    body = nn.Sequential(*layers).double().eval()
    size = draw(st.sampled_from([(12, 12), (9, 14)]))
    try:
        with torch.no_grad():
            numbers = body(torch.zeros(1, 2, *size, dtype=torch.float64)).numel()
    except RuntimeError:
        assume(False)
    model = nn.Sequential(body, nn.Flatten(), nn.Linear(numbers, 3)).double().eval()
    return model, (2, *size)


@given(st.data())
def test_random_networks(data):
    with pytest.MonkeyPatch.context() as patch:
        eager(patch)
        model, shape = data.draw(convolutional())
        x = image(*shape, seed=data.draw(st.integers(0, 99)))
        players = patches(shape, data.draw(st.sampled_from([(2, 2), (2, 3), (1, 5)])))
        backgrounds = image(*data.draw(st.sampled_from([shape, (2, *shape)])), seed=7)
        score = log_odds(model, 1)
        batch_size = data.draw(st.sampled_from([None, 1, 7, 64]))
        game = masked(score, x, players, backgrounds, batch_size=batch_size)
        table = game.table()
        true = definition(score, x, players, backgrounds)
        assert (table - true).abs().max() <= 1e-11 * max(1.0, float(true.abs().max()))
        way = way_to_share(score, x, players, 64)
        assert is_shared(game) == (way is not None)  # what is shared was right: no other way taken
        event(f"shared: {is_shared(game)}")
        event(f"by place: {any(' by place' in part for part in rows_run(game))}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels_last", [False, True])
def test_players_that_are_no_grid(always, monkeypatch, dtype, channels_last):
    if not channels_last:
        monkeypatch.setattr(colouring, "_channels_last", lambda *_: False)
    model, x = small(dtype=dtype), image(2, 12, 12, dtype=dtype)
    owner = torch.randint(-1, 5, (12, 12), generator=torch.Generator().manual_seed(3))
    owner[:, 4:] = owner[:4, :4].repeat_interleave(3, 0).repeat_interleave(2, 1)
    players = Players(owner.expand(2, 12, 12), tuple("abcde"))
    score = logit(model, 2)
    game = masked(score, x, players, torch.zeros_like(x))
    table = game.table()
    true = definition(score, x, players, torch.zeros_like(x))
    assert table.dtype == dtype
    assert (table - true).abs().max() <= (1e-5 if dtype == torch.float32 else 1e-12)


def test_one_channel_players_and_batches_change_nothing(always):
    model, x = small(), image(2, 12, 12)
    players = patches((2, 12, 12), (2, 4))
    score = log_odds(model, 0)
    true = definition(score, x, players, 0 * x)
    seen = []
    for batch_size in (1, 3, 100, None):
        game = masked(score, x, players, 0 * x, batch_size=batch_size)
        assert (game.table() - true).abs().max() <= 1e-12
        assert is_shared(game)
        seen.append(rows_run(game))
    assert all(rows == seen[0] for rows in seen)


def test_the_same_call_gives_the_same_bits(always):
    model, x = small(dtype=torch.float32), image(2, 12, 12, dtype=torch.float32)
    players = patches((2, 12, 12), (3, 3))
    game = masked(log_odds(model, 0), x, players, 0 * x)
    first = game.table()
    assert torch.equal(first, game.table())
    assert is_shared(game)


def test_no_more_rows_than_the_batch_are_in_the_model_at_a_time(always, monkeypatch):
    rows = []
    true = functional.linear

    def watched(x, *others):
        rows.append(len(x))
        return true(x, *others)

    monkeypatch.setattr(functional, "linear", watched)
    game = masked(
        log_odds(small(), 0), image(2, 12, 12), patches((2, 12, 12), (2, 4)),
        torch.zeros(1, dtype=torch.float64), batch_size=10,
    )  # fmt: skip
    game.table()
    assert is_shared(game)
    assert max(rows) == 10


def without(cut, player, places=slice(None)):
    depends = cut.depends.clone()
    depends[player, places] = False
    return stages.Cut(cut.place, cut.shape, depends, cut.spent)


def test_wrong_dependence_is_found_out(always, monkeypatch):
    model, x = small(), image(2, 12, 12)
    players = patches((2, 12, 12), (2, 4))
    score = log_odds(model, 0)

    def wrong(*given):
        cuts, total = measured(*given)
        return [without(cut, 2) for cut in cuts], total

    monkeypatch.setattr(colouring, "measured", wrong)
    game = masked(score, x, players, 0 * x)
    true = definition(score, x, players, 0 * x)
    assert (game.table() - true).abs().max() <= 1e-12
    assert not is_shared(game)
    assert rows_run(game)["all"] == 256
    monkeypatch.setattr(masking, "alike", lambda *_: True)  # the check is what found it
    assert (game.table() - true).abs().max() > 1e-3


@pytest.mark.parametrize("seed", range(10))
def test_a_single_missing_dependence_is_found_out(always, monkeypatch, seed):
    """Of one player at one place of one cut, at random."""
    model, x = small(), image(2, 12, 12)
    players = patches((2, 12, 12), (2, 4))
    score = log_odds(model, 0)
    generator = torch.Generator().manual_seed(seed)

    def wrong(*given):
        cuts, total = measured(*given)
        chosen = [stage.cut.place for stage in stages.chosen(given[0], cuts, total, x, 8)]
        hit = chosen[-1]
        (cut,) = (cut for cut in cuts if cut.place == hit)
        there = cut.depends.nonzero()
        player, place = there[int(torch.randint(len(there), (), generator=generator))].tolist()
        return [without(c, player, place) if c is cut else c for c in cuts], total

    monkeypatch.setattr(colouring, "measured", wrong)
    game = masked(score, x, players, 0 * x)
    assert (game.table() - definition(score, x, players, 0 * x)).abs().max() <= 1e-12


class Viewed(nn.Module):
    """Asks for the channels of a map one after the other in memory."""

    def __init__(self):
        super().__init__()
        self.body, self.head = small(dtype=torch.float32)[:5], nn.Linear(720, 3)

    def forward(self, x):
        x = self.body(x)
        return self.head(x.view(x.size(0), -1))


def test_a_view_of_the_maps(always):
    torch.manual_seed(0)
    model, x = Viewed().eval(), image(2, 12, 12, dtype=torch.float32)
    players = patches((2, 12, 12), (2, 4))
    score = log_odds(model, 0)
    game = masked(score, x, players, 0 * x)
    assert (game.table() - definition(score, x, players, 0 * x)).abs().max() <= 1e-5
    assert is_shared(game)


def test_the_model_stays_as_it_was(always):
    model = small()
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    before = [(m, set(vars(m)), m.training) for m in model.modules()]
    wants = [p.requires_grad for p in model.parameters()]
    state = torch.get_rng_state()
    x = image(2, 12, 12)
    game = masked(log_odds(model, 0), x, patches((2, 12, 12), (2, 4)), 0 * x)
    table = game.table()
    assert is_shared(game)
    assert not table.requires_grad
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())
    assert [(m, set(vars(m)), m.training) for m in model.modules()] == before
    assert [p.requires_grad for p in model.parameters()] == wants
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("allowed", [2**24, 16 * 144 * 4, 1000])
def test_tables_of_cuts_are_small(always, monkeypatch, allowed):
    """None holds more numbers than is allowed."""
    held, made = [], colouring._table

    def watched(*given):
        held.append(made(*given))
        return held[-1]

    monkeypatch.setattr(stages, "LARGEST", allowed)
    monkeypatch.setattr(colouring, "_table", watched)
    x, players = image(2, 12, 12), patches((2, 12, 12), (2, 4))
    score = log_odds(small(), 0)
    game = masked(score, x, players, 0 * x)
    assert (game.table() - definition(score, x, players, 0 * x)).abs().max() <= 1e-12
    assert bool(held) == (allowed > 1000)  # four colours of 576 numbers are more than that
    assert all(table.numel() <= allowed for table in held)


class Words(nn.Module):
    """Convolutions over the words of a text, of which the strongest answers count."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.look_up = nn.Embedding(30, 4)
        self.body = nn.Sequential(
            nn.Conv1d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv1d(6, 5, 3), nn.Tanh()
        )
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.body(self.look_up(x).transpose(1, 2)).max(2).values)


@pytest.mark.parametrize("batch_size", [None, 3])
def test_token_ids(always, batch_size):
    model, x = Words().double().eval(), torch.arange(3, 15)
    players = Players(torch.tensor([0, 0, 1, 2, 2, -1, 3, 4, 4, 0, 5, 5]), tuple("abcdef"))
    score = log_odds(model, 0)
    game = masked(score, x, players, torch.ones_like(x), batch_size=batch_size)
    true = definition(score, x, players, torch.ones_like(x))
    assert (game.table() - true).abs().max() <= 1e-12
    assert is_shared(game)


def test_bytes_of_an_image(always):
    class Bytes(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = small()

        def forward(self, x):
            return self.body(x.double() / 255)

    x = (255 * image(2, 12, 12)).to(torch.uint8)
    players = patches((2, 12, 12), (2, 4))
    score = log_odds(Bytes().eval(), 0)
    game = masked(score, x, players, 0 * x)
    assert (game.table() - definition(score, x, players, 0 * x)).abs().max() <= 1e-12
    assert is_shared(game)


def test_coarse_numbers_are_not_shared(always):
    """What is rounded and what is wrong could not be told apart."""
    model, x = Words().bfloat16().eval(), torch.arange(3, 15)
    players = Players(torch.arange(12) // 2, tuple("abcdef"))
    assert way_to_share(log_odds(model, 0), x, players, 64) is None
    x = image(2, 12, 12).half()
    players = patches((2, 12, 12), (2, 4))
    assert way_to_share(log_odds(small().half(), 0), x, players, 64) is None


@pytest.mark.gpu
def test_on_a_gpu(always):
    model, x = small(dtype=torch.float64).cuda(), image(2, 12, 12).cuda()
    players = patches((2, 12, 12), (2, 4))
    score = log_odds(model, 0)
    game = masked(score, x, players, 0 * x)
    table = game.table()
    assert table.device == x.device
    assert is_shared(game)
    masks = coalitions(8)
    with torch.no_grad():
        true = score(torch.where(players.cover(masks.cuda()), x, 0 * x))
    assert (table - true).abs().max() <= 1e-11
