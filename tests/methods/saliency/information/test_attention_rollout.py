import os

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import _get_current_function_mode_stack

from unmask import zoo
from unmask.methods.saliency import attention_rollout


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().double().eval()


def slow_rollout(layers, query, residual=0.5):
    """The product of matrices [layer][head][i][j] of one input, number by number."""
    tokens = len(layers[0][0])
    rolled = [[float(i == j) for j in range(tokens)] for i in range(tokens)]
    for heads in layers:
        own = [
            [
                residual * (i == j)
                + (1 - residual) * sum(float(head[i][j]) for head in heads) / len(heads)
                for j in range(tokens)
            ]
            for i in range(tokens)
        ]
        rolled = [
            [sum(own[i][k] * rolled[k][j] for k in range(tokens)) for j in range(tokens)]
            for i in range(tokens)
        ]
    if query is None:
        return [sum(row[j] for row in rolled) / tokens for j in range(tokens)]
    return rolled[query]


class Layers(nn.Module):
    """Self-attention written out, whose weights are kept; every way of calling softmax."""

    def __init__(self, way):
        super().__init__()
        self.ask = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.way = way

    def forward(self, x):
        self.seen = []
        for ask in self.ask:
            heads = ask(x).unflatten(-1, (2, 3)).transpose(1, 2)
            weights = self.way(heads @ heads.transpose(-2, -1))
            self.seen.append(weights.detach())
            x = x + (weights @ heads).transpose(1, 2).flatten(2)
        return x


WAYS = {
    "functional": lambda told: functional.softmax(told, dim=-1),
    "torch": lambda told: torch.softmax(told, -1),
    "method": lambda told: told.softmax(-1),
    "module": nn.Softmax(dim=3),
    "not over the last axis": lambda told: told.transpose(-2, -1).softmax(-2).transpose(-2, -1),
}


@pytest.mark.parametrize("query", [None, 0, -1])
@pytest.mark.parametrize("way", ["functional", "torch", "method", "module"])
def test_attention_written_out(way, query):
    model, x = seeded(lambda: Layers(WAYS[way])), normal(2, 4, 6)
    found = attention_rollout(model, x, query=query, residual=0.3).values
    model(x)
    for i in range(2):
        expected = slow_rollout([layer[i].tolist() for layer in model.seen], query, 0.3)
        assert found[i].tolist() == pytest.approx(expected, rel=1e-9)


def test_one_layer_by_hand():
    """Alike keys: attention is uniform, and half of a token stays where it is."""

    def model(x):
        return functional.scaled_dot_product_attention(0 * x, x, x)

    found = attention_rollout(model, torch.ones(1, 4, 2), query=1)
    assert found.values.tolist() == [[0.125, 0.625, 0.125, 0.125]]
    assert found.evaluations == 1
    both = attention_rollout(lambda x: model(model(x)), torch.ones(1, 2, 3), query=0)
    assert both.values.tolist() == [[0.625, 0.375]]  # (3/4)^2 + (1/4)^2


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 2.0}, {"attn_mask": "bool"},
                                     {"attn_mask": "real"}])  # fmt: skip
def test_the_weights_that_torch_does_not_return(options):
    """With one-hot values the output of attention is its weights."""
    given = dict(options)
    if "attn_mask" in given:
        mask = normal(5, 5) > 0
        mask |= torch.eye(5).bool()
        given["attn_mask"] = mask if given["attn_mask"] == "bool" else normal(5, 5, seed=1)
    outputs = []

    def model(x):
        values = torch.eye(5).double().expand(len(x), 2, 5, 5)
        q = x.unflatten(-1, (2, 3)).transpose(1, 2)
        outputs.append(functional.scaled_dot_product_attention(q, q + 1, values, **given))

    found = attention_rollout(model, normal(3, 5, 6), residual=0.0, query=2).values
    assert torch.allclose(found, outputs[0].mean(1)[:, 2], atol=1e-12)


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("averaged", [False, True])
def test_torchs_own_module_returns_what_it_was_asked_for(wanted, averaged):
    module = seeded(lambda: nn.MultiheadAttention(6, 2, batch_first=True))
    x, returned = normal(2, 4, 6), []

    def model(x):
        returned.append(module(x, x, x, need_weights=wanted, average_attn_weights=averaged))

    found = attention_rollout(model, x, query=0, residual=0.5).values
    output, weights = module(x, x, x, need_weights=True, average_attn_weights=False)
    expected = [slow_rollout([weights[i].tolist()], 0) for i in range(2)]
    assert torch.allclose(found, torch.tensor(expected).double(), atol=1e-6)
    assert torch.allclose(returned[0][0], output)
    if not wanted:
        assert returned[0][1] is None
    else:
        assert torch.allclose(returned[0][1], weights.mean(1) if averaged else weights)


