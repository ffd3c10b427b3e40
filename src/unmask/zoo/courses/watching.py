"""The logic of a network at every checkpoint of its training, found once and kept on disk."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from unmask.interactions import Snapshot, and_or_games
from unmask.lattice import coalitions, indices
from unmask.results import Interactions
from unmask.zoo.cache import kept
from unmask.zoo.courses.course import Course, Sample
from unmask.zoo.courses.teaching import taught
from unmask.zoo.training import fresh

PRECISION = 2e-2
"""The gap of the explanations: to compare orders, nearly the sparsest terms do."""
VERSION = 1
"""Of the file; another number makes files of before unfit."""


def watched(course: Course, seed: int = 0) -> tuple[Snapshot, ...]:
    """Train a network and explain the samples of its course at every checkpoint.

    The samples are the course's in their order. The effects are rounded to single precision, in
    which they are kept on disk: the second time nothing is trained. What the file of the cache is
    named after is all that decides on its content, but for the versions of packages.

    Args:
        course: what is learned.
        seed: of the weights and of the order of the data.
    """
    found = _history(course, seed)
    return tuple(
        Snapshot(
            step,
            _terms(found, f"{step}", course.samples),
            found[f"{step} train"],
            found[f"{step} test"],
        )
        for step in course.settings.checkpoints
    )


def finished(course: Course, seed: int = 0) -> nn.Module:
    """The network at the end of its course, in evaluation mode.

    Args:
        course: what is learned.
        seed: of the weights and of the order of the data.
    """
    found = _history(course, seed)
    model = fresh(course.make, seed)
    named = {name: found[f"model {name}"] for name in model.state_dict()}
    model.load_state_dict(named)
    return model


def explained(
    model: nn.Module, samples: Sequence[Sample], precision: float = PRECISION
) -> tuple[Interactions, ...]:
    """The sparsest AND-OR terms of a network on some samples.

    Args:
        model: the network, in evaluation mode.
        samples: with equally many players.
        precision: the gap at which to stop.
    """
    return and_or_games([sample.game(model) for sample in samples], precision=precision)


def _history(course: Course, seed: int) -> Mapping[str, Tensor]:
    """All that was found in the training, by name."""
    model = fresh(course.make, seed)
    key: dict[str, Tensor] = {"inputs": course.inputs, "labels": course.labels}
    key |= {"test inputs": course.test_inputs, "test labels": course.test_labels}
    for place, sample in enumerate(course.samples):
        key[f"sample {place}"] = sample.input
        key[f"owner {place}"] = sample.players.owner
        key[f"baseline {place}"] = sample.baseline
        key[f"target {place}"] = torch.tensor(sample.target)
    key |= model.state_dict()
    text = f"{VERSION} {seed} {course.settings} {PRECISION} {model}"

    def found() -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for checkpoint in taught(course, seed):
            terms = explained(checkpoint.model, course.samples)
            tensors |= _packed(f"{checkpoint.step}", terms)
            tensors[f"{checkpoint.step} train"] = checkpoint.train_losses
            tensors[f"{checkpoint.step} test"] = checkpoint.test_losses
            if checkpoint.step == course.settings.steps:
                weights = checkpoint.model.state_dict()
                tensors |= {f"model {name}": weight for name, weight in weights.items()}
        return tensors

    return kept(f"{course.name}-{seed}", key, text, found)


def _packed(name: str, terms: Sequence[Interactions]) -> dict[str, Tensor]:
    """The terms of all samples, one after the other."""
    return {
        f"{name} counts": torch.tensor([len(one.effects) for one in terms]),
        f"{name} members": torch.cat([indices(one.members) for one in terms]).int(),
        f"{name} is_or": torch.cat([one.is_or for one in terms]),
        f"{name} effects": torch.cat([one.effects for one in terms]).float(),
        f"{name} empty": torch.tensor([one.empty for one in terms], dtype=torch.float64),
        f"{name} gap": torch.tensor([one.gap or 0.0 for one in terms], dtype=torch.float64),
    }


def _terms(
    found: Mapping[str, Tensor], name: str, samples: Sequence[Sample]
) -> tuple[Interactions, ...]:
    counts = found[f"{name} counts"].tolist()
    parts = zip(
        samples,
        found[f"{name} members"].long().split(counts),
        found[f"{name} is_or"].split(counts),
        found[f"{name} effects"].double().split(counts),
        found[f"{name} empty"].tolist(),
        found[f"{name} gap"].tolist(),
        strict=True,
    )
    masks = coalitions(len(samples[0].players.names))
    return tuple(
        Interactions(
            members=masks[place],
            is_or=is_or,
            effects=effects,
            empty=empty,
            names=sample.players.names,
            gap=gap,
            evaluations=len(masks),
        )
        for sample, place, is_or, effects, empty, gap in parts
    )
