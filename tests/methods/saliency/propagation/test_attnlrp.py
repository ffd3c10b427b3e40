import pytest
import torch
from torch import nn
from torch.nn import functional

from exhibits import exhibit
from unmask import Score, log_odds, logit, predicted, token_log_odds
from unmask.internals import Embedded
from unmask.methods.saliency import attnlrp, cp_lrp, lrp

BOTH = pytest.mark.parametrize("method", [attnlrp, cp_lrp])


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


# Numbers worked out by hand


def test_a_softmax_is_expanded_around_its_input():
    # R_i = x_i (R_out_i - s_i sum_j R_out_j) at x = (1, 2, -1), R_out = (0.3, 0.5, 0.2)
    x = torch.tensor([[[1.0], [2.0], [-1.0]]]).double()
    weight = torch.tensor([0.3, 0.5, 0.2]).double() / x[0, :, 0].softmax(0)
    score = logit(lambda x: (x.softmax(1)[:, :, 0] * weight).sum(1), 0)
    expected = [0.040504, -0.410769, -0.164881]
    assert attnlrp(score, x).values[0, :, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_two_matrices_get_half_each():
    x = normal(2, 3, 4)
    score = logit(lambda x: (x @ x.transpose(1, 2)).sum((1, 2)), 0)
    # Half of the score to the left factor and half to the right one, row by row.
    left = (x @ x.transpose(1, 2)).sum(2)
    found = attnlrp(score, x).values.sum(2)
    assert torch.allclose(found, left, atol=1e-12)


class Block(nn.Module):
    """One layer of attention with one head, residual and norm, all without biases."""

    def __init__(self, width=4, norm=True):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
            self.read = nn.Linear(width, 1, bias=False)
        self.norm = nn.LayerNorm(width, elementwise_affine=False) if norm else nn.Identity()
        self.double().eval()

    def forward(self, x):
        y = self.norm(x)
        a = (self.q(y) @ self.k(y).transpose(1, 2) / 2).softmax(-1)
        return self.read((x + self.o(a @ self.v(y))).sum(1))


class Fused(Block):
    """The same, with torch's own attention."""

    def forward(self, x):
        y = self.norm(x)
        seen = functional.scaled_dot_product_attention(self.q(y), self.k(y), self.v(y))
        return self.read((x + self.o(seen)).sum(1))


def test_constant_attention_conserves_and_a_softmax_keeps_something():
    model, x = Block(), normal(2, 5, 4)
    score = logit(model, 0)
    assert cp_lrp(score, x, rules=exactly()).gap.abs().max() < 1e-9
    assert attnlrp(score, x, rules=exactly()).gap.abs().min() > 1e-4


def exactly():
    from unmask.methods.saliency.propagation.rules import Rules, zero

    return Rules(zero(), zero())


def test_fused_attention_is_the_same_as_written_out():
    x = normal(2, 5, 4)
    for method in (attnlrp, cp_lrp):
        one = method(logit(Block(), 0), x, rules=exactly()).values
        other = method(logit(Fused(), 0), x, rules=exactly()).values
        assert torch.allclose(one, other, atol=1e-10)


@torch.no_grad()
def slow_block(model, x, constant):
    """Every rule as the papers write it, on relevance and never on gradients."""
    q, k, v = x @ model.q.weight.T, x @ model.k.weight.T, x @ model.v.weight.T
    logits = q @ k.T / 2
    a = logits.softmax(-1)
    seen = a @ v
    out = seen @ model.o.weight.T
    w = model.read.weight[0]

    def through(inputs, weight, relevance):
        """The rule zero of a linear layer: what each input contributes."""
        z = inputs @ weight.T
        parts = inputs[:, None, :] * weight[None]  # [tokens, out, in]
        return (parts * (relevance / z)[:, :, None]).sum(1)

    r_x = x * w  # the residual sum shares by contribution
    r_seen = through(seen, model.o.weight, out * w)
    tokens = len(x)
    r_a, r_v = torch.zeros_like(a), torch.zeros_like(v)
    share = 1.0 if constant else 0.5
    for i in range(tokens):
        for c in range(x.shape[1]):
            for j in range(tokens):
                part = a[i, j] * v[j, c] / seen[i, c] * r_seen[i, c]
                r_v[j, c] += share * part
                r_a[i, j] += (1 - share) * part
    r_x = r_x + through(x, model.v.weight, r_v)
    if constant:
        return r_x
    r_logits = logits * (r_a - a * r_a.sum(1, keepdim=True))
    r_q, r_k = torch.zeros_like(q), torch.zeros_like(k)
    for i in range(tokens):
        for j in range(tokens):
            for c in range(x.shape[1]):
                part = q[i, c] * k[j, c] / 2 / logits[i, j] * r_logits[i, j]
                r_q[i, c] += part / 2
                r_k[j, c] += part / 2
    return r_x + through(x, model.q.weight, r_q) + through(x, model.k.weight, r_k)


@BOTH
def test_the_slow_twin_agrees(method):
    model, x = Block(norm=False), normal(2, 5, 4)
    found = method(logit(model, 0), x, rules=exactly()).values
    for row, values in zip(x, found, strict=True):
        expected = slow_block(model, row, constant=method is cp_lrp)
        assert torch.allclose(values, expected, atol=1e-10)


def test_a_norm_divides_by_a_constant():
    # Of x / sd(x): x, over what it was divided by.
    x = normal(1, 3, 4)
    norm = nn.RMSNorm(4, elementwise_affine=False).double()
    weight = normal(4, seed=1)
    found = attnlrp(logit(lambda x: (norm(x) * weight).sum((1, 2)), 0), x)
    assert torch.allclose(found.values, norm(x) * weight, atol=1e-12)
    assert found.gap.abs().max() < 1e-12


def test_a_gate_takes_half_or_nothing():
    x = normal(2, 1, 4)
    gate, up = normal(4, 4, seed=1), normal(4, 4, seed=2)
    score = logit(lambda x: (functional.silu(x @ gate) * (x @ up)).sum((1, 2)), 0)
    activated = functional.silu(x @ gate)

    def to_input(weight, relevance):
        """The rule zero: a contributes a w / z."""
        return (x[..., None] * weight * (relevance / (x @ weight))[:, :, None]).sum(3)

    made = activated * (x @ up)
    found = attnlrp(score, x, rules=exactly()).values
    assert torch.allclose(found, to_input(gate, made / 2) + to_input(up, made / 2), atol=1e-10)
    found = cp_lrp(score, x, rules=exactly()).values
    assert torch.allclose(found, to_input(up, made), atol=1e-10)


def test_without_attention_it_is_lrp():
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 1)).double()
    score, x = logit(lambda x: model(x).mean(1), 0), normal(2, 5, 4)
    expected = lrp(score, x).values
    assert torch.allclose(attnlrp(score, x).values, expected)
    assert torch.allclose(cp_lrp(score, x).values, expected)


