import pytest
import torch
from torch import nn
from torch.nn import functional

from exhibits import exhibit
from strategies import relu_network
from unmask import Game, Players, features, log_odds, logit, patches, predicted, tokens
from unmask.methods.saliency import acd, contextual_decomposition, decomposition_game, neighbouring


def whole(shape):
    return Players(torch.zeros(shape, dtype=torch.long), ("all",))


def halves(x):
    """Two players of one input: the first half of its first axis, and the second."""
    owner = (torch.arange(len(x)) >= len(x) // 2).long()
    return Players(owner.view(-1, *[1] * (x.ndim - 1)).expand_as(x).clone(), ("first", "second"))


# Numbers worked out by hand


def line(weight, bias):
    layer = nn.Linear(len(weight), 1).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weight]))
        layer.bias.copy_(torch.tensor([bias]))
    return layer


def test_a_linear_unit():
    # W beta = 2, W gamma = -1, b = 3: the bias is shared 2 : 1.
    model = line([2.0, -1.0], 3.0)
    x = torch.ones(1, 2).double()
    found = contextual_decomposition(logit(model, 0), x, players=features(2))
    assert found.values.tolist() == [[4, 0]]


def test_two_layers_by_hand():
    # z = (2, -1) + 3 = 4 and -0.5 * 2 + 1 = 0; beta of x1: 2 + 3 * 2/3 = 4, relu 4; and of the
    # second unit -1 + 1 * 1/1 = 0.
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[2.0, -1.0], [-1.0, 0.0]]))
        model[0].bias.copy_(torch.tensor([3.0, 1.0]))
        model[2].weight.copy_(torch.tensor([[1.0, 5.0]]))
        model[2].bias.copy_(torch.tensor([-1.0]))
    found = contextual_decomposition(
        logit(model, 0), torch.ones(1, 2).double(), players=features(2)
    )
    # of x1: beta = (4, 0), all of the bias; of x2: (-1 + 3/3, 0), rectified 0, and no bias.
    assert found.values.tolist() == [[pytest.approx(3), pytest.approx(0)]]


def test_a_smooth_function_is_split_both_ways():
    # 1/2 (tanh(b) - tanh(0) + tanh(b + c) - tanh(c)) at b = 1, c = 0.5
    x = torch.tensor([[1.0, 0.5]]).double()
    found = contextual_decomposition(
        logit(lambda x: x.sum(1, keepdim=True).tanh(), 0), x, players=features(2)
    )
    t = torch.tanh(torch.tensor([1.0, 0.5, 1.5]).double()).tolist()
    assert found.values[0].tolist() == pytest.approx(
        [(t[0] + t[2] - t[1]) / 2, (t[1] + t[2] - t[0]) / 2]
    )


def test_the_winner_of_a_maximum_takes_its_parts_along():
    def pool(x):
        return functional.max_pool1d(x[:, None], 2)[:, 0]

    x = torch.tensor([[3.0, 1.0]]).double()
    found = contextual_decomposition(logit(pool, 0), x, players=features(2))
    assert found.values.tolist() == [[3, 0]]


# A second derivation: the rules of an LSTM, in plain loops, one number after another


def slow_lstm(layer, x, phrase):
    """beta and gamma of the last hidden state, as Murdoch, Liu and Yu write them."""
    sigmoid, tanh = torch.sigmoid, torch.tanh

    def split(act, r, s, b):
        of_r = (act(r + b) - act(b) + act(r + s + b) - act(s + b)) / 2
        of_s = (act(s + b) - act(b) + act(r + s + b) - act(r + b)) / 2
        return of_r, of_s, act(b)

    size = layer.hidden_size
    bias = layer.bias_ih_l0 + layer.bias_hh_l0
    rel_h = irr_h = rel_c = irr_c = torch.zeros(size).double()
    for t in range(len(x)):
        inside = t in phrase
        rel_x, irr_x = (x[t], 0 * x[t]) if inside else (0 * x[t], x[t])
        r = layer.weight_ih_l0 @ rel_x + layer.weight_hh_l0 @ rel_h
        s = layer.weight_ih_l0 @ irr_x + layer.weight_hh_l0 @ irr_h
        part = [slice(k * size, (k + 1) * size) for k in range(4)]
        ri, ii, bi = split(sigmoid, r[part[0]], s[part[0]], bias[part[0]])
        rf, if_, bf = split(sigmoid, r[part[1]], s[part[1]], bias[part[1]])
        rg, ig, bg = split(tanh, r[part[2]], s[part[2]], bias[part[2]])
        o = sigmoid(r[part[3]] + s[part[3]] + bias[part[3]])
        rel = ri * (rg + bg) + bi * rg
        irr = ii * (rg + ig + bg) + (ri + bi) * ig
        if inside:
            rel = rel + bi * bg
        else:
            irr = irr + bi * bg
        new_rel = (rf + bf) * rel_c + rel
        new_irr = (rf + if_ + bf) * irr_c + if_ * rel_c + irr
        rel_c, irr_c = new_rel, new_irr
        rel_h = o * (tanh(rel_c) + tanh(rel_c + irr_c) - tanh(irr_c)) / 2
        irr_h = o * (tanh(irr_c) + tanh(rel_c + irr_c) - tanh(rel_c)) / 2
    return rel_h, irr_h


