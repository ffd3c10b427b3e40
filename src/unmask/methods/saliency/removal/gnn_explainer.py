"""GNNExplainer: the edges and features of a graph that a prediction rests on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.internals import frozen
from unmask.results import Attribution
from unmask.score import Score, Target, loss

GraphModel = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Features of nodes, edges and a weight per edge -> a row of logits per node."""

_TINY = 1e-15
_AT_ONCE = 2**18
"""Nodes and edges in one call of the model."""


@dataclass(frozen=True)
class Prices:
    """What masks cost beside the prediction.

    Args:
        edge_size: of every unit of the edges' mask.
        edge_doubt: of the mean entropy of the edges' mask.
        feature_size: of the mean of the features' mask.
        feature_doubt: of the mean entropy of the features' mask.
    """

    edge_size: float = 0.005
    edge_doubt: float = 1.0
    feature_size: float = 1.0
    feature_doubt: float = 0.1


@method("ying2019gnnexplainer")
def gnn_explainer(
    model: GraphModel,
    x: Float[Tensor, "nodes width"],
    *,
    edges: Int[Tensor, "2 edges"],
    nodes: Sequence[int] | Int[Tensor, " explained"] | None = None,
    target: Target | None = None,
    hops: int | None = None,
    features: bool = True,
    steps: int = 100,
    rate: float = 0.1,
    prices: Prices = Prices(),
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
) -> Attribution:
    r"""Learn which edges, and which features, a network of a graph needs for its prediction.

    $$
    \min_{M, F} \; -\log p_y\bigl( \sigma(M) \odot A, \; X \odot \sigma(F) \bigr)
        + c_1 \sum_e \sigma(M_e) + c_2 \overline{H(\sigma(M))}
        + c_3 \overline{\sigma(F)} + c_4 \overline{H(\sigma(F))}
    $$

    A weight between 0 and 1 is learned for every edge and one for every feature, the same for all
    nodes, by Adam. Each explained node has a row of values: first sigma(M), an edge each, then
    sigma(F). An edge or feature without any influence on the node, where the gradient of the first
    step is exactly zero, is left out from then on and has the value 0. So a node without
    neighbours has none but its features.

    Large values say: with little more than this, the node is still predicted as y. They are no
    shares of the prediction, and edges that can stand in for each other share a value by chance.
    An edge is learned in one direction; the other is an edge of its own.

    The price of an edge decides how many are kept, and no one price suits all graphs. In a graph
    with 80 planted houses, and for a network that names their parts, 0.05 told edges of a house
    from others with an area under the curve of 0.97, and 0.005 with one of 0.66; for a whole cloud
    of points with 128 edges, 0.005 kept what is enough and 0.05 nothing at all. Rate and prices are
    the authors', whose Laplacian is left out; torch_geometric takes a rate of 0.01.

    The model is called as `model(features, edges, weights)`. Layers that take weights of edges need
    no more. Of another package's layers, close over what it offers for masks, such as
    `torch_geometric.explain.algorithm.utils.set_masks`, with the weights as they are. For the
    prediction of a whole graph, close over a model that repeats the one row of logits for every
    node, explain one node, and leave `batch_size` at 1 for more than one.

    Args:
        model: a module, or a function, of features, edges and a weight per edge that gives a row
            of logits per node; nodes that no path joins must not mix in it.
        x: the features of the nodes.
        edges: sources and targets, by the number of the node.
        nodes: which nodes to explain; all, if left out.
        target: y, a class for all of them or one for each; if left out, what the model predicts.
        hops: keeps to the nodes from which so many edges lead to the explained one, which is
            faster. It takes one per layer, and one more where a layer counts the neighbours of
            neighbours. Refused if that changes the prediction.
        features: whether to learn a mask of the features too.
        steps: of Adam.
        rate: of Adam.
        prices: c, what masks cost.
        batch_size: explained nodes in one call of the model, each with a graph of its own.
        generator: source of the masks' start, which is the same for all nodes.

    >>> def total(features, edges, weights):  # a node is of class 1 if its neighbours sum up to 2
    ...     parts = weights[:, None] * features[edges[0]]
    ...     sums = torch.zeros_like(features).index_add(0, edges[1], parts)
    ...     return torch.cat([torch.ones_like(sums), sums - 1], 1)
    >>> edges = torch.tensor([[1, 2, 3], [0, 0, 0]])
    >>> x = torch.tensor([[0.0], [3.0], [0.0], [0.0]])
    >>> found = gnn_explainer(total, x, edges=edges, nodes=[0], features=False)
    >>> found.names, found.values.round(decimals=1)
    (('1 -> 0', '2 -> 0', '3 -> 0'), tensor([[1., 0., 0.]]))
    """
    _check(x, edges, hops, steps, rate, batch_size)
    admission.settled(model)
    explained = torch.arange(len(x)) if nodes is None else torch.as_tensor(nodes)
    _check_nodes(explained, len(x))
    x, edges, explained = x.detach(), edges.to(x.device).long(), explained.long().to(x.device)
    generator = admission.drawing(generator)
    at = generator.device
    wide = torch.promote_types(x.dtype, torch.float32)
    start = torch.zeros(0, device=x.device, dtype=wide)
    if features:
        start = 0.1 * torch.randn(1, x.shape[1], generator=generator, device=at)[0].to(start)
    spread = sqrt(2) * sqrt(2 / (2 * len(x)))
    of_edges = spread * torch.randn(edges.shape[1], generator=generator, device=at).to(start)

    with torch.inference_mode(False), torch.enable_grad(), frozen(model):
        with torch.no_grad():
            whole = model(x.clone(), edges, x.new_ones(edges.shape[1]))  # it may work in place
        _check_output(whole, x)
        score = _cross_entropy(model, target, whole[explained])
        size = batch_size or max(1, _AT_ONCE // (len(x) + edges.shape[1]))
        values = []
        for some in torch.arange(len(explained), device=x.device).split(size):
            copies = _Copies(x, edges, explained[some], hops)
            if hops is not None:
                copies.check(model, whole)
            values.append(
                _learned(model, score, some, copies, of_edges, start, prices, steps, rate)
            )
    names = [f"{source} -> {target}" for source, target in edges.T.tolist()]
    names += [f"feature {i + 1}" for i in range(len(start))]
    evaluations = 1 + len(explained) * (steps + (hops is not None))
    return Attribution(torch.cat(values).to(x.dtype), names=tuple(names), evaluations=evaluations)


class _Copies:
    """A graph for each explained node, side by side as one graph, so that one call serves all."""

    def __init__(
        self, x: Tensor, edges: Tensor, explained: Int[Tensor, " explained"], hops: int | None
    ) -> None:
        source, target = edges
        reached = _reached(len(x), edges, explained, hops)
        self.count, self.explained = len(explained), explained
        self.copy, node = reached.nonzero().unbind(1)
        place = torch.zeros(reached.shape, dtype=torch.long, device=x.device)
        place[self.copy, node] = torch.arange(len(node), device=x.device)
        kept = reached[:, source] & reached[:, target]
        self.edge_copy, self.edge = kept.nonzero().unbind(1)
        self.edges = torch.stack(
            [place[self.edge_copy, source[self.edge]], place[self.edge_copy, target[self.edge]]]
        )
        self.x = x[node]
        self.centre = place[torch.arange(self.count, device=x.device), explained]

    def check(self, model: GraphModel, whole: Tensor) -> None:
        """Refuse a part of the graph on which the model answers otherwise than on the whole."""
        with torch.no_grad():
            found = model(self.x.clone(), self.edges, self.x.new_ones(len(self.edge)))[self.centre]
        wanted = whole[self.explained]
        scale = max(1.0, float(wanted.abs().max()))
        off = (found - wanted).abs().flatten(1).amax(1)
        if float(off.max()) > 100 * torch.finfo(found.dtype).eps * scale:
            node = int(self.explained[off.argmax()])
            raise ValueError(
                f"On the part of the graph within these hops the logits of node {node} differ by "
                f"{float(off.max()):.2g} from those on the whole. Give more hops, one per layer "
                "and one more for the neighbours of neighbours, or none for the whole graph."
            )


def _reached(
    count: int,
    edges: Int[Tensor, "2 edges"],
    explained: Int[Tensor, " explained"],
    hops: int | None,
) -> Bool[Tensor, "explained nodes"]:
    """From which nodes at most so many edges lead to each explained one."""
    if hops is None:
        return torch.ones(len(explained), count, dtype=torch.bool, device=edges.device)
    reached = torch.zeros(len(explained), count, dtype=torch.int32, device=edges.device)
    reached[torch.arange(len(explained), device=edges.device), explained] = 1
    for _ in range(hops):
        reached = reached.index_add(1, edges[0], reached[:, edges[1]]).clamp(max=1)
    return reached.bool()


def _learned(
    model: GraphModel,
    score: Score,
    some: Int[Tensor, " explained"],
    copies: _Copies,
    of_edges: Float[Tensor, " edges"],
    of_features: Float[Tensor, " masked"],
    prices: Prices,
    steps: int,
    rate: float,
) -> Float[Tensor, "explained values"]:
    """The masks of some explained nodes: a row of all edges of the graph, then of the features."""
    edge_logits = of_edges[copies.edge].clone().requires_grad_()
    feature_logits = of_features.repeat(copies.count, 1).requires_grad_()
    masks = [edge_logits, feature_logits]
    optimiser = torch.optim.Adam(masks, lr=rate)
    matter: list[Tensor] = []
    for _ in range(steps):
        weights, shown = edge_logits.sigmoid(), feature_logits.sigmoid()
        points = copies.x.clone()
        if shown.numel():
            points = (points.to(shown) * shown[copies.copy]).to(points)
        output = model(points, copies.edges, weights.to(copies.x.dtype))
        surprise = score.of(output[copies.centre], some)
        gradients = _gradients(surprise, masks)
        if matter:
            price = _price(masks, matter, copies, prices)
            paid = torch.autograd.grad(price, masks, allow_unused=True)
        else:  # the first step finds out what matters, and nothing else is paid for
            matter, paid = [gradient != 0 for gradient in gradients], [None, None]
        for mask, gradient, more, useful in zip(masks, gradients, paid, matter, strict=True):
            mask.grad = (gradient if more is None else gradient + more) * useful
        optimiser.step()
    found = of_edges.new_zeros(copies.count, len(of_edges))
    found[copies.edge_copy, copies.edge] = (edge_logits.sigmoid() * matter[0]).detach()
    return torch.cat([found, (feature_logits.sigmoid() * matter[1]).detach()], 1)


def _gradients(surprise: Tensor, masks: list[Tensor]) -> list[Tensor]:
    """The slope of the prediction in each mask; an empty mask has none."""
    gradients: list[Tensor | None] = [None for _ in masks]
    if surprise.requires_grad:
        gradients = list(torch.autograd.grad(surprise.sum(), masks, allow_unused=True))
    if gradients[0] is None and masks[0].numel():
        raise ValueError(
            "The output does not depend on the weights of the edges by any differentiable path. "
            "Give a model that multiplies each message by the weight of its edge, its third "
            "argument."
        )
    found = [
        torch.zeros_like(mask) if gradient is None else gradient
        for mask, gradient in zip(masks, gradients, strict=True)
    ]
    if not all(gradient.isfinite().all() for gradient in found):
        raise ValueError(
            "The gradient of the prediction by the masks is not finite. Look at what the model "
            "computes: a root or a logarithm of zero, or a number too large for its type."
        )
    return found


def _price(masks: list[Tensor], matter: list[Tensor], copies: _Copies, prices: Prices) -> Tensor:
    """What the masks of all nodes cost together. The masks of each are paid for by themselves."""
    weights, shown = (mask.sigmoid() for mask in masks)
    kept = matter[0].to(weights)
    each = 1 / kept.new_zeros(copies.count).index_add(0, copies.edge_copy, kept).clamp(min=1)
    size = (weights * kept).sum()
    doubt = (_entropy(weights) * kept * each[copies.edge_copy]).sum()
    total = prices.edge_size * size + prices.edge_doubt * doubt
    if shown.numel():
        kept = matter[1].to(shown)
        count = kept.sum(1).clamp(min=1)
        total = total + prices.feature_size * ((shown * kept).sum(1) / count).sum()
        total = total + prices.feature_doubt * ((_entropy(shown) * kept).sum(1) / count).sum()
    return total


def _entropy(share: Tensor) -> Tensor:
    return -share * (share + _TINY).log() - (1 - share) * (1 - share + _TINY).log()


def _cross_entropy(model: GraphModel, target: Target | None, output: Tensor) -> Score:
    """-log p of the wanted class of each explained node, or of the predicted one."""
    if target is None:
        logits = output if output.shape[1] > 1 else torch.cat([torch.zeros_like(output), output], 1)
        target = logits.argmax(1)
    score = loss(model, target)  # pyright: ignore[reportArgumentType] - only its reading is used
    if score.targets not in (None, len(output)):
        raise ValueError(
            f"The target has {score.targets} classes for {len(output)} explained nodes. "
            "Give one class, or one for each."
        )
    score.of(output, torch.arange(len(output), device=output.device))
    return score


def _check(
    x: Tensor, edges: Tensor, hops: int | None, steps: int, rate: float, batch_size: int | None
) -> None:
    admission.differentiable(x)
    if edges.ndim != 2 or len(edges) != 2 or edges.is_floating_point():
        raise ValueError(
            f"Edges are a row of sources and a row of targets, but edges is {edges.dtype} of "
            f"shape {tuple(edges.shape)}. Give whole numbers of shape [2, edges]."
        )
    if edges.numel() and not 0 <= int(edges.min()) <= int(edges.max()) < len(x):
        raise ValueError(
            f"Edges lead from {int(edges.min())} to {int(edges.max())}, but there are {len(x)} "
            f"nodes. Number them from 0 to {len(x) - 1}."
        )
    for what, count in (("steps", steps), ("hops", hops), ("batch_size", batch_size)):
        if count is not None and count < 1:
            raise ValueError(f"{what} is {count}, which does nothing. Give at least 1.")
    if not rate > 0:
        raise ValueError(f"A rate of {rate} moves no mask. Give one above 0, such as 0.01.")


def _check_nodes(explained: Tensor, count: int) -> None:
    if explained.ndim != 1 or len(explained) == 0 or explained.is_floating_point():
        raise ValueError(
            f"The nodes to explain are {explained.dtype} of shape {tuple(explained.shape)}. "
            "Give a row of at least one node's number."
        )
    if not 0 <= int(explained.min()) <= int(explained.max()) < count:
        raise ValueError(
            f"Nodes {int(explained.min())} to {int(explained.max())} are to be explained, but "
            f"there are {count}. Number them from 0 to {count - 1}."
        )


def _check_output(output: object, x: Tensor) -> None:
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(x):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"The model returned {shape} for {len(x)} nodes. Return a row of logits per node."
        )
