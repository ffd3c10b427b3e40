"""A plan: which model is explained on which inputs, and how. It says all that a run depends on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Options = Mapping[str, Any]
"""Named values of the kinds that TOML knows; lists are tuples here, so that plans compare."""

OWN = "given"
"""The choice that leaves score, players or baseline to a model that brings its own."""

PRECISIONS = ("bfloat16", "float16")
"""What a model may compute in besides its own, as PyTorch calls it."""


@dataclass(frozen=True)
class Choice:
    """One way among several, with its options, such as patches with a grid of 3 x 4.

    Args:
        name: the way.
        options: what it is told.
    """

    name: str
    options: Options = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Where inputs come from: a file, texts in the plan, or (neither) the model's own examples.

    Args:
        file: a table, an array, an image, a folder of images or a text file.
        text: the texts themselves.
        label: the column of a table that holds the truth and is no input.
        size: height and width that images are brought to.
    """

    file: str | None = None
    text: tuple[str, ...] = ()
    label: str | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Plan:
    """Everything that a run depends on.

    Args:
        model: `package.module:function`, a `.pt2` or `.onnx` file, or a folder of weights.
        inputs: where they come from.
        score: which number is read from the model's output.
        players: the parts that can be hidden.
        baseline: what stands where they are hidden.
        methods: name -> options.
        rows: which inputs, counted from 0; None for all.
        seed: for methods that draw at random.
        batch_size: inputs in one call of the model; None leaves it to the processor's cache.
        checkpoints: files with weights of the model at several steps of its training, whose terms
            are followed; none explains the model as it is opened.
        held_out: inputs that the model did not learn from, whose losses are set beside those of
            `inputs` at every checkpoint.
        budget: forward passes that following the checkpoints may cost; None for any number.
        store: where the tables of terms and attributions are put, a path or an address such as
            s3://bucket/run; None for the run folder.
        device: where the model computes, such as cuda; None for where it is opened.
        precision: bfloat16 or float16 for mixed precision of the model; None for its own.
    """

    model: str
    inputs: Source
    score: Choice
    players: Choice
    baseline: Choice
    methods: Mapping[str, Options]
    rows: tuple[int, ...] | None = None
    seed: int = 0
    batch_size: int | None = None
    checkpoints: tuple[str, ...] = ()
    held_out: Source | None = None
    budget: int | None = None
    store: str | None = None
    device: str | None = None
    precision: str | None = None


def differences(one: Plan, other: Plan) -> tuple[str, ...]:
    """The keys in which two plans differ."""
    return tuple(
        key for key in Plan.__dataclass_fields__ if getattr(one, key) != getattr(other, key)
    )
