"""The parameters of any model as a safetensors file, bit for bit."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from zoo.errors import InputError
from zoo.files import write_whole


def save_params(params: Any, path: str | Path) -> None:
    """Writes the parameters of any model to a safetensors file, at once or not at all.

    Raises:
        InputError: the file exists already, or cannot be written.
    """
    from safetensors.numpy import save

    path = Path(path)
    if path.exists():
        raise InputError(f"{path} exists already; choose another file")
    tensors = flatten_dict(jax.device_get(params), sep="/")
    write_whole(path, save(_contiguous(tensors)))


def load_params(path: str | Path) -> Any:
    """Returns the parameters that `save_params` wrote, bit for bit.

    Raises:
        InputError: there is no such file, or it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: no sound safetensors file ({error})") from None
    return unflatten_dict(jax.tree.map(jnp.asarray, tensors), sep="/")


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yields where to write what is to be renamed to a path; leaves nothing there."""
    with tempfile.TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent) as folder:
        yield Path(folder) / path.name


def write_tensors(
    tensors: dict[str, Any], path: Path, metadata: dict[str, str] | None = None
) -> None:
    """Writes a safetensors file."""
    from safetensors.numpy import save_file

    save_file(_contiguous(tensors), path, metadata)


def _contiguous(tensors: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns arrays whose bytes lie as safetensors writes them."""
    return {name: np.ascontiguousarray(array) for name, array in tensors.items()}
