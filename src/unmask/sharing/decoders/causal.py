"""Causal language models: each prefix of a text is read once, for all coalitions that have it.

In a decoder the states at a position depend on the tokens up to it alone. With the players in
order of position, i of them make 2^i prefixes, so that about 2^(n + 1) words are read instead of
n 2^n. Positions from which no score is read are spared the head, and those behind the last that is
read are not computed at all.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from unmask.players import Players
from unmask.score import Score
from unmask.sharing.decoders.decoder import Decoder, found
from unmask.sharing.decoders.past import Past, Spread
from unmask.sharing.decoders.tree import Levels, Tree, levels
from unmask.sharing.dependence import Hidden
from unmask.sharing.shared import CHECKED, Narrowed, Shared, Way
from unmask.sharing.stages import pays

_WEIGHT = 0.02
"""Estimated nanoseconds of a multiplication by a weight."""
_CALL, _LOADED = 1e6, 24
"""Nanoseconds that a call of the decoder takes, and how many tokens take as long as to fetch its
weights."""
_FINE = (torch.float32, torch.float64)
"""Numbers fine enough to tell what is wrong from what is rounded."""
_SAME = 128
"""How many times its precision a number may differ that nothing was changed of."""


@torch.inference_mode(False)
@torch.no_grad()
def causal(score: Score, x: Shaped[Tensor, "*input"], players: Players, rows: int) -> Way | None:
    """Share the prefixes of a text that a decoder reads, where that pays.

    Args:
        score: its model must call a decoder that goes on from what it has kept, on its whole
            input: one of the package transformers, or one that has the methods of `GoesOn`.
        x: one input: token ids, or embeddings of one row for each token.
        players: who owns which token.
        rows: inputs in one call of the model.
    """
    if not _is_text(x, players) or 2 ** len(players.names) <= CHECKED:
        return None
    try:
        seen = found(score.model, x)
        if seen is None:
            return None
        decoder, output = seen
        weights = _weights(decoder.module)
        plain = _cost(2 ** len(players.names), len(x), rows, weights)
        if not pays(0.0, plain, x):
            return None
        states = _in_two_halves(decoder, x)
        if states.dtype not in _FINE:
            return None
        read, narrowed = _reading(score, decoder, x, states, output, rows)
    except Exception:  # whatever it is, the plain way will meet it too, or it is ours alone
        return None
    if not read:
        return None
    cost = _tree_cost(levels(x, None, players, read[-1] + 1), rows, weights)
    if not pays(cost + _cost(CHECKED + 3, len(x), rows, weights), plain, x):
        return None
    planned = {"all, to plan": decoder.runs + 1, "the rest, to plan": 2 * len(x) + 3}

    def share(background: Shaped[Tensor, "*input"]) -> Shared:
        plan = levels(x, background, players, read[-1] + 1)
        tree = Tree(decoder, x, background, players, read, plan, rows)

        def rest(block: Int[Tensor, " rows"]) -> Tensor:
            assert tree.states is not None  # the tree was walked to here
            whole = len(block) == len(tree.tokens)
            tokens = tree.tokens if whole else tree.tokens[block]
            known = tree.states if whole else tree.states[block]
            version = known._version
            with decoder.answering(tokens, known, read):
                output = score.output(tokens.clone())  # a model may write on its input
            if known._version != version:
                raise ValueError(
                    "The model writes on the states of its decoder, which others go on from. "
                    "Let it write on a copy, or they cannot be shared."
                )
            return output if narrowed is None else narrowed.narrow(output)

        def blocks(_at_once: int) -> Iterator[Tensor]:
            yield from tree.walked()

        counts = planned | plan.rows() | {"the rest": 2 ** len(players.names)}
        planned.clear()  # of several backgrounds the first is told of it
        return Shared(blocks, rest, counts, tree.order, narrowed)

    return share


def _is_text(x: Shaped[Tensor, "*input"], players: Players) -> bool:
    """Whether an input can be tokens, each of one player or of none."""
    if x.ndim == 1:
        return not x.is_floating_point()
    if x.ndim != 2 or x.dtype not in _FINE:
        return False
    return bool((players.owner == players.owner[:, :1]).all())


def _weights(module: nn.Module) -> float:
    """Estimated nanoseconds that a decoder takes for a token: its weights, but not its tables."""
    tables = {id(one.weight) for one in module.modules() if isinstance(one, nn.Embedding)}
    return _WEIGHT * sum(
        p.numel() for p in module.parameters() if p.ndim >= 2 and id(p) not in tables
    )


def _cost(count: int, tokens: int, rows: int, weights: float) -> float:
    """Estimated nanoseconds of so many rows of so many tokens."""
    return count * tokens * weights + -(-count // rows) * (_CALL + _LOADED * weights)


def _tree_cost(plan: Levels, rows: int, weights: float) -> float:
    every = [level for level in range(len(plan.order) + 1) if plan.tokens(level)]
    return sum(_cost(2**level, plan.tokens(level), rows, weights) for level in every)


def _in_two_halves(
    decoder: Decoder, x: Shaped[Tensor, "tokens *width"]
) -> Float[Tensor, "1 tokens width"]:
    """The states of one input, as a decoder finds them that has to stop halfway and to go on."""
    past = Past(1, len(x))
    first = decoder.states(x[None, : len(x) // 2], past)
    past.start = len(x) // 2
    return torch.cat([first, decoder.states(x[None, past.start :], past)], 1)


def _reading(
    score: Score,
    decoder: Decoder,
    x: Shaped[Tensor, "tokens *width"],
    states: Float[Tensor, "1 tokens width"],
    output: Shaped[Tensor, "1 ..."],
    rows: int,
) -> tuple[tuple[int, ...], Narrowed | None]:
    """The positions whose states a score depends on, and whether only their logits are to be kept.

    There are none if with those states the model does not put out what it does by itself.
    One position after the other is spoilt, in two ways: by NaN, and by turning its sign, as a
    comparison does not feel NaN. Where something else is made of NaN, all positions are read.
    """
    length = len(x)
    everywhere = tuple(range(length))

    def run(known: Tensor) -> tuple[Tensor, Tensor]:
        tokens = x.expand(len(known), *x.shape)
        with decoder.answering(tokens, known, everywhere):
            output = score.output(tokens.clone())
        return output, score.of(output, output.new_zeros(len(known), dtype=torch.long))

    true, value = run(states)
    if true.dtype not in _FINE or not value.isfinite().all():
        return (), None
    # Numbers that a mask has put there, such as -1e9, tell nothing of how the others are rounded.
    own = true[run(-states)[0] != true].abs()
    largest = own.max() if own.numel() else own.new_zeros(())
    loose = _SAME * torch.finfo(true.dtype).eps * float(largest + value.abs().max())
    if true.shape != output.shape or not ((true - output).abs() <= loose).all():
        return (), None
    felt: list[Tensor] = []
    moved: list[Tensor] = []
    alone = true.ndim == 3 and true.shape[1] == length
    for part in torch.arange(length, device=states.device).split(rows):
        for spoil in (torch.nan, -1.0):
            known = states.expand(len(part), -1, -1).clone()
            known[torch.arange(len(part)), part] *= spoil
            output, values = run(known)
            felt.append(((values - value).abs() <= loose).logical_not())
            apart = ((output - true).abs() <= loose).logical_not()
            moved.append(apart.flatten(1).any(1))
            if alone and spoil != -1.0:
                hit = apart.flatten(2).any(2)
                alone = torch.equal(hit, part[:, None] == torch.arange(length, device=part.device))

    def asked(found: list[Tensor]) -> tuple[int, ...]:
        either = torch.cat(found[::2]) | torch.cat(found[1::2])
        known = states.masked_fill(either.logical_not()[:, None], torch.nan)
        with Hidden() as hidden:  # where other rows would feel what this one does not
            run(known)
        return everywhere if hidden.found else tuple(either.nonzero()[:, 0].tolist())

    if not alone:
        return asked(moved), None
    read = asked(felt)
    if not read or len(read) == length:
        return read, None
    spread = Spread()
    return read, Narrowed(
        lambda output: output[:, list(read)], lambda part: spread(part, read, length)
    )
