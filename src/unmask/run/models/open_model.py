"""Open a model from the name that a user gives it. Nothing is ever unpickled."""

import importlib
import os
import sys
from pathlib import Path

import torch
from torch import nn

from unmask.run.models.opened import Opened, digest_of_module, dtype_of
from unmask.run.nearest import nearest
from unmask.zoo import Exhibit

_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib")


def open_model(name: str) -> Opened:
    """Open `package.module:function`, a `.pt2` or `.onnx` file, or a folder of weights.

    A module or a `.pt2` program is code: open only what you would also run.

    Args:
        name: as the user gives it.
    """
    path = Path(name)
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise ValueError(
            f"'{name}' is a pickle, which could run any code when it is read. Export the model "
            "with torch.export.save(torch.export.export(model, (x,)), 'model.pt2'), or give "
            "package.module:function for a function that builds it and loads its weights."
        )
    if suffix in (".pt2", ".onnx") or path.is_dir():
        if not path.exists():
            raise ValueError(
                f"There is no model at '{name}', seen from '{Path.cwd()}'. Check the path."
            )
        if path.is_dir():
            from unmask.run.models.open_transformers import open_transformers

            return open_transformers(path)
        if suffix == ".pt2":
            from unmask.run.models.open_exported import open_exported

            return open_exported(path)
        from unmask.run.models.open_onnx import open_onnx

        return open_onnx(path)
    module, colon, function = name.partition(":")
    if not (colon and module and function) or path.exists():
        raise ValueError(
            f"'{name}' is no model that can be opened. Give package.module:function, a .pt2 "
            "program, an .onnx file, or a folder with a transformers model in safetensors."
        )
    return _from_function(name, module, function)


def _from_function(name: str, module_name: str, function_name: str) -> Opened:
    dotted = ".".join(part for part in Path(module_name.removesuffix(".py")).parts if part != ".")
    if dotted != module_name and all(part.isidentifier() for part in dotted.split(".")):
        raise ValueError(
            f"The model '{name}' names a file, but a module is wanted. "
            f"Write it with dots: {dotted}:{function_name}."
        )
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever the user's code may raise
        raise ValueError(
            f"The module {module_name!r} of the model '{name}' does not import: "
            f'{type(error).__name__}: {error}. Run `python -c "import {module_name}"` in '
            f"'{here}' to see where."
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        callables = [
            key
            for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module.__name__
        ]
        raise ValueError(
            f"The module {module_name!r} has no function {function_name!r}. "
            f"{nearest(function_name, (key for key in callables if key[0] != '_'))}"
        )
    try:
        made = function()
    except ValueError:
        raise
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"The function {name} raised {type(error).__name__}: {error}. Call it from Python to "
            "see where; it must need no arguments."
        ) from error
    if isinstance(made, Exhibit):
        return _from_exhibit(made)
    if isinstance(made, nn.Module):
        made.eval()
        return Opened(made, digest_of_module(made), dtype=dtype_of(made))
    raise TypeError(
        f"{name} returned a {type(made).__name__}. Let the function return an nn.Module (or an "
        "Exhibit of unmask.zoo), with its weights loaded."
    )


def _from_exhibit(exhibit: Exhibit) -> Opened:
    from unmask.run.models.open_exhibit import text_reader

    x = exhibit.inputs[0]
    read_text, blank = text_reader(exhibit)
    with torch.no_grad():
        causal = exhibit.model(x[None]).ndim == 3
    return Opened(
        exhibit.model,
        digest_of_module(exhibit.model),
        classes=tuple(map(repr, exhibit.classes)) if causal else exhibit.classes,
        shape=tuple(x.shape) if x.is_floating_point() else None,
        dtype=x.dtype,
        exhibit=exhibit,
        read_text=read_text,
        blank=blank,
        causal=causal,
    )
