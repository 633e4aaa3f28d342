"""The parameters of any model as a safetensors file, bit for bit."""

import os
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


def save_params(params: Any, path: str | Path) -> None:
    """Writes the parameters of any model to a safetensors file, at once or not at all.

    Raises:
        InputError: the file exists already.
    """
    path = Path(path)
    if path.exists():
        raise InputError(f"{path} exists already; choose another file")
    with beside(path) as partial_path:
        write_tensors(flatten_dict(jax.device_get(params), sep="/"), partial_path)
        os.replace(partial_path, path)


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

    save_file(
        {name: np.ascontiguousarray(array) for name, array in tensors.items()},
        path,
        metadata,
    )