# Encoders and decoders of others, as they are


def encoder():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True, norm_first=True)
        return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).double().eval()


@BOTH
def test_torchs_own_encoder(method):
    model = encoder()
    score = logit(lambda x: model(x)[:, 0], 2)
    x = normal(3, 5, 8)
    found = method(score, x)
    assert found.values.shape == x.shape
    alone = method(score, x[1:2])
    assert torch.allclose(alone.values[0], found.values[1], atol=1e-10)
    for name, parameter in model.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
    if method is cp_lrp:
        assert method(score, x, rules=exactly()).gap.abs().max() < 1e-8


def transformers(kind, attention):
    package = pytest.importorskip("transformers")
    options = {"attn_implementation": attention, "hidden_size": 16, "num_hidden_layers": 2,
               "num_attention_heads": 4, "intermediate_size": 32, "vocab_size": 50}  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "bert":
            model = package.BertForSequenceClassification(package.BertConfig(**options))
            layer = "bert.embeddings.word_embeddings"
        elif kind == "llama":
            options |= {"num_key_value_heads": 2, "use_cache": False}
            model = package.LlamaForCausalLM(package.LlamaConfig(**options))
            layer = "model.embed_tokens"
        else:
            options = {"n_embd": 16, "n_layer": 2, "n_head": 4, "vocab_size": 50,
                       "use_cache": False, "attn_implementation": attention}  # fmt: skip
            model = package.GPT2LMHeadModel(package.GPT2Config(**options))
            layer = "transformer.wte"
    return model.double().eval(), layer


class Logits(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        return self.model(ids).logits


@BOTH
@pytest.mark.parametrize("kind", ["bert", "llama", "gpt2"])
def test_classes_of_transformers(method, kind):
    ids = torch.tensor([3, 1, 4, 1, 5, 9])
    found = []
    for attention in ("eager", "sdpa"):
        model, layer = transformers(kind, attention)
        embedded = Embedded(Logits(model), ids, f"model.{layer}")
        x = embedded.embeddings()
        score = logit(embedded, 1) if kind == "bert" else token_log_odds(embedded, 7)
        result = method(score, x, rules=exactly())
        assert torch.allclose(score(x), score_of_ids(score, model, ids))
        assert result.values.abs().sum((0, 2)).min() > 0
        found.append(result.values)
    # Whichever way attention is called; when written out, its softmax is taken in float32.
    assert torch.allclose(*found, atol=1e-6)


def score_of_ids(score: Score, model, ids):
    return score.of(model(ids[None]).logits)


@BOTH
def test_a_causal_model_never_looks_ahead(method):
    model, layer = transformers("llama", "sdpa")
    embedded = Embedded(Logits(model), torch.tensor([3, 1, 4, 1, 5]), f"model.{layer}")
    x = embedded.embeddings()
    values = method(token_log_odds(embedded, 7, position=2), x).values
    assert (values[0, 3:] == 0).all()
    assert values[0, :3].abs().sum(1).min() > 0


@pytest.mark.slow
def test_real_transformers():
    shown = exhibit("sst2")
    ids = shown.inputs[0]
    embedded = Embedded(shown.model, ids, "embedding")
    x = embedded.embeddings()
    score = log_odds(embedded, int(predicted(embedded, x)))
    for method in (attnlrp, cp_lrp):
        found = method(score, x)
        assert found.values.isfinite().all()
        assert found.values.sum(2).abs().max() > 0
    shown = exhibit("stories")
    ids = shown.inputs[0]
    embedded = Embedded(shown.model, ids, "tok_embeddings")
    x = embedded.embeddings()
    score = token_log_odds(embedded, int(predicted(embedded, x)))
    conserved = cp_lrp(score, x)
    # A decoder without biases: relevance is lost only by what the score reads, log-odds.
    one = logit(lambda x: embedded(x)[:, -1], int(predicted(embedded, x)))
    assert cp_lrp(one, x).gap.abs() < 1e-3 * one(x).abs()
    assert conserved.values.shape == x.shape


def test_refusals():
    score = logit(Block(), 0)
    with pytest.raises((TypeError, ValueError), match=r"Embedded|parameter 'x'"):
        attnlrp(score, torch.ones(1, 5, 4).long())
    with pytest.raises(ValueError, match=r"batch of 0 inputs"):
        cp_lrp(score, normal(1, 5, 4), batch_size=0)