class Reader(nn.Module):
    def __init__(self, layers=1, both=False, bias=True, batch_first=True):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.rnn = nn.LSTM(4, 5, layers, bias=bias, bidirectional=both, batch_first=batch_first)
            self.head = nn.Linear(10 if both else 5, 3, bias=False)
        self.batch_first = batch_first
        self.double().eval()

    def forward(self, x):
        out = self.rnn(x if self.batch_first else x.transpose(0, 1))[0]
        return self.head(out[:, -1] if self.batch_first else out[-1])


def sequences(rows=2):
    return torch.randn(rows, 6, 4, generator=torch.Generator().manual_seed(1)).double()


@torch.no_grad()
def test_an_lstm_follows_the_rules_of_its_gates():
    model, x = Reader(), sequences()
    phrase = {1, 2}
    owner = torch.tensor([int(t in phrase) for t in range(6)])[:, None].expand(6, 4).clone()
    found = contextual_decomposition(logit(model, 1), x, players=Players(owner, ("rest", "phrase")))
    for row, (rest, of_phrase) in zip(x, found.values, strict=True):
        rel, irr = slow_lstm(model.rnn, row, phrase)
        assert torch.allclose(of_phrase, model.head.weight[1] @ rel, atol=1e-12)
        assert torch.allclose(rel + irr, model.rnn(row[None])[0][0, -1], atol=1e-12)
        other, _ = slow_lstm(model.rnn, row, set(range(6)) - phrase)
        assert torch.allclose(rest, model.head.weight[1] @ other, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [{}, {"layers": 2}, {"both": True}, {"layers": 2, "both": True}, {"bias": False},
     {"batch_first": False}],
    ids=str,
)  # fmt: skip
@torch.no_grad()
def test_a_full_phrase_is_all_and_an_empty_one_nothing(options):
    model, x = Reader(**options), sequences()
    score = logit(model, 1)
    found = contextual_decomposition(score, x, players=whole((6, 4)))
    assert torch.allclose(found.values[:, 0], score(x), atol=1e-12)
    never = Players(torch.full((6, 4), -1).index_fill(0, torch.tensor([0]), 0), ("first",))
    nothing = contextual_decomposition(score, torch.cat([0 * x[:, :1], x[:, 1:]], 1), players=never)
    assert nothing.values.abs().max() < 1e-12


# Properties


def convolutional():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            *(nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(inplace=True)),
            *(nn.MaxPool2d(2), nn.Conv2d(5, 6, 3), nn.ReLU(), nn.AvgPool2d(2)),
            *(nn.Flatten(), nn.Dropout(), nn.Linear(6, 3)),
        )
        model[1].running_mean.normal_()
        model[1].running_var.uniform_(0.5, 2)
        model[1].bias.data.normal_()
    return model.double().eval()


@torch.no_grad()
def test_all_of_a_convolutional_network_is_the_score():
    model = convolutional()
    x = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    score = logit(model, torch.tensor([0, 1, 2]))
    found = contextual_decomposition(score, x, players=whole((2, 8, 8)))
    assert torch.allclose(found.values[:, 0], score(x), atol=1e-12)
    alone = contextual_decomposition(logit(model, 1), x[1:2], players=patches((2, 8, 8), (2, 2)))
    together = contextual_decomposition(score, x, players=patches((2, 8, 8), (2, 2)), batch_size=5)
    assert torch.allclose(alone.values[0], together.values[1], atol=1e-12)


