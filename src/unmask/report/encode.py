"""Cases as what the script of the page reads: plain JSON, and numbers as bytes in base64.

All numbers that the reader computes with travel as float64, so that the browser's sums agree
with Python's to the last few bits.
"""

import base64
from collections.abc import Mapping
from math import isfinite, isnan
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask.interactions.terms.logic_values import logic_values
from unmask.report.case import Case
from unmask.report.pictures import heat, picture
from unmask.report.regions import anchor, outline
from unmask.results import Attribution, Interactions, Measurement
from unmask.views import ImageView, TextView

LARGEST_TABLE = 12
"""Players whose table of the network's values still goes into the page."""
_DENSE = 20
_DUST = 1e-10
_SAMPLES = 2048

Json = dict[str, Any]


def encoded(case: Case) -> Json:
    """All of a case but its terms, which take what room is left."""
    table = None if case.table is None else case.table.detach().double().cpu()
    corners = _ends(case) if table is None else table
    names = case.players.names
    return {
        "title": case.title,
        "prediction": case.prediction,
        "truth": case.truth,
        "right": case.right,
        "score": case.score,
        "players": list(names),
        "view": _view(case),
        "table": _bytes(table, "<f8")
        if table is not None and len(names) <= LARGEST_TABLE
        else None,
        "corners": None if corners is None else [float(corners[0]), float(corners[-1])],
        "range": _range(case.terms, corners),
        "empty": float(case.terms.empty),
        "gap": case.terms.gap,
        "explained": _explained(case.terms.residual),
        "explained_near_full": _explained(case.terms.residual_near_full),
        "evaluations": case.terms.evaluations,
        "l1": float(case.terms.effects.double().abs().sum()),
        "terms95": _number(case.sparsity, "terms_95"),
        "salient": _number(case.sparsity, "salient"),
        "matching": {
            name: _number(case.matching, name)
            for name in ("largest_error", "mean_error", "largest_relative_error")
        },
        "orders": _orders(case.sparsity),
        "attributions": [_attribution(case, *item) for item in case.attributions.items()],
    }


def encoded_terms(case: Case, most: int) -> Json:
    """The terms that move most, as bit masks and effects, and what becomes of the rest.

    Terms that are left out stand in with their mean over all masks.
    """
    terms = case.terms
    effects = terms.effects.detach().double().cpu()
    order = terms.spread.cpu().argsort(descending=True, stable=True)
    strength = effects.abs()[order]
    # Rounding leaves terms of 1e-16 behind; as long as they matter to nothing they are dust.
    left = strength.flip(0).cumsum(0).flip(0)
    count = int((left > _DUST * max(float(strength.sum()), abs(terms.empty))).sum())
    kept = min(count, most)
    members = terms.members.cpu()[order[:kept]]
    firing = terms.firing.double().cpu()[order]
    return {
        "words": -(-len(terms.names) // 32),
        "masks": _bytes(_packed(members), "<u4"),
        "or": _bytes(terms.is_or.cpu()[order[:kept]], "u1"),
        "effects": _bytes(effects[order[:kept]], "<f8"),
        "count": count,
        "rest_mean": float((effects[order] * firing)[kept:].sum()),
        "rest_error": float((strength * torch.maximum(firing, 1 - firing))[kept:].sum()),
        "curve": _curve(case.matching, kept),
    }


def _packed(members: Tensor) -> np.ndarray:
    """Each row of bits as 32-bit words, player 0 in the lowest bit of the first."""
    bits = members.numpy()
    bits = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 32)))
    return np.packbits(bits, axis=1, bitorder="little").reshape(-1).view("<u4")


def _view(case: Case) -> Json:
    view, owner = case.view, case.players.owner.cpu()
    if isinstance(view, ImageView):
        flat = owner.reshape(-1, *owner.shape[-2:])
        # Players that differ between channels have no region of their own on the picture.
        regions = [(flat[0] == i).numpy() for i in range(len(case.players.names)) if _flat(flat)]
        height, width = owner.shape[-2:]
        return {
            "kind": "image",
            "width": width,
            "height": height,
            "source": picture(view.pixels.cpu().numpy()),
            "outlines": [outline(region) for region in regions],
            "anchors": [anchor(region) for region in regions],
        }
    if isinstance(view, TextView):
        flat = owner.reshape(len(owner), -1).T
        if not _flat(flat):
            return {"kind": "plain", "text": "".join(view.pieces)}
        return {"kind": "text", "pieces": list(view.pieces), "owners": flat[0].tolist()}
    return {"kind": "table", "present": list(view.present), "absent": list(view.absent)}


