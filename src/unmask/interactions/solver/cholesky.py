"""Cholesky factors of several dense matrices, in place."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import get_lapack_funcs
from torch import Tensor

ADDED = (1e-14, 1e-12, 1e-10, 1e-8, 1e-6)
"""What is added to the diagonal, one after the other, until the factor exists."""

Solve = Callable[[Float[Tensor, "batch m"]], Float[Tensor, "batch m"]]


def factored(matrix: Float[Tensor, "batch m m"]) -> Solve | None:
    """A function that solves with symmetric matrices whose diagonal is one, or nearly so.

    Args:
        matrix: written over.
    """
    return _on_cpu(matrix) if matrix.device.type == "cpu" else _batched(matrix)


def _batched(matrix: Float[Tensor, "batch m m"]) -> Solve | None:
    for added in ADDED:
        matrix.diagonal(dim1=-2, dim2=-1).fill_(1 + added)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if not failed.any():
            return lambda right: torch.cholesky_solve(right[..., None], factor)[..., 0]
    return None


def _on_cpu(matrix: Float[Tensor, "batch m m"]) -> Solve | None:
    """LAPACK without the copies that torch makes; at 10 players they cost more than the factor."""
    potrf, potrs = get_lapack_funcs(("potrf", "potrs"), dtype=np.float64)
    factors = []
    for one in matrix:
        for added in ADDED:
            one.diagonal().fill_(1 + added)
            # Seen by columns this is the lower half; the upper one stays, for another try.
            factor, failed = potrf(one.numpy().T, lower=1, clean=0, overwrite_a=1)
            if not failed:
                break
            one.copy_(one.tril(-1) + one.tril(-1).T)
        else:
            return None
        factors.append(factor)

    def solve(right: Float[Tensor, "batch m"]) -> Float[Tensor, "batch m"]:
        columns = zip(factors, right, strict=True)
        found = [potrs(factor, column.numpy(), lower=1)[0] for factor, column in columns]
        return torch.stack([torch.from_numpy(column).flatten() for column in found])

    return solve
