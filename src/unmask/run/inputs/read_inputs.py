"""Read what is to be explained: tables, arrays, images or texts. Nothing is ever unpickled."""

import hashlib
from pathlib import Path

from unmask.run.inputs.material import Material
from unmask.run.inputs.read_arrays import read_arrays
from unmask.run.inputs.read_images import IMAGES, read_images
from unmask.run.inputs.read_tables import read_table
from unmask.run.inputs.read_texts import read_texts
from unmask.run.models.opened import Opened, digest_of_file
from unmask.run.nearest import nearest
from unmask.run.plan import Source

ARRAYS = (".npy", ".npz", ".safetensors")
TABLES = (".csv", ".tsv", ".parquet")


def read_inputs(source: Source, opened: Opened) -> Material:
    """Read inputs for a model.

    Args:
        source: where they come from.
        opened: the model, which says what it takes.
    """
    if source.text:
        return read_texts(
            source.text, opened, hashlib.sha256(repr(source.text).encode()).hexdigest()
        )
    if source.file is None:
        return _brought(opened)
    path = Path(source.file)
    if not path.exists():
        near = [str(other) for other in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(str(path), near) if near else "Check the path."
        raise ValueError(f"There are no inputs at '{path}', seen from '{Path.cwd()}'. {hint}")
    suffix = path.suffix.lower()
    pictures = path.is_dir() or suffix in IMAGES
    if source.size is not None and not pictures:
        raise ValueError(f"'{path}' holds no pictures, so it has no size. Leave out --size.")
    if source.label is not None and (pictures or suffix == ".txt"):
        raise ValueError(
            f"'{path}' has no column {source.label!r}: only tables and arrays have. "
            "Leave out --label."
        )
    if pictures:
        return read_images(path, opened, source.size)
    digest = digest_of_file(path)
    if suffix == ".txt":
        return read_texts(_lines(path), opened, digest)
    if suffix in TABLES:
        return read_table(path, opened, source.label, digest)
    if suffix in ARRAYS:
        return read_arrays(path, opened, source.label, digest)
    if suffix in (".pkl", ".pickle", ".pt", ".pth", ".joblib"):
        raise ValueError(
            f"'{path}' is a pickle, which could run any code when it is read. "
            "Save the inputs as .npy, .csv, .parquet or .safetensors."
        )
    raise ValueError(
        f"Inputs of the kind {suffix!r} ('{path}') are unknown. Give a .csv, .parquet, .npy, .npz, "
        ".safetensors, .txt or image file, or a folder of images."
    )


def _brought(opened: Opened) -> Material:
    """The examples that an exhibit of the zoo brings along."""
    exhibit = opened.exhibit
    if exhibit is None:
        raise ValueError(
            "There are no inputs: the plan names none, and the model brings none along. "
            "Give a file, or a text."
        )
    labels = exhibit.labels
    return Material(
        kind="given",
        inputs=exhibit.inputs,
        titles=[f"{exhibit.name.replace('_', ' ')} {i}" for i in range(len(exhibit.inputs))],
        truths=[
            None if labels is None else opened.class_name(labels[i])
            for i in range(len(exhibit.inputs))
        ],
        digest=hashlib.sha256(exhibit.name.encode()).hexdigest(),
    )


def _lines(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}' is not in UTF-8 ({error}). Save it as UTF-8.") from None
    texts = tuple(line.strip() for line in lines if line.strip())
    if not texts:
        raise ValueError(f"'{path}' holds no text: {len(lines)} empty lines. Write one per line.")
    return texts
