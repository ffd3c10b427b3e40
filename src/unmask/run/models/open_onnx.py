"""Open an ONNX file: a model that can be asked, but not looked into."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask.run.models.batches import in_fitting_batches
from unmask.run.models.opened import Opened, digest_of_file

_DTYPES = {
    "tensor(float)": torch.float32,
    "tensor(double)": torch.float64,
    "tensor(float16)": torch.float16,
    "tensor(int64)": torch.int64,
    "tensor(int32)": torch.int32,
}


@dataclass(frozen=True)
class OnnxModel:
    """A function of one batch of inputs, computed by onnxruntime on the processor.

    Args:
        session: of onnxruntime.
        source: the name of its input.
        output: the name of the output that is read.
        dtype: of the input.
        batch: the only size of batch that it takes; None for any.
    """

    session: Any
    source: str
    output: str
    dtype: torch.dtype
    batch: int | None

    def __call__(self, x: Tensor) -> Tensor:
        return in_fitting_batches(self._run, x, self.batch or 1, self.batch)

    def _run(self, x: Tensor) -> Tensor:
        array = np.ascontiguousarray(x.detach().cpu().to(self.dtype).numpy())
        (output,) = self.session.run([self.output], {self.source: array})
        return torch.from_numpy(np.array(output)).to(x.device)


def open_onnx(path: Path) -> Opened:
    """Open an ONNX file with one input tensor.

    Args:
        path: the file.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ValueError(
            f"'{path}' needs onnxruntime, which is not installed. "
            "Install it with `pip install 'unmask[app]'`."
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own kinds of error have no public parent
        raise ValueError(
            f"'{path}' is no ONNX model that onnxruntime can run: {_one_line(error)}. "
            "Export the model anew."
        ) from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in _DTYPES:
        found = ", ".join(f"{one.name}: {one.type}" for one in inputs)
        raise ValueError(
            f"A model takes one tensor of numbers, but '{path}' takes ({found}). "
            "Export it with the other inputs built in."
        )
    outputs = [one for one in session.get_outputs() if one.type in _DTYPES]
    floats = [one for one in outputs if _DTYPES[one.type].is_floating_point]
    if not floats:
        found = ", ".join(f"{one.name}: {one.type}" for one in session.get_outputs())
        raise ValueError(
            f"'{path}' returns no tensor of real numbers, but ({found}). "
            "Export it so that it returns scores or logits."
        )
    batch, *shape = [size if isinstance(size, int) else None for size in inputs[0].shape]
    dtype = _DTYPES[inputs[0].type]
    notes = ["The model is an ONNX file: it has no gradients, so gradient methods are left out."]
    if batch is not None:
        notes.append(
            f"The model was exported for batches of {batch}; rows are run {batch} at a time."
        )
    if len(session.get_outputs()) > 1:
        notes.append(f"Of the model's outputs, {floats[0].name!r} is read.")
    model = OnnxModel(session, inputs[0].name, floats[0].name, dtype, batch)
    return Opened(
        model,
        digest_of_file(path),
        shape=tuple(shape) or None,
        dtype=dtype,
        notes=tuple(notes),
        source=str(path.resolve()),
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
