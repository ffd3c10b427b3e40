"""Arrays as inputs: the first axis counts them."""

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unmask.run.inputs.material import Material, in_dtype, named
from unmask.run.models.opened import Opened
from unmask.run.nearest import nearest


def read_arrays(path: Path, opened: Opened, label: str | None, digest: str) -> Material:
    """Read `.npy`, `.npz` or `.safetensors`. In a file of several arrays the inputs are called x.

    Args:
        path: the file.
        opened: the model, which says what type of number it takes.
        label: the array of the file that holds the truth.
        digest: of the file.
    """
    arrays = _safetensors(path) if path.suffix == ".safetensors" else _numpy(path)
    if label is not None and label not in arrays:
        raise ValueError(f"'{path}' has no array {label!r}. {nearest(label, arrays)}")
    truths = None if label is None else arrays.pop(label).flatten().tolist()
    name = "x" if "x" in arrays else next(iter(arrays), "")
    if len(arrays) != 1 and name != "x":
        raise ValueError(
            f"'{path}' holds {len(arrays)} arrays ({', '.join(arrays)}), and none is called 'x'. "
            "Name the inputs 'x', or keep them alone in the file."
        )
    x = arrays[name]
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(
            f"The array in '{path}' has the shape {tuple(x.shape)}. "
            "Give at least one input, with the inputs along the first axis: [inputs, columns]."
        )
    if x.is_floating_point() or opened.dtype.is_floating_point:
        x = in_dtype(path, x, opened.dtype)
    if truths is not None and len(truths) != len(x):
        raise ValueError(
            f"There are {len(x)} inputs but {len(truths)} labels in {label!r}. Give one per input."
        )
    columns = tuple(f"column {i + 1}" for i in range(x.shape[1])) if x.ndim == 2 else ()
    return Material(
        kind="table" if x.ndim == 2 else "image",
        inputs=tuple(x),
        titles=[f"row {i}" for i in range(len(x))],
        truths=[
            None if truths is None else named(str(truths[i]), opened.classes) for i in range(len(x))
        ],
        digest=digest,
        columns=columns,
    )


def _numpy(path: Path) -> dict[str, Tensor]:
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (ValueError, EOFError, zipfile.BadZipFile, OSError) as error:
        if "pickle" in str(error).lower() or "object" in str(error).lower():
            raise ValueError(
                f"'{path}' is a pickle or holds an array of Python objects, which could run any "
                "code when it is read. Save plain numbers: np.save(path, x.astype('float32'))."
            ) from None
        raise ValueError(
            f"'{path}' is no {path.suffix} file that can be read ({error}): it is cut short or of "
            "another kind. Write it anew with np.save."
        ) from None
    numbers = {}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise ValueError(
                f"The array {name!r} in '{path}' holds {array.dtype}, not numbers. "
                "Save it as float32."
            )
        native = array.astype(array.dtype.newbyteorder("="))
        wide = {"uint16": "int32", "uint32": "int64", "uint64": "int64", "float128": "float64"}
        numbers[name] = torch.from_numpy(native.astype(wide.get(native.dtype.name, native.dtype)))
    return numbers


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"'{path}' is no safetensors file ({error}): it is cut short or of another kind. "
            "Write it anew with safetensors.torch.save_file."
        ) from None
