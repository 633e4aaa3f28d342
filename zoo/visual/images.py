"""A user's own picture: as a model sees it, and as it is drawn."""

import os
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from zoo.data.vqa.examples import Images
from zoo.data.vqa.image_files import decode_picture, read_bytes, read_image, squash
from zoo.data.vqa.resizing import Rule
from zoo.errors import InputError

Path = str | os.PathLike[str]
_SIDE = 2_000  # pixels; to no fewer is a large JPEG decoded


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
        return squash(_from_pixels(picture), height, width)
    return read_image(picture, height, width)


def _from_pixels(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InputError(
            f"pixels of {pixels.dtype} and shape {pixels.shape}; give uint8 of "
            "shape [Y, X, 3]"
        )
    return Image.fromarray(pixels)


@runtime_checkable
class Sight(Protocol):
    """How a model sees pictures.

    Attributes:
        image_shape: of every image; None where it differs from picture to picture.
    """

    @property
    def image_shape(self) -> tuple[int, ...] | None: ...

    def see(self, picture: Any) -> np.ndarray:
        """Returns a picture as the model wants it."""
        ...

    def see_all(self, images: Images) -> Images:
        """Returns the images of a data set, likewise."""
        ...


@dataclass(frozen=True)
class OneShape:
    """The sight of a model that was trained on images of one shape.

    Attributes:
        image_shape: [Y, X, C] of pixels, or [R, D] of the features of regions.
    """

    image_shape: tuple[int, ...]

    def see(self, picture: Any) -> np.ndarray:
        """Returns a picture squashed to the shape, or features as they are."""
        if len(self.image_shape) == 3:
            height, width, _ = self.image_shape
            return as_image(picture, height, width)
        if np.shape(picture)[1:] != self.image_shape[1:]:
            raise InputError(
                f"the model takes features of regions, [R, {self.image_shape[1]}], and "
                f"no {type(picture).__name__} of shape {np.shape(picture)}"
            )
        return np.asarray(picture, np.float32)

    def see_all(self, images: Images) -> Images:
        """Returns the images of a data set, which have the shape already."""
        return images


@dataclass(frozen=True)
class Resized:
    """The sight of a model that others have trained, with their rule for pictures."""

    rule: Rule
    image_shape = None

    def see(self, picture: Path | np.ndarray) -> UInt8[np.ndarray, "Y X 3"]:
        """Returns the picture of a file, or of pixels, in the shape of the rule."""
        if isinstance(picture, np.ndarray):
            return self.rule(_from_pixels(picture))
        return self.rule(decode_picture(read_bytes(picture), str(picture), _SIDE))

    def see_all(self, images: Images) -> Images:
        """Returns the images of a data set, each resized when it is asked for."""
        return ResizedImages(images, self)


@dataclass(frozen=True)
class ResizedImages:
    """Images of one shape that come in another."""

    images: Images
    sight: Resized

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of images, and the shape of the first."""
        return len(self.images), *self[0].shape

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> np.ndarray:
        return self.sight.see(self.images[number])


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
