"""Few Fourier coefficients found among very many by sampling that folds them, and decoding."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int

from unmask.interactions.sparse.bch import Code, code_for
from unmask.interactions.sparse.spectrum import Spectrum
from unmask.lattice import WALSH, coalitions, transform

GROUPS = 3
"""Foldings. A coefficient that meets others in one is seldom unlucky in all."""
_ROUNDS = 100
_UNRELIABLE = 6
"""Parities of a bin that are doubted, in all combinations, where decoding as they are fails."""
_EMPTY = 0.1
"""Share of the bins that is taken to be empty."""
_ABOVE = 2.5
"""Energy of a bin, in units of that of the quietest tenth, from which it is read at all."""
_EXPLAINED = 0.1
"""Of a bin's energy: what a coefficient must explain at least, as several may share a bin."""
_SURE = 4.0
"""Standard errors of noise that a coefficient must have in a bin."""


@dataclass(frozen=True)
class Design:
    """How many questions are put, and for sets of which size.

    Args:
        degree: players of a set at most.
        bits: of the number of a bin.
        rows: coalitions that are asked for in all.
    """

    degree: int
    bits: int
    rows: int


def design_for(players: int, budget: int, degree: int) -> Design | None:
    """The finest folding that a budget allows, for smaller sets where it must be; or none.

    Args:
        players: n.
        budget: coalitions that may be asked for.
        degree: players of a set at most.
    """
    m = max(3, players.bit_length())
    for least in range(degree, 1, -1):
        columns = GROUPS * (1 + least * m)
        bits = (budget // columns).bit_length() - 1
        if bits > 2:
            bits = min(bits, players)
            return Design(least, bits, columns * 2**bits)
    return None


def sparse_fourier(
    ask: Callable[[Bool[np.ndarray, "rows players"]], Float64[np.ndarray, " rows"]],
    players: int,
    *,
    design: Design,
    tolerance: Callable[[], float],
    random: np.random.Generator,
) -> tuple[Spectrum, Bool[np.ndarray, "rows players"], Float64[np.ndarray, " rows"]]:
    r"""Find the sets with a Fourier coefficient, and what was asked to find them.

    $$
    U_{c,p}(j) = 2^{-b} \sum_{\ell} (-1)^{\langle j, \ell \rangle}\, v(M_c \ell + d_p)
        = \sum_{T:\, M_c^\top T = j} (-1)^{|d_p \cap T|}\, F(T)
    $$

    A random matrix M folds all sets into 2^b bins. Where a single set T lies in a bin, the signs of
    U over the shifts d are the parities of T with the checks of a code, from which T is read off;
    where noise has turned some, the least certain are turned back in all combinations. What has
    been found is taken out of the bins of all foldings, so that those that held one set more can
    be read, until nothing new comes out. A bin of several sets is read where one of them prevails.

    Args:
        ask: v.
        players: n.
        design: how many questions.
        tolerance: what may be rounding.
        random: chooses the foldings.
    """
    code = code_for(players, design.degree)
    shifts = np.concatenate([np.zeros((1, players), dtype=bool), code.checks()])
    numbers = coalitions(design.bits).numpy()
    folds = random.random((GROUPS, design.bits, players)) < 0.5
    inner = (numbers.astype(np.float32) @ folds.astype(np.float32)).astype(int) % 2 == 1
    masks = (inner[:, None] ^ shifts[None, :, None]).reshape(-1, players)
    values = ask(masks)
    table = torch.from_numpy(values).view(GROUPS, len(shifts), -1)
    bins = (transform(table, WALSH) / 2**design.bits).numpy().transpose(0, 2, 1).copy()

    found: dict[bytes, float] = {}
    sets: dict[bytes, Bool[np.ndarray, " players"]] = {}
    fresh = np.ones(bins.shape[:2], dtype=bool)
    for _ in range(_ROUNDS):
        power = (bins**2).mean(2)
        # Some bins are empty, and hold noise alone.
        noise = max(float(np.sqrt(np.quantile(power, _EMPTY))), tolerance())
        open_ = np.argwhere(fresh & (power > _ABOVE * noise**2))
        fresh[:] = False
        new = _read(code, folds, shifts, bins, open_, noise)
        if not new:
            break
        for key, (one, sizes) in new.items():
            size = float(np.mean(sizes))
            found[key] = found.get(key, 0.0) + size
            sets[key] = one
            signs = 1.0 - 2.0 * ((shifts & one).sum(1) % 2)
            places = _places(folds, one)
            bins[np.arange(GROUPS), places] -= size * signs
            fresh[np.arange(GROUPS), places] = True
    return _spectrum(sets, found, players, design.degree), masks, values


def _places(
    folds: Bool[np.ndarray, "groups bits players"], one: Bool[np.ndarray, " players"]
) -> Int[np.ndarray, " groups"]:
    """The bin of a set in each folding."""
    return (folds & one).sum(2) % 2 @ (1 << np.arange(folds.shape[1]))


def _read(
    code: Code,
    folds: Bool[np.ndarray, "groups bits players"],
    shifts: Bool[np.ndarray, "shifts players"],
    bins: Float64[np.ndarray, "groups bins shifts"],
    open_: Int[np.ndarray, "some 2"],
    noise: float,
) -> dict[bytes, tuple[Bool[np.ndarray, " players"], list[float]]]:
    """Sets that bins tell of, and the sizes of their coefficients there."""
    seen = bins[open_[:, 0], open_[:, 1]]
    signed = np.where(seen[:, :1] < 0, -seen, seen)
    parities = signed[:, 1:] < 0
    new: dict[bytes, tuple[Bool[np.ndarray, " players"], list[float]]] = {}
    waiting = np.arange(len(open_))
    # A shift of nothing may be turned as well; then so are all others.
    for pattern in _doubts():
        if not len(waiting):
            break
        doubted = np.argsort(np.abs(signed[waiting]), axis=1)[:, : len(pattern)]
        turned = np.zeros(signed[waiting].shape, dtype=bool)
        width = doubted.shape[1]
        np.put_along_axis(turned, doubted, np.array(pattern)[None, :width], axis=1)
        asked = parities[waiting] ^ turned[:, 1:] ^ turned[:, :1]
        found, sound = code.decoded(asked)
        signs = 1.0 - 2.0 * ((found[sound].astype(np.float32) @ shifts.T.astype(np.float32)) % 2)
        some = waiting[sound]
        size = (seen[some] * signs).mean(1)
        group, place = open_[some].T
        folded = (folds[group] & found[sound][:, None]).sum(2) % 2
        there = folded @ (1 << np.arange(folds.shape[1])) == place
        power = (seen[some] ** 2).mean(1)
        strong = size**2 > np.maximum(_EXPLAINED * power, _SURE**2 * noise**2 / seen.shape[1])
        good = there & strong
        for row, one in zip(np.flatnonzero(good), found[sound][good], strict=True):
            new.setdefault(one.tobytes(), (one, []))[1].append(float(size[row]))
        waiting = np.setdiff1d(waiting, some[good])
    return new


def _doubts() -> list[tuple[bool, ...]]:
    """Which of the least certain signs are turned, few of them first."""
    every = itertools.product((False, True), repeat=_UNRELIABLE)
    return sorted(every, key=lambda turned: (sum(turned), turned[::-1]))


def _spectrum(
    sets: dict[bytes, Bool[np.ndarray, " players"]],
    found: dict[bytes, float],
    players: int,
    degree: int,
) -> Spectrum:
    rows = np.full((len(found) + 1, degree), players)
    values = [0.0]
    empty = np.zeros(players, dtype=bool).tobytes()
    place = 1
    for key, value in found.items():
        if key == empty:
            values[0] = value
            continue
        inside = np.flatnonzero(sets[key])
        rows[place, : len(inside)] = inside
        values.append(value)
        place += 1
    return Spectrum(rows[:place], np.array(values), players)
