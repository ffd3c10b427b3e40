"""Run folder -> cases for the page."""

import os

import torch

from unmask.interactions import sparsity, universal_matching
from unmask.lattice import by_order
from unmask.report.case import Case
from unmask.results import Attribution, Interactions, Measurement
from unmask.run import Explained, Stored, read_run

TERMS = ("and_or", "large_n", "and_interaction", "or_interaction", "interaction_indices")
"""Methods whose terms the page can show, the best first."""


def cases(folder: str | os.PathLike[str]) -> tuple[Case, ...]:
    """The explained inputs of a run, in their order. Those that failed are left out.

    Args:
        folder: of the run.
    """
    found = read_run(folder)
    if not found.explained:
        reason = found.failures[0].reason if found.failures else "it has only begun"
        raise ValueError(
            f"The run in '{folder}' has explained no input yet ({reason}). "
            "Repeat it with `unmask run`."
        )
    shown = [case for explained in found.explained if (case := _case(explained)) is not None]
    if not shown:
        raise without_terms(found, folder)
    return tuple(shown)


def without_terms(found: Stored, folder: str | os.PathLike[str]) -> ValueError:
    """What to say of a run that explained something, but has no terms for a page.

    Args:
        found: the run.
        folder: in which it is.
    """
    failed = next((one for one in found.failures if one.method in TERMS), None)
    if failed is not None:
        why = f"{failed.method} failed ({failed.reason.rstrip('.')})"
        advice = "Mend that, and repeat it with `unmask run`."
    else:
        large = all(one.entry.table is None for one in found.explained)
        why = f"its methods are {', '.join(found.plan.methods)}"
        advice = f"Add [methods.{'large_n' if large else 'and_or'}] to a plan and run it anew."
    return ValueError(f"The run in '{folder}' holds no terms to show: {why}. {advice}")


def has_terms(explained: Explained) -> bool:
    """Whether the page can show an input."""
    return _terms(explained) is not None


def _terms(explained: Explained) -> Interactions | None:
    found = map(explained.results.get, TERMS)
    return next((terms for terms in found if isinstance(terms, Interactions)), None)


def _case(explained: Explained) -> Case | None:
    entry, results = explained.entry, explained.results
    terms = _terms(explained)
    if terms is None:
        return None
    title, prediction, truth = entry.title, entry.prediction, entry.truth
    if entry.probability is not None:
        prediction = f"{prediction} ({100 * entry.probability:.1f} %)"
    elif truth is not None:  # a number is never quite the true one, so do not call it wrong
        title, truth = f"{title} (truth {truth})", None
    matching, counted = results.get("universal_matching"), results.get("sparsity")
    if entry.table is not None:
        game = entry.game()
        matching = matching or universal_matching(game, terms=terms)
        counted = counted or sparsity(game, terms=terms)
    return Case(
        title=title,
        prediction=prediction,
        truth=truth,
        score=entry.score,
        players=entry.players,
        view=entry.view,
        terms=terms,
        table=entry.table,
        attributions=_attributions(explained),
        matching=matching if isinstance(matching, Measurement) else Measurement(),
        sparsity=counted if isinstance(counted, Measurement) else _by_order(terms),
        ends=None if entry.ends is None else (float(entry.ends[0]), float(entry.ends[1])),
    )


def _by_order(terms: Interactions) -> Measurement:
    """What can be told of the terms without a table: their strength per order."""
    effects, order = terms.effects.double(), terms.order
    most = int(order.max()) if len(order) else 1
    return Measurement(
        curves={
            "order": torch.arange(1, most + 1, dtype=torch.float64),
            "count": by_order((effects != 0).double(), order, most),
            "positive": by_order(effects.clamp(min=0), order, most),
            "negative": by_order(effects.clamp(max=0), order, most),
        }
    )


def _attributions(explained: Explained) -> dict[str, Attribution]:
    """Those that have a value per player or per position."""
    players = explained.entry.players
    shapes = ((1, len(players.names)), (1, *players.owner.shape))
    return {
        name: result
        for name, result in explained.results.items()
        if isinstance(result, Attribution) and tuple(result.values.shape) in shapes
    }
