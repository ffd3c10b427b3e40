"""Real data and given weights, read from the folder that UNMASK_DATA names."""

import csv
import gzip
import io
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from unmask.zoo.tokenizer import Tokenizer

VARIABLE = "UNMASK_DATA"
"""The environment variable that says where the data are."""


def data_file(path: str) -> Path:
    """A file of the folder of real data."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        raise ValueError(
            f"Real data are needed ({path}), but the environment variable {VARIABLE} is not set. "
            f"Set {VARIABLE} to the folder that holds them; breast_cancer and digits need none."
        )
    if not Path(folder).is_dir():
        raise ValueError(
            f"{VARIABLE} must name a folder, but {folder!r} is none. Set it to the folder of the "
            "real data; breast_cancer and digits need none."
        )
    file = Path(folder, path)
    if not file.is_file():
        raise ValueError(
            f"The folder of real data has no {path}: {str(file)!r} is no file. "
            f"Put it there, or set {VARIABLE} to the folder that holds it."
        )
    return file


def weights(path: str) -> dict[str, Tensor]:
    """Tensors by name."""
    file = data_file(path)
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise _missing("safetensors", "given weights") from None
    return load_file(file)


def mnist_digits(part: str) -> tuple[UInt8[Tensor, "batch 28 28"], Int[Tensor, " batch"]]:
    """Handwritten digits of 28 x 28 pixels, ink high, in their original order.

    Args:
        part: "train" (60,000) or "t10k" (10,000).
    """
    images = gzip.decompress(data_file(f"mnist/{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress(data_file(f"mnist/{part}-labels-idx1-ubyte.gz").read_bytes())
    return (
        torch.tensor(np.frombuffer(images, np.uint8, offset=16)).view(-1, 28, 28),
        torch.tensor(np.frombuffer(labels, np.uint8, offset=8)).long(),
    )


def cifar10_test() -> tuple[UInt8[Tensor, "batch 3 32 32"], Int[Tensor, " batch"], tuple[str, ...]]:
    """The first 1,000 test images of CIFAR-10, their classes, and the names of these."""
    with np.load(data_file("cifar10/cifar10_exact_4k.npz")) as file:
        images = torch.tensor(file["x_test"]).permute(0, 3, 1, 2).contiguous()
        return images, torch.tensor(file["y_test"]).long(), tuple(map(str, file["classes"]))


def cifar10_train() -> tuple[
    UInt8[Tensor, "batch 3 32 32"], Int[Tensor, " batch"], tuple[str, ...]
]:
    """The first 4,000 training images of CIFAR-10, their classes, and the names of these."""
    with np.load(data_file("cifar10/cifar10_exact_4k.npz")) as file:
        images = torch.tensor(file["x_train"]).permute(0, 3, 1, 2).contiguous()
        return images, torch.tensor(file["y_train"]).long(), tuple(map(str, file["classes"]))


def scanned_objects() -> tuple[
    Float[Tensor, "batch points 3"], Int[Tensor, " batch"], Bool[Tensor, " batch"], tuple[str, ...]
]:
    """Clouds of 1,024 points, what they are of, which are to test on, and the names of the classes.

    They are cut out of laser scans from the air, in metres about their centre. Points of clouds
    that have fewer come twice.
    """
    with np.load(data_file("pointclouds/dales_objects.npz")) as file:
        return (
            torch.tensor(file["points"]),
            torch.tensor(file["label"]).long(),
            torch.tensor(file["is_test"]),
            tuple(map(str, file["classes"])),
        )


def adult_rows() -> list[dict[str, str]]:
    """People of the US census of 1994: fourteen columns, income and split, as text."""
    with gzip.open(data_file("tabular/adult.csv.gz"), "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def house_rows() -> list[dict[str, str]]:
    """Block groups of the Californian census of 1990: nine columns and a category, as text."""
    file = data_file("tabular/california_housing.csv.gz")
    with gzip.open(file, "rt", encoding="utf-8", newline="") as content:
        return list(csv.DictReader(content))


def sentiments(part: str) -> list[tuple[list[str], int]]:
    """Texts of SST-2 as words, with 1 for praise and 0 for blame.

    Args:
        part: "train_phrases", "train_sentences", "dev" or "test".
    """
    with gzip.open(data_file(f"sst2/{part}.tsv.gz"), "rt", encoding="utf-8", newline="") as file:
        next(file)
        rows = (line.rstrip("\r\n").split("\t") for line in file)
        return [(text.split(), int(label)) for text, label in rows]


@dataclass(frozen=True)
class Photo:
    """A photo, and what is known of it.

    Args:
        image: red, green and blue from 0 to 1.
        label: its ImageNet class, where a person gave it one.
        reference: the class that SqueezeNet chose when the photos were gathered.
        probability: of that class.
    """

    image: Float[Tensor, "3 227 227"]
    label: int | None
    reference: int
    probability: float


def photos() -> Iterator[Photo]:
    """Photos, resized to 256 x 256 pixels and cropped to the middle 227 x 227."""
    file = data_file("imagenet_like/photos.zip")
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise _missing("pillow", "photos") from None
    with zipfile.ZipFile(file) as archive:
        index = io.TextIOWrapper(archive.open("index.csv"), encoding="utf-8", newline="")
        for row in csv.DictReader(index):
            with Image.open(io.BytesIO(archive.read(row["file"]))) as content:
                photo = content.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR)
            pixels = torch.tensor(np.asarray(photo))[14:241, 14:241]
            yield Photo(
                image=pixels.permute(2, 0, 1).float() / 255,
                label=int(row["label_index"]) if row["label_index"] else None,
                reference=int(row["squeezenet_top1"]),
                probability=float(row["squeezenet_p"]),
            )


def imagenet_classes() -> tuple[str, ...]:
    """Short names of the thousand classes."""
    file = data_file("imagenet_like/imagenet_classes.csv")
    with file.open(encoding="utf-8", newline="") as lines:
        return tuple(row["simple_name"] for row in csv.DictReader(lines))


def story_tokenizer() -> Tokenizer:
    """The tokenizer of the story-telling language model."""
    text = data_file("weights/stories260K_tokenizer.json").read_text(encoding="utf-8")
    content = json.loads(text)
    return Tokenizer(tuple(content["tokens"]), tuple(content["scores"]))


def _missing(package: str, what: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(
        f"Reading {what} needs {package}, which is not installed. "
        "Install the extra: pip install 'unmask[app]'."
    )
