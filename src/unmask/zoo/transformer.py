"""A small transformer that classifies texts."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

PADDING = 0
"""The id that fills a batch up to its longest text. No token looks at it."""


class TransformerClassifier(nn.Module):
    """Token ids in, logits of classes out: self-attention over learned embeddings, then a mean.

    Args:
        vocabulary: tokens, with that of the padding.
        classes: outputs.
        width: channels of a token.
        depth: layers.
        heads: of attention.
        context: the most tokens at once.
    """

    def __init__(
        self,
        vocabulary: int,
        classes: int,
        *,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        context: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.zeros(context, width))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, ids: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch classes"]:
        there = ids != PADDING
        x = self.dropout(self.embedding(ids) + self.position[: ids.shape[1]])
        for layer in self.layers:
            x = layer(x, there)
        weight = there[..., None].to(x)
        mean = (self.norm(x) * weight).sum(1) / weight.sum(1).clamp(min=1)
        return self.classifier(mean)


class Layer(nn.Module):
    """Attention, then a feed-forward part, each added to what came in."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.attend = nn.Linear(width, 3 * width)
        self.gather = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.forward1 = nn.Linear(width, 4 * width)
        self.forward2 = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch tokens width"], there: Bool[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch tokens width"]:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.attend(self.norm1(x)).chunk(3, dim=-1)
        )
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=there[:, None, None])
        x = x + self.dropout(self.gather(seen.transpose(1, 2).flatten(2)))
        hidden = functional.gelu(self.forward1(self.norm2(x)))
        return x + self.dropout(self.forward2(hidden))