def _flat(owner: Tensor) -> bool:
    """Whether all channels (the first axis) belong to the same players."""
    return bool((owner == owner[:1]).all())


def _attribution(case: Case, name: str, attribution: Attribution) -> Json:
    values = attribution.values[0].detach().double().cpu()
    owner, n = case.players.owner.cpu(), len(case.players.names)
    per_player = tuple(values.shape) == (n,) and (
        attribution.names == case.players.names or values.shape != owner.shape
    )
    shared = values
    if not per_player:
        shared = torch.zeros(n + 1, dtype=torch.double)
        shared = shared.index_add(0, (owner.flatten() + n + 1) % (n + 1), values.flatten())[:n]
    out: Json = {
        "name": name,
        "values": _bytes(shared, "<f8"),
        "gap": None if attribution.gap is None else _finite(float(attribution.gap[0])),
        "evaluations": attribution.evaluations,
    }
    if not per_player and isinstance(case.view, ImageView):
        out["heat"] = heat(values.reshape(-1, *values.shape[-2:]).sum(0).numpy())
    if not per_player and isinstance(case.view, TextView):
        out["pieces"] = _bytes(values.reshape(len(values), -1).sum(1), "<f8")
    return out


def _ends(case: Case) -> Tensor | None:
    return None if case.ends is None else torch.tensor(case.ends, dtype=torch.double)


def _range(terms: Interactions, known: Tensor | None) -> list[float]:
    """The least and the largest value over all masks, of network and logic together."""
    values = [everywhere(terms)]
    if known is not None:
        values.append(known)
    joined = torch.cat(values)
    return [float(joined.min()), float(joined.max())]


def everywhere(terms: Interactions) -> Tensor:
    """The logic on all masks, by two transforms; with many players, on some of the masks."""
    n = len(terms.names)
    effects = terms.effects.detach().double().cpu()
    if n > _DENSE:
        generator = torch.Generator().manual_seed(0)
        masks = torch.rand(_SAMPLES, n, generator=generator) < torch.rand(
            _SAMPLES, 1, generator=generator
        )
        masks[0], masks[1] = False, True
        exact = Interactions(
            terms.members.cpu(), terms.is_or.cpu(), effects, terms.empty, terms.names
        )
        return torch.cat([exact(part) for part in masks.split(64)])
    return terms.empty + logic_values(terms)[0].cpu()


def _curve(matching: Measurement, most: int) -> Json | None:
    """Fidelity against the number of terms; its points are where the slider stops."""
    curves = {name: curve.double().cpu().numpy() for name, curve in matching.curves.items()}
    if "terms" not in curves or "fidelity" not in curves:
        return None
    counts = curves["terms"].round().astype(int).tolist()
    stops = [0]
    for count in counts:
        # A slider of a few hundred stops is enough: beyond 60 terms they lie 3 % apart.
        if stops[-1] < count < most and (count <= 60 or count >= 1.03 * stops[-1]):
            stops.append(count)
    if most > 0:
        stops.append(most)
    values = np.interp(stops, curves["terms"], curves["fidelity"])
    return {"stops": stops, "fidelity": [_finite(float(value)) for value in values]}


def _orders(sparsity: Measurement) -> Json | None:
    curves: Mapping[str, Tensor] = sparsity.curves
    if not {"order", "positive", "negative"} <= set(curves):
        return None
    return {
        name: [_finite(float(v)) for v in curves[name]]
        for name in ("order", "count", "positive", "negative")
        if name in curves
    }


def _number(measurement: Measurement, name: str) -> float | None:
    return _finite(measurement.numbers.get(name, float("nan")))


def _explained(residual: float | None) -> float | None:
    """The share of the variance that terms explain; that of worse than nothing is nothing."""
    return None if residual is None or isnan(residual) else max(0.0, 1 - residual)


def _finite(x: float) -> float | None:
    return x if isfinite(x) else None


def _bytes(values: Tensor | np.ndarray, kind: str) -> str:
    array = np.ascontiguousarray(np.asarray(values), dtype=np.dtype(kind))
    return base64.b64encode(array.tobytes()).decode()
