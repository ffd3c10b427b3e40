"""The second derivative of a score in its input: as a matrix of few columns, or by products."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unmask.internals import frozen
from unmask.score import Score

_CLASSES, _NUMBERS = 100, 2**24
"""Outputs, and numbers of their derivatives per input, up to which these are written out."""
_ONCE = (
    "The {} cannot be differentiated twice: {}. "
    "Replace that layer by one that can, or use first_order."
)
_LANCZOS = 16
"""Products from which the extreme curvatures are found."""


@dataclass(frozen=True)
class FewColumns:
    r"""$H = U \Lambda U^\top$, with as many columns in U as the network has outputs.

    Args:
        basis: U, orthonormal.
        eigenvalues: the diagonal of Lambda; H has no others but zero.
    """

    basis: Float[Tensor, "batch positions columns"]
    eigenvalues: Float[Tensor, "batch columns"]

    @property
    def largest(self) -> Float[Tensor, " batch"]:
        return self._with_zero().amax(1)

    @property
    def least(self) -> Float[Tensor, " batch"]:
        return self._with_zero().amin(1)

    def _with_zero(self) -> Float[Tensor, "batch eigenvalues"]:
        """All eigenvalues: where there are more positions than columns, zero is one of them."""
        _, positions, columns = self.basis.shape
        if positions <= columns:
            return self.eigenvalues
        return torch.nn.functional.pad(self.eigenvalues, (0, 1))

    def times(self, v: Float[Tensor, "batch positions"]) -> Float[Tensor, "batch positions"]:
        along = torch.einsum("bpc,bp->bc", self.basis, v)
        return torch.einsum("bpc,bc->bp", self.basis, self.eigenvalues * along)

    def solve(
        self, g: Float[Tensor, "batch positions"], shift: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch positions"]:
        """(shift I - H)^-1 g."""
        shift = shift[:, None]
        along = torch.einsum("bpc,bp->bc", self.basis, g)
        along = along * self.eigenvalues / (shift - self.eigenvalues)
        return (g + torch.einsum("bpc,bc->bp", self.basis, along)) / shift


class Products:
    """H by its products with vectors, each a backward pass through the gradient."""

    def __init__(self, derivatives: "Derivatives") -> None:
        self.derivatives = derivatives
        self.least, self.largest = _extremes(derivatives)

    def times(self, v: Float[Tensor, "batch positions"]) -> Float[Tensor, "batch positions"]:
        return self.derivatives.product(v)


Curvature = FewColumns | Products
"""H of each of a batch of inputs."""


class Derivatives:
    """A score at points made from inputs, its gradient, and what else is asked for.

    Args:
        score: F.
        points: copies of each input, the copies on the outside; all are averaged over.
        rows: which input each point was made from.
        inputs: how many those are.
    """

    def __init__(
        self,
        score: Score,
        points: Float[Tensor, "points *input"],
        rows: Int[Tensor, " points"],
        inputs: int,
    ) -> None:
        self.score, self.rows, self.inputs = score, rows, inputs
        self.copies, self.passes = len(points) // inputs, len(points)
        self.point = points.detach().clone().requires_grad_()
        self.output = score.output(self.point.clone())
        slopes = None
        values = score.of(self.output, rows)
        if values.requires_grad:
            (slopes,) = torch.autograd.grad(
                values.sum(), self.point, create_graph=True, allow_unused=True
            )
        if slopes is None or not (values.isfinite().all() and slopes.isfinite().all()):
            raise ValueError(
                f"The {score.name} does not depend on x by any differentiable path, or is not "
                "finite there. Look for detach(), argmax or no_grad in the model, and for roots "
                "and logarithms of zero."
            )
        self._slopes = slopes
        self.gradient = self._mean(slopes.detach())

    def product(self, v: Float[Tensor, "batch positions"]) -> Float[Tensor, "batch positions"]:
        """H v, averaged over the copies."""
        self.passes += len(self.point)
        along = v.to(self._slopes).repeat(self.copies, 1).view_as(self._slopes)
        found = None
        if self._slopes.requires_grad:
            with _twice(self.score):
                (found,) = torch.autograd.grad(
                    (self._slopes * along).sum(), self.point, retain_graph=True, allow_unused=True
                )
            if found is None and isinstance(self.score.model, nn.Module):
                # Its parameters are frozen, so nothing but x can be what the gradient hangs on.
                raise ValueError(_ONCE.format(self.score.name, "a layer says so"))
        return torch.zeros_like(v) if found is None else self._mean(found).to(v)

    def few_columns(self) -> FewColumns | None:
        r"""H from the derivatives of the outputs, if it is made of these alone.

        $$
        H = W A W^\top, \qquad W = \frac{\partial z}{\partial x}, \quad
        A = \frac{\partial^2 F}{\partial z^2}
        $$

        That is all of H where the network is piecewise linear. Whether it is, is not read off its
        layers but tested: on a vector drawn at random both must have the same product.
        """
        z = self.output.reshape(len(self.output), -1)
        classes, wide = z.shape[1], self.gradient.dtype
        if classes > _CLASSES or classes * self.copies * self.gradient.shape[1] > _NUMBERS:
            return None
        columns = []
        for c in range(classes):
            (column,) = torch.autograd.grad(
                z[:, c].sum(), self.point, retain_graph=True, allow_unused=True
            )
            columns.append(torch.zeros_like(self.point) if column is None else column)
        self.passes += classes * len(self.point)
        w = torch.stack(columns, -1).flatten(1, -2).to(wide)
        a = _reading(self.score, self.output, self.rows).to(wide)
        w, a = (part.unflatten(0, (self.copies, -1)) for part in (w, a))
        w = w.movedim(0, 2).flatten(2)
        basis, rest = torch.linalg.qr(w.double())
        blocks = rest.unflatten(2, (self.copies, -1))
        small = torch.einsum("bins,nbst,bjnt->bij", blocks, a.double(), blocks) / self.copies
        eigenvalues, turn = torch.linalg.eigh((small + small.mT) / 2)
        found = FewColumns((basis @ turn).to(wide), eigenvalues.to(wide))
        generator = torch.Generator().manual_seed(0)
        v = torch.randn(self.gradient.shape[1], generator=generator, dtype=wide)
        v = v.to(self.gradient.device).expand_as(self.gradient)
        true, made = self.product(v), found.times(v)
        close = math.sqrt(torch.finfo(self.point.dtype).eps)
        size = torch.maximum(true.norm(dim=1), made.norm(dim=1))
        return found if bool(((true - made).norm(dim=1) <= close * size).all()) else None

    def _mean(self, x: Float[Tensor, "points *input"]) -> Float[Tensor, "batch positions"]:
        wide = torch.promote_types(x.dtype, torch.float32)
        return x.to(wide).unflatten(0, (self.copies, -1)).mean(0).reshape(self.inputs, -1)


@contextmanager
def derivatives(
    score: Score,
    points: Float[Tensor, "points *input"],
    rows: Int[Tensor, " points"],
    inputs: int,
) -> Iterator[Derivatives]:
    """Derivatives that can be asked for while the context lasts."""
    with torch.inference_mode(False), torch.enable_grad(), frozen(score.model), _twice(score):
        yield Derivatives(score, points, rows, inputs)


def _reading(score: Score, output: Tensor, rows: Tensor) -> Float[Tensor, "points z z"]:
    """The second derivative of the score in the outputs of the network."""
    z = output.detach().clone().requires_grad_()
    classes = z[0].numel()
    none = z.new_zeros(len(z), classes, classes)
    (slope,) = torch.autograd.grad(score.of(z, rows).sum(), z, create_graph=True)
    if not slope.requires_grad:
        return none
    for c in range(classes):
        (row,) = torch.autograd.grad(
            slope.reshape(len(z), -1)[:, c].sum(), z, retain_graph=True, allow_unused=True
        )
        if row is not None:
            none[:, c] = row.reshape(len(z), -1)
    return none


def _extremes(found: Derivatives) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """The least and the largest eigenvalue of each H, by Lanczos' iteration."""
    batch, positions = found.gradient.shape
    v = torch.randn(positions, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v = (v / v.norm()).to(found.gradient).expand(batch, -1)
    steps = min(_LANCZOS, positions)
    basis, tridiagonal = [v], v.new_zeros(batch, steps, steps, dtype=torch.float64)
    for j in range(steps):
        w = found.product(basis[j])
        size = w.norm(dim=1)
        # What has run out of directions goes on with one that adds no eigenvalue.
        ended = basis[j].norm(dim=1) < 0.5
        tridiagonal[:, j, j] = torch.where(ended, tridiagonal[:, 0, 0], (w * basis[j]).sum(1))
        if j == steps - 1:
            break
        for _ in range(2):  # once leaves too much of them in float32
            for u in basis:
                w = w - (w * u).sum(1, keepdim=True) * u
        norm = w.norm(dim=1)
        found_more = norm > 10 * torch.finfo(w.dtype).eps * size
        tridiagonal[:, j, j + 1] = tridiagonal[:, j + 1, j] = torch.where(found_more, norm, 0)
        basis.append(
            torch.where(found_more[:, None], w / torch.where(found_more, norm, 1)[:, None], 0)
        )
    eigenvalues = torch.linalg.eigvalsh(tridiagonal).to(found.gradient)
    return eigenvalues[:, 0], eigenvalues[:, -1]


@contextmanager
def _twice(score: Score) -> Iterator[None]:
    """Say kindly that a layer has no second derivative."""
    try:
        yield
    except RuntimeError as error:
        if "derivative for" not in str(error) and "double backward" not in str(error):
            raise
        raise ValueError(_ONCE.format(score.name, error)) from error
