"""Pictures as inputs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unmask.run.inputs.material import Material
from unmask.run.models.opened import Opened, digest_of_file

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")


@dataclass(frozen=True)
class Pictures(Sequence[Tensor]):
    """Pictures that are read whenever they are asked for, so that any number has room.

    Args:
        files: one for each.
        height: in pixels; None for that of the picture.
        width: likewise.
        grey: whether there is one channel.
        dtype: of the pixels.
    """

    files: tuple[Path, ...]
    height: int | None
    width: int | None
    grey: bool
    dtype: torch.dtype

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, place: int) -> Tensor: ...
    @overload
    def __getitem__(self, place: slice) -> "Pictures": ...
    def __getitem__(self, place: int | slice) -> "Tensor | Pictures":
        if isinstance(place, slice):
            return replace(self, files=self.files[place])
        return _read(self.files[place], self.height, self.width, self.grey).to(self.dtype)


def read_images(path: Path, opened: Opened, size: tuple[int, int] | None) -> Material:
    """Read one picture, or all of a folder, as red, green and blue from 0 to 1.

    The shorter side is brought to the size and the middle is cut out, so that nothing is
    distorted. A model that takes one channel is given grey. Pictures of a folder that cannot be
    read are named as such, as long as there are others.

    Args:
        path: a file or a folder.
        opened: the model, which may say the size it takes.
        size: height and width; None for what the model takes, or else as the pictures are.
    """
    files = (
        sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGES)
        if path.is_dir()
        else [path]
    )
    if not files:
        raise ValueError(
            f"The folder '{path}' holds no pictures, but {len(list(path.iterdir()))} other files. "
            f"Give pictures ({', '.join(IMAGES[:4])}, ...), or another folder."
        )
    channels, height, width = _wanted(opened)
    if size is not None:
        height, width = size
    pictures = Pictures(tuple(files), height, width, channels == 1, opened.dtype)
    unreadable: dict[int, str] = {}
    shapes: set[tuple[int, ...]] = set()
    for i in range(len(files)):
        try:
            shapes.add(tuple(pictures[i].shape))
        except ValueError as error:
            unreadable[i] = str(error)
    if not shapes:
        raise ValueError(unreadable[0])
    if len(shapes) > 1:
        raise ValueError(
            f"The pictures differ in size: {', '.join(map(str, sorted(shapes)))}. "
            "Bring them to one, such as --size 224x224."
        )
    first = next(file for i, file in enumerate(files) if i not in unreadable)
    digest = hashlib.sha256("".join(map(digest_of_file, files)).encode()).hexdigest()
    return Material(
        kind="image",
        inputs=replace(
            pictures, files=tuple(first if i in unreadable else one for i, one in enumerate(files))
        ),
        titles=[file.name for file in files],
        truths=[None] * len(files),
        digest=digest,
        unreadable=unreadable,
    )


def _wanted(opened: Opened) -> tuple[int | None, int | None, int | None]:
    if opened.shape is not None and len(opened.shape) == 3:
        return opened.shape[0], opened.shape[1], opened.shape[2]
    return None, None, None


def _read(
    file: Path, height: int | None, width: int | None, grey: bool
) -> Float[Tensor, "channels height width"]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened).convert("L" if grey else "RGB")
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(
            f"'{file}' is no picture that can be read ({error}). Save it as PNG or JPEG."
        ) from None
    if height is not None and width is not None:
        image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image)).float() / 255
    return pixels[None] if grey else pixels.permute(2, 0, 1).contiguous()
