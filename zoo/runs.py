"""What a run has left in its folder: its config and its parameters."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from zoo.checkpoint_steps import SavedSteps
from zoo.checkpoints import average_params
from zoo.errors import InputError
from zoo.packing import PARAMS, unpack
from zoo.training.records import read_json

SEARCH = "search.json"
MAX_SIZE = 2**20  # of anything in a config, which somebody else may have written


def has_run(workdir: str | Path) -> bool:
    """Returns whether a folder holds a run."""
    return (Path(workdir) / "config.json").exists()


def read_config(workdir: str | Path) -> dict[str, Any]:
    """Returns the config of a run.

    Raises:
        InputError: the folder holds no run.
    """
    if not has_run(workdir):
        raise InputError(
            f"{workdir}: no config.json, so no run is here; train one, or give the "
            "folder of one"
        )
    return read_json(Path(workdir) / "config.json")


def read_section(workdir: str | Path, name: str) -> dict[str, Any]:
    """Returns a part of the config of a run, for example "model".

    Raises:
        InputError: the folder holds no run, or its config has no such part.
    """
    section = read_config(workdir).get(name)
    if not isinstance(section, dict):
        raise InputError(
            f"{Path(workdir) / 'config.json'} has no object {name!r}, so that no "
            "command of ours wrote it; give the folder of another run"
        )
    return section


def read_size(workdir: str | Path, section: str, name: str) -> int:
    """Returns a size from the config of a run, for example data's "max_length".

    Raises:
        InputError: there is none, or it is no whole number from 1 to 2^20.
    """
    value = read_section(workdir, section).get(name)
    if type(value) is not int or not 1 <= value <= MAX_SIZE:
        raise InputError(
            f"{Path(workdir) / 'config.json'}: {section}.{name} is "
            f"{repr(value)[:100]}, but must be a whole number from 1 to {MAX_SIZE:,}"
        )
    return value


def read_seed(workdir: str | Path) -> int:
    """Returns the seed of a run.

    Raises:
        InputError: the folder holds no run, or its config has none.
    """
    seed = read_config(workdir).get("seed")
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise InputError(
            f"{Path(workdir) / 'config.json'}: seed is {repr(seed)[:100]}, but must be "
            "a whole number from 0 and below 2^32"
        )
    return seed


def read_search(workdir: str | Path) -> dict[str, Any] | None:
    """Returns how a run that began with a model of others is searched, else None."""
    path = Path(workdir) / SEARCH
    return read_json(path) if path.exists() else None


def read_params(
    workdir: str | Path, init: Callable[[jax.Array], Any], *, average: int | None = None
) -> Any:
    """Returns the parameters of a run's best checkpoint, or the mean of several.

    Args:
        init: draws parameters from a key; only their shapes are used.
        average: takes the mean of the last so many checkpoints that were evaluated; 1
            takes the best one. None does as the run's own test does.

    Raises:
        InputError: there is no finished checkpoint, or there are too few; a run is
            packed, and damaged or to be averaged.
    """
    if (packed := Path(workdir) / PARAMS).exists():
        if average is not None:
            raise InputError(
                f"{workdir}: a packed run, with no checkpoints to average; leave "
                "average out"
            )
        return unpack(packed, init)
    directory, own = Path(workdir) / "checkpoints", 1
    if average is None and "decoding" in read_config(workdir):
        own = read_size(workdir, "decoding", "average")
    saved = SavedSteps(directory)
    best = saved.best_step()
    if average is None:
        average = len(saved.last_steps(own)) or 1
    last = saved.last_steps(average)
    if best is None:
        raise InputError(f"{workdir}: no finished checkpoint yet; let it train on")
    if len(last) < average:
        raise InputError(
            f"{workdir}: only {len(last)} checkpoints to average {average} of; ask "
            "for fewer"
        )
    steps = [best] if average == 1 else last
    shapes = jax.eval_shape(init, jax.random.key(0))
    return average_params(directory, steps, shapes)
