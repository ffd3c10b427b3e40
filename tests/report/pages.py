"""Cases with planted logic, and how the tests of the page read it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask.lattice import coalitions
from unmask.players import Players, features, patches, segments, words
from unmask.report import Case
from unmask.results import Attribution, Interactions, Measurement
from unmask.views import ImageView, TableView, TextView, View


def planted_terms(names: Sequence[str], count: int, seed: int, empty: float = -1.3) -> Interactions:
    """Random distinct terms whose strength falls geometrically; low orders are more likely."""
    n, random = len(names), np.random.default_rng(seed)
    chosen: dict[tuple[frozenset[int], bool], None] = {}
    while len(chosen) < count:
        order = min(n, int(random.geometric(0.45)))
        members = frozenset(random.choice(n, order, replace=False).tolist())
        chosen[members, bool(order > 1 and random.random() < 0.4)] = None
    rows = torch.tensor([[i in members for i in range(n)] for members, _ in chosen])
    sizes = 2.4 * 0.86 ** np.arange(count) * random.uniform(0.7, 1.3, count)
    signs = random.choice([1, 1, -1], count)
    return Interactions(
        rows,
        torch.tensor([is_or for _, is_or in chosen]),
        torch.tensor(sizes * signs),
        empty,
        tuple(names),
        gap=0.0,
        evaluations=2**n,
    )


def moved(terms: Interactions) -> Tensor:
    """By how much each term moves the value: its standard deviation over the masks, in closed
    form from the share 2^-|T| of masks that hold all of T."""
    share = 0.5 ** terms.members.sum(1).double()
    return terms.effects.double().abs() * (share - share * share) ** 0.5


def standing_in(terms: Interactions, dropped: Tensor) -> float:
    """What the dropped terms add on average, over all masks of the players."""
    some = Interactions(
        terms.members[dropped], terms.is_or[dropped], terms.effects[dropped], 0.0, terms.names
    )
    return float(some(coalitions(len(terms.names))).mean())


def measured(terms: Interactions) -> tuple[Tensor, Measurement, Measurement]:
    """The table of a planted logic, its matching and its sparsity, from their definitions."""
    masks = coalitions(len(terms.names))
    table = terms(masks)
    order = moved(terms).argsort(descending=True)
    fidelity, largest = [], []
    for k in range(len(order) + 1):
        kept = order[:k]
        part = Interactions(
            terms.members[kept], terms.is_or[kept], terms.effects[kept], terms.empty, terms.names
        )
        error = table - part(masks) - standing_in(terms, order[k:])
        fidelity.append(1 - float((error**2).sum() / ((table - table.mean()) ** 2).sum()))
        largest.append(float(error.abs().max()))
    counts = torch.arange(len(order) + 1).double()
    curve = torch.tensor(fidelity).double()
    matching = Measurement(
        {"largest_error": 3e-14, "mean_error": 4e-15, "largest_relative_error": 1e-15},
        {"terms": counts, "fidelity": curve, "largest_error": torch.tensor(largest).double()},
    )
    sizes = terms.order
    per = [terms.effects[sizes == k] for k in range(1, len(terms.names) + 1)]
    sparsity = Measurement(
        {
            "salient": float((terms.effects.abs() > 0.05 * terms.effects.abs().max()).sum()),
            "terms_95": float((curve >= 0.95).nonzero()[0, 0]),
        },
        {
            "order": torch.arange(1, len(terms.names) + 1).double(),
            "count": torch.tensor([float(len(part)) for part in per]),
            "positive": torch.tensor([float(part.clamp(min=0).sum()) for part in per]),
            "negative": torch.tensor([float(part.clamp(max=0).sum()) for part in per]),
        },
    )
    return table, matching, sparsity


def case(
    players: Players,
    view: View,
    *,
    title: str = "an input",
    prediction: str = "malignant (98.4 %)",
    truth: str | None = "malignant",
    score: str = "log-odds of malignant",
    count: int = 40,
    seed: int = 0,
    attributions: Mapping[str, Attribution] | None = None,
    tabled: bool = True,
) -> Case:
    terms = planted_terms(players.names, count, seed)
    table, matching, sparsity = measured(terms)
    random = torch.Generator().manual_seed(seed)
    if attributions is None:
        shape = tuple(players.owner.shape)
        attributions = {
            "shapley_exact": Attribution(
                torch.randn(1, len(players.names), generator=random).double(),
                torch.tensor([2e-15]).double(),
                players.names,
            ),
            "integrated_gradients": Attribution(
                torch.randn(1, *shape, generator=random), torch.tensor([3e-4])
            ),
        }
    return Case(
        title, prediction, truth, score, players, view, terms, table if tabled else None,
        attributions, matching, sparsity,
    )  # fmt: skip


MEASURES = (
    ("worst concave points", "0.186", "0.115"),
    ("worst perimeter", "152.2 mm", "107.3 mm"),
    ("worst radius", "23.57 mm", "16.27 mm"),
    ("mean concave points", "0.087", "0.049"),
    ("worst area", "1,709 mm²", "880.6 mm²"),
    ("mean perimeter", "130.0 mm", "91.97 mm"),
    ("worst texture", "25.53", "25.68"),
    ("mean area", "1,203 mm²", "654.9 mm²"),
    ("worst smoothness", "0.144", "0.132"),
    ("mean texture", "21.25", "19.29"),
)


def table_case(**options: object) -> Case:
    names, present, absent = zip(*MEASURES, strict=True)
    view = TableView(present, tuple(f"mean {value}" for value in absent))
    options = {"title": "Sample 17", **options}
    return case(features(names), view, **options)  # pyright: ignore[reportArgumentType]


def picture(side: int) -> Tensor:
    """A smooth picture with a bright ring, as bytes."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, side)] * 2, indexing="ij")
    ring = torch.exp(-((x**2 + y**2).sqrt() - 0.55).abs() * 6)
    red, green, blue = ring, 0.7 * ring + 0.2 * (y + 1) / 2, 0.5 * ring + 0.35 * (x + 1) / 2
    return (torch.stack([red, green, blue], -1).clamp(0, 1) * 255).to(torch.uint8)


