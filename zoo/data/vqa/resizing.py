"""How a picture comes to the shape that a model was trained on: one rule a family.

A rule takes an RGB picture of any size and returns its pixels, 0 … 255. The rules are
those of Hugging Face's image processors, whose numbers stand in a directory's
preprocessor_config.json, with Pillow's own resampling, so that the pixels are the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Rule = Callable[[Image.Image], UInt8[np.ndarray, "Y X 3"]]


@dataclass(frozen=True)
class Squash:
    """Every picture gets one height and one width, whatever its proportions (ViT).

    >>> Squash(height=224, width=224)(Image.new("RGB", (640, 480))).shape
    (224, 224, 3)

    Attributes:
        resample: how Pillow interpolates, one of `PIL.Image.Resampling`.
    """

    height: int
    width: int
    resample: int = Image.Resampling.BICUBIC

    def __call__(self, picture: Image.Image) -> UInt8[np.ndarray, "Y X 3"]:
        """Returns the pixels of the whole picture."""
        return _resized(picture, self.height, self.width, self.resample)


@dataclass(frozen=True)
class CropCentre:
    """The middle of the picture, after its shorter side was resized (CLIP).

    >>> crop = CropCentre(shorter=224, height=224, width=224)
    >>> crop(Image.new("RGB", (640, 480))).shape
    (224, 224, 3)

    Attributes:
        shorter: side, in pixels, before the crop.
        height: of what is kept; at most `shorter`.
        width: likewise.
        resample: as in `Squash`.
    """

    shorter: int
    height: int
    width: int
    resample: int = Image.Resampling.BICUBIC

    def __call__(self, picture: Image.Image) -> UInt8[np.ndarray, "Y X 3"]:
        """Returns the pixels of the middle."""
        least = min(picture.size)
        width, height = (int(self.shorter * side / least) for side in picture.size)
        pixels = _resized(picture, height, width, self.resample)
        top, left = (height - self.height) // 2, (width - self.width) // 2
        return pixels[top : top + self.height, left : left + self.width]


@dataclass(frozen=True)
class FitMultiples:
    """The whole picture nearly in its proportions, in whole patches (ViLT).

    The shorter side becomes `shorter`, unless the longer one would be more than 5/3 of
    that (1,333 to 800, as of pictures in COCO); then both sides are rounded down to
    multiples, but to no less than one.

    >>> FitMultiples(shorter=384, multiple=32)(Image.new("RGB", (800, 500))).shape
    (384, 608, 3)

    Attributes:
        multiple: of which both sides are, in pixels.
        resample: as in `Squash`.
    """

    shorter: int
    multiple: int
    resample: int = Image.Resampling.BICUBIC

    def __call__(self, picture: Image.Image) -> UInt8[np.ndarray, "Y X 3"]:
        """Returns the pixels of the whole picture."""
        longest = int(1333 / 800 * self.shorter)
        scale = self.shorter / min(picture.size)
        sides = [
            self.shorter if side == min(picture.size) else scale * side
            for side in picture.size
        ]
        if max(sides) > longest:
            scale = longest / max(sides)
            sides = [scale * side for side in sides]
        width, height = (
            max(int(side + 0.5) // self.multiple, 1) * self.multiple for side in sides
        )
        return _resized(picture, height, width, self.resample)


def together(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
) -> UInt8[np.ndarray, "B Y X 4"]:
    """Returns images of several sizes as one array, padded below and to the right.

    The fourth channel, alpha, is 0 where there is padding and 255 elsewhere.

    >>> wide, high = np.ones((1, 2, 3), np.uint8), np.ones((2, 1, 3), np.uint8)
    >>> together([wide, high])[0, :, :, 3].tolist()
    [[255, 255], [0, 0]]
    """
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    batch = np.zeros((len(images), height, width, 4), np.uint8)
    for row, image in zip(batch, images, strict=True):
        row[: image.shape[0], : image.shape[1], :3] = image
        row[: image.shape[0], : image.shape[1], 3] = 255
    return batch


def _resized(picture, height, width, resample):
    return np.asarray(picture.resize((width, height), Image.Resampling(resample)))
