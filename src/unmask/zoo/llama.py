"""A decoder of the Llama type, small enough for a CPU."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional


class Llama(nn.Module):
    """A language model: token ids in, logits of the next token at every position out.

    Rotary positions turn neighbouring pairs of channels; several query heads share one head of
    keys and values; the output is tied to the embedding of the tokens.

    Args:
        width: channels of a token.
        hidden: units of the feed-forward part.
        depth: layers.
        heads: of queries.
        shared: heads of keys and values.
        vocabulary: tokens.
        context: the most tokens at once.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        hidden: int = 172,
        depth: int = 5,
        heads: int = 8,
        shared: int = 4,
        vocabulary: int = 512,
        context: int = 512,
    ) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(
            Layer(width, hidden, heads, shared, context) for _ in range(depth)
        )
        self.norm = nn.RMSNorm(width, eps=1e-5)

    def forward(self, ids: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens vocabulary"]:
        x = self.tok_embeddings(ids)
        for layer in self.layers:
            x = layer(x)
        return functional.linear(self.norm(x), self.tok_embeddings.weight)


class Layer(nn.Module):
    """Attention, then a gated feed-forward part, each added to what came in."""

    def __init__(self, width: int, hidden: int, heads: int, shared: int, context: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(width, eps=1e-5)
        self.attention = Attention(width, heads, shared, context)
        self.ffn_norm = nn.RMSNorm(width, eps=1e-5)
        self.feed_forward = FeedForward(width, hidden)

    def forward(
        self, x: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch tokens width"]:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.ffn_norm(x))


class Attention(nn.Module):
    """Each token looks at itself and at those before it."""

    turns: Tensor

    def __init__(self, width: int, heads: int, shared: int, context: int) -> None:
        super().__init__()
        self.heads, self.shared, self.size = heads, shared, width // heads
        self.wq = nn.Linear(width, heads * self.size, bias=False)
        self.wk = nn.Linear(width, shared * self.size, bias=False)
        self.wv = nn.Linear(width, shared * self.size, bias=False)
        self.wo = nn.Linear(heads * self.size, width, bias=False)
        speed = 10_000 ** (-torch.arange(0, self.size, 2) / self.size)
        angle = torch.arange(context)[:, None] * speed
        self.register_buffer("turns", torch.stack([angle.cos(), angle.sin()]), persistent=False)

    def forward(
        self, x: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch tokens width"]:
        q = self._turned(self.wq(x).unflatten(-1, (self.heads, self.size)))
        k = self._turned(self.wk(x).unflatten(-1, (self.shared, self.size)))
        v = self.wv(x).unflatten(-1, (self.shared, self.size))
        k, v = (part.repeat_interleave(self.heads // self.shared, dim=2) for part in (k, v))
        seen = functional.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True
        )
        return self.wo(seen.transpose(1, 2).flatten(2))

    def _turned(
        self, x: Float[Tensor, "batch tokens heads size"]
    ) -> Float[Tensor, "batch tokens heads size"]:
        cos, sin = self.turns[:, : x.shape[1], None]
        even, odd = x[..., ::2], x[..., 1::2]
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


class FeedForward(nn.Module):
    """A gated feed-forward part (SwiGLU)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(width, hidden, bias=False)
        self.w2 = nn.Linear(hidden, width, bias=False)
        self.w3 = nn.Linear(width, hidden, bias=False)

    def forward(
        self, x: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch tokens width"]:
        return self.w2(functional.silu(self.w1(x)) * self.w3(x))


@torch.inference_mode()
def continued(model: Llama, ids: Int[Tensor, " tokens"], more: int) -> Int[Tensor, " longer"]:
    """The prompt and the tokens that the model finds likeliest, one after another.

    Args:
        model: the language model.
        ids: the prompt.
        more: how many tokens to add.
    """
    for _ in range(more):
        ids = torch.cat([ids, model(ids[None])[0, -1].argmax()[None]])
    return ids