def image_case(side: int = 8, **options: object) -> Case:
    options = {
        "title": "Digit 3",
        "prediction": "digit 8 (61.0 %)",
        "truth": "digit 3",
        "score": "log-odds of digit 8",
        "seed": 1,
        **options,
    }
    players = patches((1, side, side), (3, 3))
    return case(players, ImageView(picture(side)), **options)  # pyright: ignore[reportArgumentType]


def blob_case(side: int = 224, **options: object) -> Case:
    """Twelve regions of no simple shape on a larger picture, with a border never hidden."""
    random = np.random.default_rng(4)
    seeds = random.uniform(0.1, 0.9, (12, 2)) * side
    y, x = np.indices((side, side))
    wave = 5 * np.sin(x / 9) + 5 * np.cos(y / 7)
    distance = [(y - a + wave) ** 2 + (x - b + wave) ** 2 for a, b in seeds]
    labels = np.argmin(distance, 0)
    labels[:6] = labels[-6:] = -1
    players = segments(torch.tensor(labels), channels=3)
    options = {
        "title": "Photo 2",
        "prediction": "jellyfish (93 %)",
        "truth": None,
        "score": "log-odds of jellyfish",
        "seed": 2,
        **options,
    }
    return case(players, ImageView(picture(side)), **options)  # pyright: ignore[reportArgumentType]


def text_case(**options: object) -> Case:
    pieces = ("[CLS]", "a", " gor", "geous", ",", " wit", "ty", ",", " sed", "uctive", " movie",
              " that", " never", " quite", " bores", ".")  # fmt: skip
    groups = (None, 0, 1, 1, None, 2, 2, None, 3, 3, 4, 5, 6, 7, 8, None)
    names = ("a", "gorgeous", "witty", "seductive", "movie", "that", "never", "quite", "bores")
    options = {
        "title": "Review 5",
        "prediction": "positive (99.7 %)",
        "truth": "positive",
        "score": "log-odds of positive",
        "seed": 3,
        **options,
    }
    return case(words(groups, names), TextView(pieces), **options)  # pyright: ignore[reportArgumentType]


def shown(page: Any, at: int = 0) -> Any:
    return page.locator(f"#case-{at}")


def number(page: Any, name: str) -> float:
    return float(shown(page).locator(f".number.{name}").get_attribute("data-value"))


def player(page: Any, i: int) -> Any:
    return shown(page).locator(f'[data-player="{i}"]').first


def network(case: Case, place: int) -> float:
    assert case.table is not None
    return float(case.table[place])
