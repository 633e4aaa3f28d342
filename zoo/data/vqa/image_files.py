"""Pictures and features of regions in files, each read when it is asked for.

Whatever a picture is, palette, grey, 16 bits, transparent or turned by its camera, a
model sees it upright, in RGB, on white, and squashed or stretched to the one shape that
the model was trained on: proportions are not kept, and nothing is cut off or added.
"""

import dataclasses
import io
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from zoo.errors import InputError, read_limited

# The plugins of other formats are not asked: some of them start programs.
FORMATS = ("PNG", "JPEG", "WEBP")
MAX_BYTES = 2**28
_REMEDY = "save it again as PNG, JPEG or WebP"
# What Pillow raises when a file of these formats is damaged.
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError)
_DAMAGE += (struct.error, AttributeError)
_ORIENTATION = 0x0112  # of a camera, in EXIF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_picture(file: io.BytesIO, where: str, side: int) -> Image.Image:
    """Returns a picture upright, in RGB, on white.

    Several threads may ask at once. Pillow's warnings, of odd metadata for example, are
    left to whoever runs the process, as what is done about warnings is the same for
    all of its threads.

    Args:
        file: a picture in one of FORMATS.
        where: what an error calls it.
        side: a JPEG that is larger is decoded smaller, which is quicker, but to no
            fewer than so many pixels a side.

    Raises:
        InputError: it is no such picture, damaged, or of more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS`, which is found out before they are decoded.
    """
    limit = Image.MAX_IMAGE_PIXELS
    try:
        with Image.open(file, formats=FORMATS) as picture:
            if limit is not None and math.prod(picture.size) > limit:
                raise Image.DecompressionBombError  # as Pillow does for twice as many
            picture.draft(None, (side, side))
            picture.load()
            return _on_white(_upright(picture))
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{where}: more than {limit:,} pixels; make it smaller"
        ) from error
    except Image.UnidentifiedImageError as error:
        fault = "no picture that we can read"
        raise InputError(f"{where}: {fault}; {_REMEDY}") from error
    except _DAMAGE as error:
        raise InputError(f"{where}: a damaged picture; {_REMEDY}") from error


def _upright(picture: Image.Image) -> Image.Image:
    """Returns a picture turned as its camera noted, if what it noted can be read.

    `PIL.ImageOps.exif_transpose` writes all other metadata anew, too, and fails where
    they are odd.
    """
    try:
        turn = _TURNS.get(picture.getexif().get(_ORIENTATION, 1))
    except _DAMAGE:
        return picture
    return picture if turn is None else picture.transpose(turn)


def _on_white(picture: Image.Image) -> Image.Image:
    """Returns a picture in RGB; what is transparent is white."""
    if picture.mode.startswith("I"):  # 16 bits of grey, which convert() would clip
        grey = np.asarray(picture)
        shown = (grey >> 8).clip(0, 255)
        if isinstance(level := picture.info.get("transparency"), int):
            shown = np.where(grey == level, 255, shown)
        picture = Image.fromarray(shown.astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def squash(
    picture: Image.Image, height: int, width: int
) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """Returns the pixels of an RGB picture, squashed or stretched to a shape."""
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def read_bytes(path: str | os.PathLike[str]) -> io.BytesIO:
    """Returns what a file holds; raises InputError if it cannot be read."""
    try:
        return io.BytesIO(read_limited(path, MAX_BYTES))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def read_image(
    path: str | os.PathLike[str], height: int, width: int
) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """Returns the picture of a file as a model sees it.

    Raises:
        InputError: it cannot be read, or as `decode_picture`.
    """
    picture = decode_picture(read_bytes(path), str(path), max(height, width))
    return squash(picture, height, width)


# What zipfile and NumPy raise: RuntimeError is of a file behind a password.
_NO_ARRAY = (OSError, ValueError, EOFError, TypeError, RuntimeError, SyntaxError)
_NO_ARRAY += (zipfile.BadZipFile, zlib.error, NotImplementedError, UnicodeError)


def _array_of_zip(file: io.BytesIO, name: str) -> np.ndarray:
    """Returns an array of an .npz.

    Raises:
        KeyError: there is no such array.
        MemoryError: it is larger than any that we read.
    """
    with zipfile.ZipFile(file) as archive:
        if archive.getinfo(name).file_size > MAX_BYTES:
            raise MemoryError(f"the array is larger than {MAX_BYTES:,} bytes")
        with archive.open(name) as packed:
            return array_of(packed.read(MAX_BYTES))


def array_of(content: bytes) -> np.ndarray:
    """Returns the array of an .npy; NumPy would make room for what its head says.

    Raises:
        ValueError: it is damaged, holds no numbers, or less than its head promises.
    """
    head = io.BytesIO(content)
    version = np.lib.format.read_magic(head)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(head)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(head)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize > len(content):
        raise ValueError("the head of the array promises more than there is")
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


@dataclasses.dataclass(frozen=True)
class RegionFiles:
    """Features of regions in files, as OpenVQA stores the bottom-up features of COCO.

    A file is an ``.npz`` whose array ``x`` is [D, boxes] (Anderson et al. 2018,
    "Bottom-Up and Top-Down Attention": D = 2,048 and 10 to 100 boxes); its other arrays
    are not read. As there, boxes beyond `num_regions` are left out, and missing ones
    are rows of zeros.
    """

    paths: Sequence[Path]
    num_regions: int
    region_dim: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of images, and [R, D]."""
        return len(self.paths), self.num_regions, self.region_dim

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Float[np.ndarray, "R D"]:
        path = self.paths[number]
        try:
            boxes = _array_of_zip(read_bytes(path), "x.npy").astype(np.float32)
        except KeyError as error:
            wanted = f"[{self.region_dim}, boxes]"
            raise InputError(
                f"{path}: no array x of {wanted}; copy it again"
            ) from error
        except _NO_ARRAY as error:
            fault = "no .npz, or a damaged one"
            raise InputError(f"{path}: {fault}; copy it again") from error
        except MemoryError as error:
            raise InputError(f"{path}: {error}; copy it again") from error
        if boxes.ndim != 2 or len(boxes) != self.region_dim:
            raise InputError(
                f"{path}: x has the shape {boxes.shape}, but should have "
                f"({self.region_dim}, number of boxes)"
            )
        regions = np.zeros((self.num_regions, self.region_dim), np.float32)
        found = boxes.T[: self.num_regions]
        regions[: len(found)] = found
        return regions