@torch.no_grad()
def test_what_a_network_ignores_is_worth_nothing():
    model = relu_network([4, 7, 6, 3], seed=1)
    model[0].weight[:, 2] = 0
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1)).double()
    values = contextual_decomposition(logit(model, 1), x, players=features(4)).values
    assert (values[:, 2] == 0).all()
    assert values[:, 0].abs().min() > 0


@torch.no_grad()
def test_a_linear_network_gives_each_part_its_own():
    model = nn.Sequential(nn.Linear(4, 5, bias=False), nn.Linear(5, 3, bias=False)).double()
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1)).double()
    values = contextual_decomposition(logit(model, 1), x, players=features(4)).values
    weight = (model[1].weight @ model[0].weight)[1]
    assert torch.allclose(values, x * weight, atol=1e-12)


@torch.no_grad()
def test_attention_and_norms_are_split_too():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True).double().eval()
    score = logit(lambda x: block(x)[:, 0], 1)
    x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1)).double()
    masks = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]]).bool()
    v = decomposition_game(score, x[0], tokens(5, width=4))(masks)
    assert v[2].abs() < 1e-12
    assert v.isfinite().all()
    assert (v[:2].abs() > 1e-6).all()


def test_the_reading_of_a_score_is_split_too():
    model = relu_network([4, 7, 3], seed=1)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1)).double()
    score = log_odds(model, 1)
    found = contextual_decomposition(score, x, players=whole((4,)))
    # Of all there is: the logit less logsumexp of the others, which of nothing is log 2.
    expected = score(x).detach() + torch.log(torch.tensor(2.0, dtype=torch.float64))
    assert torch.allclose(found.values[:, 0], expected, atol=1e-9)


def test_a_constant_is_shared_like_a_bias():
    score = logit(lambda x: (x + 3).sum(1, keepdim=True) * 2 - 1, 0)
    x = torch.tensor([[2.0, -1.0]]).double()
    found = contextual_decomposition(score, x, players=features(2))
    # x1: 2 (2 + 3) = 10, beside 2 (-1 + 3) = 4 of x2; of -1 they share 10 : 4.
    assert found.values[0].tolist() == pytest.approx([10 - 10 / 14, 4 - 4 / 14])


# Bad input


def test_refusals():
    x = torch.ones(2, 4).double()
    score = logit(relu_network([4, 7, 3], seed=1), 1)
    with pytest.raises(ValueError, match=r"shape \(3,\), but one input has shape \(4,\)\. Give"):
        contextual_decomposition(score, x, players=features(3))
    numpy = logit(lambda x: torch.from_numpy(x.detach().numpy().copy()), 1)
    with pytest.raises(ValueError, match=r"does not depend on x by any operation"):
        contextual_decomposition(numpy, x, players=features(4))
    with pytest.raises(ValueError, match=r"batch of 0 inputs"):
        contextual_decomposition(score, x, players=features(4), batch_size=0)


def test_an_error_within_the_model_leaves_no_trace():
    model = relu_network([4, 7, 3], seed=1)

    def broken(x):
        model(x)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        contextual_decomposition(logit(broken, 1), torch.ones(1, 4).double(), players=features(4))
    assert torch.equal(torch.ones(2) + 1, torch.full((2,), 2.0))
    assert all(p.requires_grad for p in model.parameters())


def test_a_real_network_of_all_its_pixels():
    shown = exhibit("digits")
    # Where nothing is left of input and rest a bias is shared half and half: no pixel is 0.
    x = torch.stack(shown.inputs[:2]) + 1e-3
    score = logit(shown.model, predicted(shown.model, x))
    found = contextual_decomposition(score, x, players=whole(x[0].shape))
    assert torch.allclose(found.values[:, 0], score(x).detach(), atol=1e-4)


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_real_networks(name):
    shown = exhibit(name)
    x = torch.stack(shown.inputs[:2])
    score = logit(shown.model, predicted(shown.model, x))
    found = contextual_decomposition(score, x, players=shown.players(0))
    assert found.values.isfinite().all()
    assert found.values.std(1).min() > 0


# The hierarchy


def sets(found):
    return [
        frozenset(name for name, there in zip(found.names, row, strict=True) if there)
        for row in found.members.tolist()
    ]


