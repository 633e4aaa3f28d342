"""A trained run as a small folder to keep, to send or to commit.

A run's folder holds checkpoints with the state of the optimizer, logs and pictures. To
use the model one needs its config, its tokens and its parameters, and these in 16 bits,
which change a weight by a 2,000th part at most.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.checkpoint_files import describe
from zoo.errors import InputError
from zoo.pretrained.parameters import load_params, save_params

PARAMS = "params.safetensors"
# Of a run: what there is of it is kept.
_KEPT = ("config.json", "tokenizer.model", "answers.json", "search.json")
_LARGEST = 65_504.0


def pack(workdir: Path, directory: Path, params: Any) -> None:
    """Writes the folder that holds a run's model and no more, all of it or nothing.

    Raises:
        InputError: the directory exists, or a parameter is too large for 16 bits.
    """
    if directory.exists():
        raise InputError(f"{directory} exists already; choose another directory")
    params = jax.device_get(params)
    if not all(np.abs(leaf).max() < _LARGEST for leaf in jax.tree.leaves(params)):
        raise InputError(
            f"{workdir}: a parameter beyond what 16 bits hold; keep the whole run"
        )
    halves = jax.tree.map(lambda leaf: leaf.astype(np.float16), params)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as folder:
        whole = Path(folder) / directory.name
        whole.mkdir()
        for name in _KEPT:
            if (workdir / name).exists():
                shutil.copyfile(workdir / name, whole / name)
        save_params(halves, whole / PARAMS)
        whole.rename(directory)


def unpack(path: Path, init: Callable[[jax.Array], Any]) -> Any:
    """Returns the parameters of a packed run in float32.

    Args:
        init: draws parameters from a key; only their shapes are used.

    Raises:
        InputError: the file is damaged, or of another model than the config says.
    """
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), load_params(path))
    wanted = jax.eval_shape(init, jax.random.key(0))
    if describe(params) != describe(wanted):
        raise InputError(
            f"{path}: parameters of another model than the config.json beside it "
            "describes; pack the run again"
        )
    return params
