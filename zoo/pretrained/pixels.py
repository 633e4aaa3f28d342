"""What weights of others want of a picture, in our terms.

Our models take pixels of 0 … 255 and scale them to -1 … 1; what a directory wants is
in its preprocessor_config.json. How a picture is resized becomes a rule of
`zoo.data.vqa.resizing`. The mean that is taken from the pixels and the deviation that
they are divided by become a part of the first linear map: no model needs to be told.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from zoo.data.vqa.resizing import CropCentre, FitMultiples, Rule, Squash
from zoo.errors import InputError
from zoo.pretrained.directory import Directory

FILE, WHOLE_FILE = "preprocessor_config.json", "processor_config.json"
BILINEAR, BICUBIC = 2, 3  # of PIL.Image.Resampling


def patch_kernel(kernel: np.ndarray) -> np.ndarray:
    """Returns torch's convolution [D, C, P, P] as the map of a square, [P P C, D]."""
    return kernel.transpose(2, 3, 1, 0).reshape(-1, len(kernel))


def folded(
    weights: Mapping[str, np.ndarray], directory: Directory, patches: str
) -> dict[str, np.ndarray]:
    """Returns kernel and bias of the patches, with mean and deviation of the pixels.

    They want w · (x - mean) / deviation + b of pixels x from 0 to 1; ours are 2x - 1,
    so that w / (2 deviation) and b + Σ w · (½ - mean) / deviation do the same. Where
    they have no bias, there is one now.

    Args:
        patches: name of the convolution that cuts them, weight [D, C, P, P].

    Raises:
        InputError: pixels are not divided by 255, or the weights do not fit them.
    """
    values = _values(directory)
    factor = values.get("rescale_factor", 1 / 255)
    if not values.get("do_rescale", True) or not (
        isinstance(factor, float | int) and abs(factor * 255 - 1) <= 1e-6
    ):
        raise _unlike(directory, "pixels are not divided by 255")
    mean, deviation = np.zeros(3), np.ones(3)
    if values.get("do_normalize", True):
        mean = _channels(directory, values, "image_mean")
        deviation = _channels(directory, values, "image_std")
    kernel = required(weights, directory, f"{patches}.weight")
    if kernel.ndim != 4 or kernel.shape[1] != 3:
        raise InputError(
            f"{directory.root}: {patches}.weight is {list(kernel.shape)}, but should "
            "be [D, 3, P, P]; download it again"
        )
    bias = np.einsum("dcyx,c->d", kernel, (0.5 - mean) / deviation)
    if f"{patches}.bias" in weights:
        theirs = required(weights, directory, f"{patches}.bias")
        if theirs.size != bias.size:
            raise InputError(
                f"{directory.root}: {patches}.bias is {list(theirs.shape)}, but should "
                f"be {list(bias.shape)}; download it again"
            )
        bias = bias + theirs.reshape(bias.shape)
    kernel = kernel / (2 * deviation)[:, None, None]
    return {
        f"{patches}.weight": kernel.astype(np.float32),
        f"{patches}.bias": bias.astype(np.float32),
    }


def required(
    weights: Mapping[str, np.ndarray], directory: Directory, name: str
) -> np.ndarray:
    """Returns a tensor that is computed with; raises InputError if it is not there."""
    if name not in weights:
        raise InputError(f"{directory.root}: 1 missing: {name}; download it again")
    tensor = weights[name]
    if tensor.dtype.kind != "f":
        raise InputError(
            f"{directory.root}: {name} is of {tensor.dtype}, and not of floating "
            "point; download it again"
        )
    return tensor


def squashing(directory: Directory, image_size: int) -> Rule:
    """Returns the rule of ViT: every picture becomes one square.

    Raises:
        InputError: the directory asks for another one.
    """
    values = _values(directory)
    size = _sides(values.get("size", image_size))
    if size != (image_size, image_size) or not values.get("do_resize", True):
        raise _unlike(directory, f"pictures do not become {image_size} x {image_size}")
    return Squash(*size, resample=_resample(directory, values, BILINEAR))


def cropping(directory: Directory, image_size: int) -> Rule:
    """Returns the rule of CLIP: the middle of the picture.

    Raises:
        InputError: the directory asks for another one.
    """
    values = _values(directory)
    shorter = values.get("size", image_size)
    if isinstance(shorter, dict):
        shorter = shorter.get("shortest_edge")
    crop = _sides(values.get("crop_size", image_size))
    if (
        crop != (image_size, image_size)
        or not isinstance(shorter, int)
        or shorter < image_size
        or not values.get("do_resize", True)
        or not values.get("do_center_crop", True)
    ):
        raise _unlike(directory, f"pictures are not cropped to {image_size} pixels")
    return CropCentre(shorter, *crop, resample=_resample(directory, values, BICUBIC))


def fitting(directory: Directory, image_size: int, patch_size: int) -> Rule:
    """Returns the rule of ViLT: the whole picture, in whole patches.

    Raises:
        InputError: the directory asks for another one.
    """
    values = _values(directory)
    shorter = values.get("size", image_size)
    if isinstance(shorter, dict):
        shorter = shorter.get("shortest_edge")
    multiple = values.get("size_divisor", patch_size)
    if (
        not isinstance(shorter, int)
        or not isinstance(multiple, int)
        or not 0 < patch_size <= multiple <= shorter
        or multiple % patch_size
        or not values.get("do_resize", True)
    ):
        raise _unlike(
            directory, f"pictures do not become whole patches of {patch_size}"
        )
    return FitMultiples(
        shorter, multiple, resample=_resample(directory, values, BICUBIC)
    )


def _values(directory: Directory) -> dict[str, Any]:
    """Returns what prepares pictures; newer directories have it in a larger file."""
    if directory.has(WHOLE_FILE) and not directory.has(FILE):
        values = directory.read_json(WHOLE_FILE).get("image_processor")
        if isinstance(values, dict):
            return values
    return directory.read_json(FILE)


def _sides(size: Any) -> tuple[Any, Any]:
    if isinstance(size, dict):
        return size.get("height"), size.get("width")
    return size, size


def _resample(directory, values, default):
    resample = values.get("resample", default)
    if resample not in (BILINEAR, BICUBIC):
        raise _unlike(directory, f"resample is {resample!r}, neither 2 nor 3")
    return resample


def _channels(directory: Directory, values: dict[str, Any], name: str) -> np.ndarray:
    numbers = values.get(name)
    try:
        found = np.array(numbers, float)
    except (TypeError, ValueError):
        found = np.zeros(0)
    if found.shape != (3,) or (name == "image_std" and (found <= 0).any()):
        raise _unlike(directory, f"{name} is {numbers!r}, and no three numbers")
    return found


def _unlike(directory: Directory, fault: str) -> InputError:
    return InputError(
        f"{directory.root / FILE}: {fault}, as this family wants; give the file that "
        "belongs to the model"
    )