def planted(names=("1", "2", "3", "4")):
    i = {name: place for place, name in enumerate(names)}
    return Game(
        lambda s: (
            s[:, i["1"]] + 1.0 * s[:, i["2"]] + 5.0 * (s[:, i["3"]] & s[:, i["4"]])
        ).double(),
        tuple(names),
    )


def test_the_planted_interaction_is_joined_first():
    found = acd(planted(), steps=0)
    assert sets(found)[:4] == [{"1"}, {"2"}, {"3"}, {"4"}]
    assert sets(found)[4] == {"3", "4"}
    assert found.score[4] == 5
    assert sets(found)[-1] == {"1", "2", "3", "4"}
    assert found.score[-1] == 7
    assert found.step.tolist() == [0, 0, 0, 0, 1, 2, 3]


def test_what_is_large_by_itself_is_no_reason_to_be_joined():
    game = Game(lambda s: 10.0 * s[:, 0] + 8.0 * s[:, 1] + 5.0 * (s[:, 2] & s[:, 3]), tuple("abcd"))
    assert sets(acd(game, steps=0))[4] == {"c", "d"}
    turned = Game(lambda s: game.value(s.flip(1)), tuple("dcba"))
    assert sets(acd(turned, steps=0))[4] == {"c", "d"}


def test_another_order_of_players_gives_the_same_tree():
    pairs = torch.tensor([[0, 0, 0, 1, 1, 2], [1, 2, 3, 2, 3, 3]])
    one = acd(planted(), neighbours=pairs, steps=0)
    other = acd(planted(("4", "2", "1", "3")), neighbours=pairs, steps=0)
    assert sets(one)[4] == sets(other)[4] == {"3", "4"}
    assert one.score[4:].tolist() == other.score[4:].tolist()


@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("percentile", [0.0, 50.0, 90.0, 100.0])
def test_it_is_a_hierarchy(steps, percentile):
    weights = torch.randn(2**7, generator=torch.Generator().manual_seed(0)).double()
    places = 2 ** torch.arange(7)
    game = Game(lambda s: weights[(s * places).sum(1)], tuple("abcdefg"))
    found = acd(game, steps=steps, percentile=percentile)
    nodes = sets(found)
    assert len(set(nodes)) == len(nodes)
    assert nodes[:7] == [{name} for name in "abcdefg"]
    assert nodes[-1] == set("abcdefg")
    for one in nodes:
        for other in nodes:
            assert not one & other or one <= other or other <= one
        joined = sorted("abcdefg".index(name) for name in one)
        assert joined == list(range(joined[0], joined[-1] + 1))  # only neighbours are joined
    assert found.score.tolist() == pytest.approx(game(found.members).tolist())


def test_without_neighbours_there_is_a_forest():
    found = acd(planted(), neighbours=torch.tensor([[2], [3]]))
    assert {"1", "2", "3", "4"} not in sets(found)
    assert {"3", "4"} in sets(found)


def test_one_player_and_refusals():
    found = acd(Game(lambda s: 2.0 * s[:, 0], ("only",)))
    assert found.members.tolist() == [[True]]
    assert found.score.tolist() == [2]
    with pytest.raises(ValueError, match=r"percentile of 101\.0 does not exist\. Give"):
        acd(planted(), percentile=101.0)
    with pytest.raises(ValueError, match=r"-1 rounds"):
        acd(planted(), steps=-1)
    with pytest.raises(ValueError, match=r"run from 0 to 4, but there are 4 players\. Give"):
        acd(planted(), neighbours=torch.tensor([[0], [4]]))


def test_neighbours_of_patches_and_tokens():
    found = neighbouring(patches((3, 6, 6), (2, 3)))
    beside, below = [[0, 1], [1, 2], [3, 4], [4, 5]], [[0, 3], [1, 4], [2, 5]]
    assert sorted(found.T.tolist()) == sorted(beside + below)
    assert neighbouring(tokens(4, width=2)).T.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert neighbouring(features(1)).shape == (2, 0)


def test_the_hierarchy_of_a_real_digit():
    shown = exhibit("digits")
    x, players = shown.inputs[0] + 1e-3, shown.players(0)
    score = logit(shown.model, int(predicted(shown.model, x[None])))
    game = decomposition_game(score, x, players)
    found = acd(game, neighbours=neighbouring(players))
    assert found.members[-1].all()
    assert float(found.score[-1]) == pytest.approx(float(score(x[None]).detach()), rel=1e-4)
