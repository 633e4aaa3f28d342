"""EfficientNet-Lite (Tan and Le 2019) as `experiments.vqa.convert` writes it.

The names are those of the package efficientnet-lite-pytorch, whose weights are the
authors' (Apache-2.0). Each BatchNorm becomes a part of the convolution before it; the
classifier is left out.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from zoo.data.vqa.resizing import Squash
from zoo.errors import InputError
from zoo.models.efficientnet import EfficientNetLite, build
from zoo.models.visual_configs import LARGEST_FACTOR, EfficientNetConfig
from zoo.models.visual_contract import initialize_encoder
from zoo.pretrained.conversion import Rule, abstract, changed, convert
from zoo.pretrained.directory import Directory
from zoo.pretrained.fields import integer
from zoo.pretrained.pixels import required

# Which norm follows which convolution.
NORMS = {
    "_conv_stem": "_bn0",
    "_conv_head": "_bn1",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
}
EPSILON = 1e-3
IGNORED = (r"_fc\..*", r"(?:.*\.)?_bn\d\..*")


def load(directory: Directory) -> tuple[EfficientNetLite, Any, Squash]:
    """Returns the encoder, its parameters, and what makes a picture its image.

    The whole picture is seen, where the authors cut out its middle.

    Raises:
        InputError: the directory is damaged.
    """
    model = build(config_of(directory))
    weights = directory.weights()
    params = convert(
        changed(weights, folded(weights, directory)),
        rules(),
        abstract(partial(initialize_encoder, model)),
        ignored=IGNORED,
        where=str(directory.root),
    )
    size = integer(directory, "image_size", 224)
    if not 0 < size <= 4_096:
        raise InputError(f"{directory.root}/config.json: image_size is {size}")
    return model, params, Squash(size, size, Image.Resampling.BICUBIC)


def config_of(directory: Directory) -> EfficientNetConfig:
    """Returns the sizes of the encoder in a directory.

    Raises:
        InputError: they are none.
    """
    return EfficientNetConfig(
        width=_factor(directory, "width_coefficient"),
        depth=_factor(directory, "depth_coefficient"),
    )


def folded(
    weights: Mapping[str, np.ndarray], directory: Directory
) -> dict[str, np.ndarray]:
    """Returns kernel and bias of every convolution with the norm behind it.

    γ (w·x - μ) / σ + β is (γ w / σ)·x + β - γ μ / σ, where σ² is the variance plus ε.

    Raises:
        InputError: an array is missing, or a norm does not fit its convolution.
    """
    result = {}
    for name in weights:
        match = re.fullmatch(rf"(.*?)({'|'.join(NORMS)})\.weight", name)
        if match is None:
            continue
        start, convolution = match.groups()
        norm = f"{start}{NORMS[convolution]}"
        kernel = required(weights, directory, name)
        scale, bias, mean, variance = (
            required(weights, directory, f"{norm}.{part}")
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        shapes = {x.shape for x in (scale, bias, mean, variance)}
        if kernel.ndim != 4 or shapes != {kernel.shape[:1]} or (variance < 0).any():
            raise InputError(
                f"{directory.root}: {norm} is no norm of what {name} returns; convert "
                "the weights again"
            )
        scale = scale / np.sqrt(variance + EPSILON)
        result[name] = kernel * scale[:, None, None, None]
        result[name.removesuffix("weight") + "bias"] = bias - scale * mean
    return result


def rules() -> list[Rule]:
    """Returns what their tensors become, norms folded."""
    found = []
    pairs = {"_conv_stem": "stem", "_conv_head": "head"}
    for part in ("expand", "depthwise", "project"):
        pairs[rf"_blocks\.(\d+)\._{part}_conv"] = rf"blocks_\1/{part}"
    for theirs, ours in pairs.items():
        found.append(Rule(rf"{theirs}\.weight", f"{ours}/kernel", _as_ours))
        found.append(Rule(rf"{theirs}\.bias", f"{ours}/bias"))
    return found


def _as_ours(kernel: np.ndarray) -> np.ndarray:
    """Returns torch's [D, C, Y, X] as Flax's [Y, X, C, D]."""
    return kernel.transpose(2, 3, 1, 0)


def _factor(directory: Directory, name: str) -> float:
    value = directory.config.get(name, 1.0)
    if not isinstance(value, float | int) or not 0 < value <= LARGEST_FACTOR:
        raise InputError(
            f"{directory.root}/config.json: {name} is {str(value)[:80]}, but must be "
            f"above 0 and at most {LARGEST_FACTOR}"
        )
    return float(value)
