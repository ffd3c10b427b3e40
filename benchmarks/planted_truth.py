"""Which metrics put the truth first: planted networks, their Shapley values, and what rivals say.

Networks of eight inputs whose Shapley values are known by construction. On each, every metric
rates the Shapley values, a random attribution with their sum, and what methods say that is not the
same: gradient, input x gradient, integrated gradients, occlusion, and the Shapley values reversed
in order. In the table stands the share of the networks on which the truth is rated above, with what
ties with it in brackets. Those on which the metric is not defined for the truth are left out and
counted. Prints Markdown.

    OMP_NUM_THREADS=1 python benchmarks/planted_truth.py [networks]
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask import features, logit, masked
from unmask.evaluation import (
    Trial,
    completeness_gap,
    comprehensiveness,
    contribution_fidelity,
    deletion,
    faithfulness_correlation,
    faithfulness_estimate,
    infidelity,
    insertion,
    logic_fidelity,
    monotonicity,
    monotonicity_correlation,
    non_sensitivity,
    on_trial,
    pixel_flipping,
    removal_infidelity,
    sensitivity_n,
    sufficiency,
    surrogate_r2,
)
from unmask.game import Game
from unmask.interactions import and_or
from unmask.methods.saliency import gradient, input_x_gradient, integrated_gradients
from unmask.planted import PlantedNetwork, planted_networks
from unmask.results import Attribution, Rating

NETWORKS = 200
DIFFERENT = 0.02
"""An attribution differs from the truth by more than this share of it, or is no rival. Integrated
gradients are the Shapley values where players come in symmetrically, but for the quadrature."""
NODES = 1024
"""Of integrated gradients, whose error is then far below that."""
TIE = 1e-9
"""Ratings that differ by less, of their own size, tie."""
SHARES = (0.125, 0.25, 0.5, 0.75)
"""Of eight players: one, two, four, six."""


@dataclass(frozen=True)
class Outcome:
    """What a metric says of one network.

    Args:
        kind: of the network.
        verdicts: by rival, 1 where the truth is rated above, 0 where they tie, -1 else.
    """

    kind: str
    verdicts: Mapping[str, int]


Metric = Callable[[PlantedNetwork, Trial, Attribution], Rating]


def _game(network: PlantedNetwork) -> Game:
    players = features(len(network.x))
    return masked(logit(network.network, 0), network.x, players, network.baseline)


def _noise(network: PlantedNetwork) -> Tensor:
    """Rows to take other values from: half of their numbers are hidden."""
    generator = torch.Generator().manual_seed(7)
    kept = torch.rand(16, len(network.x), generator=generator) < 0.5
    return torch.where(kept, network.x, network.baseline)


METRICS: Mapping[str, Metric] = {
    "pixel_flipping": lambda _, trial, a: pixel_flipping(trial, a),
    "deletion": lambda _, trial, a: deletion(trial, a, normalized=False),
    "insertion": lambda _, trial, a: insertion(trial, a, normalized=False),
    "sufficiency": lambda _, trial, a: sufficiency(trial, a, shares=SHARES),
    "comprehensiveness": lambda _, trial, a: comprehensiveness(trial, a, shares=SHARES),
    "faithfulness_correlation": lambda _, trial, a: faithfulness_correlation(trial, a),
    "faithfulness_estimate": lambda _, trial, a: faithfulness_estimate(trial, a),
    "sensitivity_n": lambda _, trial, a: sensitivity_n(trial, a),
    "surrogate_r2": lambda _, trial, a: surrogate_r2(trial, a),
    "removal_infidelity": lambda _, trial, a: removal_infidelity(trial, a),
    "infidelity": lambda network, _, a: infidelity(
        logit(network.network, 0), network.x.expand(a.values.shape), attribution=a
    ),
    "monotonicity": lambda _, trial, a: monotonicity(trial, a),
    "monotonicity_correlation": lambda network, _, a: monotonicity_correlation(
        logit(network.network, 0),
        network.x.expand(a.values.shape),
        attribution=a,
        players=features(len(network.x)),
        data=_noise(network),
    ),
    "completeness_gap": lambda _, trial, a: completeness_gap(trial, a),
    "non_sensitivity": lambda _, trial, a: non_sensitivity(trial, a),
    "logic_fidelity": lambda network, trial, a: logic_fidelity(
        trial, a, terms=[and_or(_game(network))] * len(a.values)
    ),
    "contribution_fidelity": lambda _, trial, a: contribution_fidelity(trial, a),
}


def rivals(network: PlantedNetwork, generator: torch.Generator) -> dict[str, Tensor]:
    """What methods say that is not the truth, and what nobody would say."""
    score, x, baseline = logit(network.network, 0), network.x[None], network.baseline
    n = x.shape[1]
    v = _game(network)(torch.cat([torch.ones(1, n), 1 - torch.eye(n)]).bool())
    drawn = torch.randn(n, generator=generator, dtype=torch.float64)
    fine = integrated_gradients(score, x, baseline=baseline, steps=NODES)
    said = {
        # With the sum of the truth, so that it cannot be told by that.
        "random": drawn + (network.shapley.sum() - drawn.sum()) / n,
        "gradient": gradient(score, x).values[0],
        "input x gradient": input_x_gradient(score, x).values[0],
        "integrated gradients": fine.values[0],
        "occlusion": v[0] - v[1:],
        "reversed": network.shapley.flip(0),
    }
    size = DIFFERENT * network.shapley.abs().sum()
    far = {name: (values - network.shapley).abs().sum() > size for name, values in said.items()}
    return {name: values for name, values in said.items() if far[name]}


def outcomes(
    networks: Sequence[PlantedNetwork],
    generator: torch.Generator,
    metrics: Mapping[str, Metric] = METRICS,
) -> dict[str, list[Outcome]]:
    """For each metric, its verdicts on each network for whose truth it has a meaning."""
    found: dict[str, list[Outcome]] = {name: [] for name in metrics}
    for network in networks:
        others = rivals(network, generator)
        attribution = Attribution(torch.stack([network.shapley, *others.values()]))
        x = network.x.expand(attribution.values.shape)  # all are rated at once
        score = logit(network.network, 0)
        trial = on_trial(score, x, features(len(network.x)), network.baseline)
        for name, metric in metrics.items():
            rating = metric(network, trial, attribution)
            mine, *rest = (rating.values * (1 if rating.higher_is_better else -1)).tolist()
            if mine != mine:
                continue
            verdicts = {}
            for rival, theirs in zip(others, rest, strict=True):
                tied = abs(mine - theirs) <= TIE * max(1.0, abs(mine))
                # What the metric cannot rate at all is not above the truth.
                verdicts[rival] = 0 if tied else 1 if mine > theirs or theirs != theirs else -1
            found[name].append(Outcome(network.kind, verdicts))
    return found


def share(
    rows: Sequence[Outcome], rival: str | None = None, kind: str | None = None
) -> tuple[float, float]:
    """How often the truth is above a rival, or above all of them, and how often not below."""
    signs = [
        [sign for name, sign in row.verdicts.items() if rival in (None, name)]
        for row in rows
        if kind in (None, row.kind)
    ]
    signs = [row for row in signs if row]
    if not signs:
        return float("nan"), float("nan")
    above = sum(min(row) == 1 for row in signs) / len(signs)
    return above, sum(min(row) >= 0 for row in signs) / len(signs)


def told(pair: tuple[float, float]) -> str:
    above, not_below = (f"{100 * one:.0f}" if one == one else "-" for one in pair)
    return above if above == not_below else f"{above} ({not_below})"


def main(count: int) -> None:
    networks = planted_networks(count, torch.Generator().manual_seed(0))
    found = outcomes(networks, torch.Generator().manual_seed(1))
    columns = ["random", "gradient", "input x gradient", "integrated gradients", "occlusion"]
    print(f"{count} networks; per cent on which the truth is rated above (not below).\n")
    print("| metric |", " | ".join([*columns, "reversed", "every one", "networks"]), "|")
    print("|---" * (len(columns) + 4) + "|")
    for name, rows in found.items():
        cells = [told(share(rows, rival)) for rival in (*columns, "reversed", None)]
        print(f"| `{name}` |", " | ".join([*cells, str(len(rows))]), "|")
    print("\nAbove every one, by kind of network.\n")
    kinds = ["linear", "AND-OR", "majority", "ReLU"]
    print("| metric |", " | ".join(kinds), "|")
    print("|---" * (len(kinds) + 1) + "|")
    for name, rows in found.items():
        print(f"| `{name}` |", " | ".join(told(share(rows, None, kind)) for kind in kinds), "|")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else NETWORKS)
