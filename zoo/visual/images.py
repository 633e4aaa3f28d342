"""A user's own picture: as a model sees it, and as it is drawn."""

import os

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from zoo.data.vqa.image_files import decode_picture, read_bytes, read_image, squash
from zoo.errors import InputError

Path = str | os.PathLike[str]


def as_image(
    picture: Path | np.ndarray, height: int, width: int
) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """Returns a picture as a model sees it: in RGB, squashed to the model's shape.

    Training pictures are squashed too. Letterboxing would show the model borders, and
    cropping would hide what the question may be about.

    Args:
        picture: the path of a PNG, JPEG or WebP of any size, palette, transparency and
            orientation; or its RGB pixels.

    Raises:
        InputError: the file cannot be read, is no picture, damaged or huge.
    """
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise InputError(
                f"pixels of {picture.dtype} and shape {picture.shape}; give uint8 of "
                "shape [Y, X, 3]"
            )
        return squash(Image.fromarray(picture), height, width)
    return read_image(picture, height, width)


def for_drawing(path: Path, longest: int = 640) -> UInt8[np.ndarray, "Y X 3"]:
    """Returns the picture of a file in its own proportions, not too large for a page.

    Args:
        longest: the longer side, in pixels, of a picture that is larger.

    Raises:
        InputError: as `as_image`.
    """
    picture = decode_picture(read_bytes(path), str(path), longest)
    picture.thumbnail((longest, longest))
    return np.asarray(picture)
