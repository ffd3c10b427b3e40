"""Open a program of torch.export."""

import logging
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from unmask.run.models.batches import in_fitting_batches
from unmask.run.models.opened import Opened, digest_of_file


class ExportedModel(nn.Module):
    """An exported program that takes any number of rows.

    Args:
        program: its module.
        smallest: rows that a call needs at least.
        largest: rows that a call takes at most; None for any number.
    """

    def __init__(self, program: nn.Module, smallest: int, largest: int | None):
        super().__init__()
        self.program = program
        self.smallest = smallest
        self.largest = largest
        self.training = False  # an exported program has no modes to switch

    def forward(self, x: Tensor) -> Tensor:
        return in_fitting_batches(self.program, x, self.smallest, self.largest)


def open_exported(path: Path) -> Opened:
    """Open a `.pt2` program with one input tensor.

    Weights are read as plain tensors; an archive that holds pickled objects is refused. The
    program itself is code all the same: open only what you would also run.

    Args:
        path: the file.
    """
    _refuse_objects(path)
    try:
        with _only_tensors():
            program = torch.export.load(path)
    except Exception as error:
        reason = " ".join(str(error).partition("Please check the warnings")[0].split())[:200]
        raise ValueError(
            f"'{path}' is no program that torch.export can load here (torch "
            f"{torch.__version__}): {reason.rstrip('.') or type(error).__name__}. "
            "Export the model anew."
        ) from error
    names = program.graph_signature.user_inputs
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    values = [nodes[name].meta.get("val") if isinstance(name, str) else name for name in names]
    if len(values) != 1 or not isinstance(values[0], Tensor) or values[0].ndim == 0:
        raise ValueError(
            f"A model takes one batch of inputs, but the program '{path}' takes {len(values)} "
            f"arguments ({', '.join(map(str, names))}). Export a module that takes one tensor, "
            "with the batch as its first axis."
        )
    value = values[0]
    smallest, largest = _batch_range(program, value.shape[0])
    shape = tuple(size if isinstance(size, int) else None for size in value.shape[1:])
    notes = []
    if smallest == largest:
        notes.append(
            f"The program was exported for batches of {smallest}; rows are run {smallest} at a "
            "time. Export it with a dynamic batch to run faster."
        )
    model = ExportedModel(program.module(), smallest, largest)
    return Opened(
        model,
        digest_of_file(path),
        shape=shape,
        dtype=value.dtype,
        notes=tuple(notes),
        source=str(path.resolve()),
    )


def _batch_range(program: torch.export.ExportedProgram, size: object) -> tuple[int, int | None]:
    """The sizes of batch that a program takes."""
    if isinstance(size, int):
        return size, size
    found = program.range_constraints.get(size.node.expr)  # pyright: ignore[reportAttributeAccessIssue]
    if found is None:
        return 1, None
    upper = int(found.upper) if found.upper.is_Integer and found.upper < 2**31 else None
    return max(1, int(found.lower)), upper


def _refuse_objects(path: Path) -> None:
    """An archive may hold pickled Python objects beside its tensors; such a one is not opened."""
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"'{path}' is no .pt2 archive: it is cut short or of another kind. "
            "Write it with torch.export.save."
        )
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.rpartition("/")[2].startswith(("custom_obj_", "opaque_obj_")):
                raise ValueError(
                    f"The program '{path}' holds a pickled object ('{name}'), which could run any "
                    "code when it is read. Export a model of tensors only, or give "
                    "package.module:function."
                )


@contextmanager
def _only_tensors() -> Iterator[None]:
    """torch.export.load unpickles some tensors; let it read nothing but tensors that way."""
    key = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    log = logging.getLogger("torch.export")
    silent = log.disabled
    os.environ[key] = "1"
    log.disabled = True  # it writes a traceback of what is told in one line
    try:
        yield
    finally:
        log.disabled = silent
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before
