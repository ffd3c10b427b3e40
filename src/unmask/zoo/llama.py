"""A decoder of the Llama type, small enough for a CPU."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from unmask.sharing.decoders.past import Past


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
        return self.read_states(self.norm(x))

    def states_after(
        self, tokens: Int[Tensor, "batch tokens"], past: Past
    ) -> Float[Tensor, "batch tokens width"]:
        """The last states of tokens that come after those whose keys and values are kept.

        Args:
            tokens: of each row, those that follow.
            past: what the layers kept.
        """
        x = self.tok_embeddings(tokens)
        for number, layer in enumerate(self.layers):
            x = layer(x, past, number)
        return self.norm(x)

    def read_states(
        self, states: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch tokens vocabulary"]:
        """The logits of the next token, position by position.

        Args:
            states: the last ones.
        """
        return functional.linear(states, self.tok_embeddings.weight)


class Layer(nn.Module):
    """Attention, then a gated feed-forward part, each added to what came in."""

    def __init__(self, width: int, hidden: int, heads: int, shared: int, context: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(width, eps=1e-5)
        self.attention = Attention(width, heads, shared, context)
        self.ffn_norm = nn.RMSNorm(width, eps=1e-5)
        self.feed_forward = FeedForward(width, hidden)

    def forward(
        self, x: Float[Tensor, "batch tokens width"], past: Past | None = None, number: int = 0
    ) -> Float[Tensor, "batch tokens width"]:
        seen = self.attention_norm(x)
        x = x + (self.attention(seen) if past is None else self.attention.after(seen, past, number))
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

    def after(
        self, x: Float[Tensor, "batch tokens width"], past: Past, number: int
    ) -> Float[Tensor, "batch tokens width"]:
        """The same for tokens that come after others.

        Args:
            x: the tokens.
            past: what the layers kept of the others.
            number: of this layer.
        """
        rows, new = x.shape[:2]
        start, each = past.start, self.heads // self.shared
        q = self._turned(self.wq(x).unflatten(-1, (self.heads, self.size)), start)
        k = self._turned(self.wk(x).unflatten(-1, (self.shared, self.size)), start)
        v = self.wv(x).unflatten(-1, (self.shared, self.size))
        k, v = past.grown(number, k.transpose(1, 2), v.transpose(1, 2))
        # All queries that share a head of keys make one product; few as they are, that is faster.
        q = q.unflatten(2, (self.shared, each)).permute(0, 2, 3, 1, 4).flatten(2, 3)
        apart = (q * self.size**-0.5) @ k.transpose(2, 3)
        if new > 1:
            later = torch.ones(new, start + new, dtype=torch.bool, device=x.device).triu(start + 1)
            apart.masked_fill_(later.repeat(each, 1), -torch.inf)
        seen = (apart.softmax(-1) @ v).unflatten(2, (each, new))
        return self.wo(seen.permute(0, 3, 1, 2, 4).reshape(rows, new, -1))

    def _turned(
        self, x: Float[Tensor, "batch tokens heads size"], start: int = 0
    ) -> Float[Tensor, "batch tokens heads size"]:
        cos, sin = self.turns[:, start : start + x.shape[1], None]
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
