"""Pictures as inputs."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unmask.run.inputs.material import Material
from unmask.run.models.opened import Opened, digest_of_file

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")


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
    grey = channels == 1
    images: dict[int, Tensor] = {}
    unreadable: dict[int, str] = {}
    for i, file in enumerate(files):
        try:
            images[i] = _read(file, height, width, grey).to(opened.dtype)
        except ValueError as error:
            unreadable[i] = str(error)
    if not images:
        raise ValueError(unreadable[0])
    shapes = {tuple(image.shape) for image in images.values()}
    if len(shapes) > 1:
        raise ValueError(
            f"The pictures differ in size: {', '.join(map(str, sorted(shapes)))}. "
            "Bring them to one, such as --size 224x224."
        )
    digest = hashlib.sha256("".join(map(digest_of_file, files)).encode()).hexdigest()
    return Material(
        kind="image",
        inputs=[images.get(i, next(iter(images.values()))) for i in range(len(files))],
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