def test_an_encoder_with_padding():
    """The fast path of torch, which would hide the weights, is not taken; padding gets nothing."""
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    encoder = seeded(lambda: nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    x = normal(2, 5, 6)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    found = attention_rollout(lambda x: encoder(x, src_key_padding_mask=padding), x, query=0).values
    assert found[1, 3:].tolist() == [0, 0]
    assert found.sum(1).tolist() == pytest.approx([1, 1])
    states, layers = x[1:, :3], []
    for one in encoder.layers:
        weights = one.self_attn(states, states, states, average_attn_weights=False)[1]
        layers.append(weights[0].tolist())
        states = one(states)
    assert found[1, :3].tolist() == pytest.approx(slow_rollout(layers, 0), abs=1e-6)


def test_batches_and_half_precision():
    model, x = seeded(lambda: Layers(WAYS["torch"])), normal(5, 4, 6)
    whole = attention_rollout(model, x).values
    assert torch.allclose(attention_rollout(model, x, batch_size=2).values, whole, atol=1e-12)
    half = attention_rollout(model.bfloat16(), x.bfloat16()).values
    assert torch.allclose(half.double(), whole, atol=0.02)  # bfloat16 has three digits


def test_a_row_that_sees_nothing_keeps_itself():
    def model(x):
        nowhere = torch.zeros(3, 3).bool()
        functional.scaled_dot_product_attention(x, x, x, attn_mask=nowhere)

    assert attention_rollout(model, normal(1, 3, 2), query=1).values.tolist() == [[0, 1, 0]]


# Real networks


@pytest.mark.oracle
@pytest.mark.parametrize("way", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["Bert", "GPT2", "Llama", "ViT"])
def test_transformers_agrees(kind, way):
    """With the attention that transformers returns when asked, multiplied number by number."""
    transformers = pytest.importorskip("transformers")
    sizes = {
        "Bert": {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 3,
                 "num_attention_heads": 2, "intermediate_size": 20},
        "GPT2": {"vocab_size": 30, "n_embd": 16, "n_layer": 3, "n_head": 2},
        "Llama": {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 3,
                  "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 20},
        "ViT": {"image_size": 8, "patch_size": 4, "hidden_size": 16, "num_hidden_layers": 3,
                "num_attention_heads": 2, "intermediate_size": 20},
    }[kind]  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(**sizes, attn_implementation=way)
    model = seeded(lambda: getattr(transformers, f"{kind}Model")(config))
    ids = torch.randint(30, (2, 6), generator=torch.Generator().manual_seed(0))
    x = normal(2, 3, 8, 8) if kind == "ViT" else ids
    found = attention_rollout(model, x, query=-1).values
    model.set_attn_implementation("eager")
    with torch.no_grad():
        told = model(x, output_attentions=True).attentions
    for i in range(2):
        expected = slow_rollout([layer[i].tolist() for layer in told], -1)
        assert found[i].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.fixture
def real_data():
    if not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")


@pytest.mark.usefixtures("real_data")
def test_a_teller_of_stories_looks_back_only():
    exhibit = zoo.stories()
    ids = exhibit.inputs[0][None]
    first = attention_rollout(exhibit.model, ids, query=0).values[0]
    last = attention_rollout(exhibit.model, ids, query=-1).values[0]
    assert first[0] == 1
    assert first[1:].abs().sum() == 0
    assert (last > 0).all()
    assert float(last.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("real_data")
def test_padding_of_a_reader_of_reviews_gets_nothing():
    exhibit = zoo.sst2()
    short = exhibit.inputs[0]
    padded = torch.cat([short, torch.zeros(3).long()])[None]
    alone = attention_rollout(exhibit.model, short[None], query=0).values[0]
    found = attention_rollout(exhibit.model, padded, query=0).values[0]
    assert torch.allclose(found[: len(short)], alone, atol=1e-6)
    assert found[len(short) :].abs().sum() == 0


# What is refused


@pytest.mark.parametrize(
    ("model", "change", "words"),
    [
        (nn.Linear(6, 2).double(), {}, "called no attention"),
        (lambda x: WAYS["not over the last axis"](x @ x.mT), {}, "called no attention"),
        (None, {"x": normal(0, 4, 6)}, "batch is empty"),
        (None, {"x": normal(4, 6) / 0}, "finite"),
        (None, {"query": 4}, "Position 4 is out of range.*4 tokens"),
        (None, {"residual": 1.0}, "leaves no attention"),
        (None, {"batch_size": 0}, "batch of 0"),
        (
            lambda x: functional.scaled_dot_product_attention(x, x[:, :2], x[:, :2]),
            {},
            r"shape \(2, 4, 2\) does not lead",
        ),
        (
            lambda x: [(y @ y.mT).softmax(-1) for y in (x, x[:, :2])],
            {},
            "4 tokens and then to 2",
        ),
    ],
)
def test_what_has_no_rollout_is_refused(model, change, words):
    given = {"x": normal(2, 4, 6)} | change
    with pytest.raises(ValueError, match=words):
        attention_rollout(model or seeded(lambda: Layers(WAYS["torch"])), given.pop("x"), **given)


def test_an_exception_leaves_no_mode():
    def model(x):
        x.softmax(-1)
        raise RuntimeError("out of paper")

    with pytest.raises(RuntimeError, match="out of paper"):
        attention_rollout(model, normal(1, 2, 2))
    assert not _get_current_function_mode_stack()
