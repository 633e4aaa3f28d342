"""What a run writes about itself: its config, its metrics, its result.

Every file is whole at any moment: JSON is written beside its place and renamed
into it, and metrics are lines that are appended one by one. JSON knows no NaN and
no infinity; they are written as null.
"""

import json
import math
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from zoo.errors import InputError, read_limited
from zoo.files import beside, write_whole

MAX_JSON_BYTES = 2**24
PARAMS = "params.safetensors"  # of a packed run, in place of checkpoints
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def plain(value: Any) -> Any:
    """Returns a value as JSON can hold it: a scalar of numpy or jax as a number.

    >>> plain({"loss": float("nan"), "lengths": (1, 2)})
    {'loss': None, 'lengths': [1, 2]}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: Path, obj: Any) -> None:
    """Writes a file that is, at any moment, either the old one or the new one.

    Raises:
        InputError: it cannot be written.
    """
    text = json.dumps(plain(obj), ensure_ascii=False, indent=2) + "\n"
    write_whole(path, text.encode())


def read_json(path: Path) -> dict:
    """Returns the object in a JSON file.

    Raises:
        InputError: the file cannot be read, or holds no JSON object.
    """
    path = Path(path)
    try:
        found = json.loads(read_limited(path, MAX_JSON_BYTES))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno} is not JSON: {error.msg}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is JSON beyond all bounds: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no JSON object, but {type(found).__name__}")
    return found


def flatten(config: dict) -> dict[str, Any]:
    """Returns the values of nested dicts under dotted names.

    >>> flatten({"seed": 1, "model": {"num_layers": 3}})
    {'seed': 1, 'model.num_layers': 3}
    """
    flat = {}
    for name, value in config.items():
        if isinstance(value, dict) and value:
            flat |= {f"{name}.{key}": item for key, item in flatten(value).items()}
        else:
            flat[name] = value
    return flat


def open_run(workdir: Path, config: dict) -> None:
    """Creates the folder of a run with its config, or finds that it is the same run.

    Raises:
        InputError: the folder holds a run with another config, a packed one, or other
            files.
    """
    workdir = Path(workdir)
    path = workdir / "config.json"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        names = {file.name for file in workdir.iterdir()} - {beside(path).name}
    except OSError as error:
        raise InputError(
            f"{workdir} cannot hold a run: {error.strerror}; choose another --workdir"
        ) from None
    if PARAMS in names:
        raise InputError(
            f"{workdir} holds a packed run, which has no checkpoints to go on from; "
            "choose another --workdir"
        )
    if path.name in names:
        _require_same(path, flatten(plain(config)))
    elif names:
        raise InputError(
            f"{workdir} is not empty and holds no run ({min(names)}, no config.json);"
            " choose another --workdir"
        )
    else:
        write_json(path, config)


def _require_same(path: Path, asked: dict[str, Any]) -> None:
    found = flatten(read_json(path))
    differences = [
        f"{name} is {_shown(found, name)} there and {_shown(asked, name)} here"
        for name in [*asked, *(name for name in found if name not in asked)]
        if _shown(found, name) != _shown(asked, name)
    ]
    if differences:
        raise InputError(
            f"{path.parent} holds a run with another config: {', '.join(differences)};"
            " choose another --workdir or the original values"
        )


def _shown(flat: dict[str, Any], name: str) -> str:
    return json.dumps(flat[name], ensure_ascii=False) if name in flat else "absent"


class Metrics:
    """The metrics of a run: `metrics.jsonl`, one JSON object a line.

    Opening drops the lines that a resumed run will write again, and a last line
    that a killed run left half-written.

    Args:
        after_step: the step from which the run goes on; -1 keeps nothing.

    Raises:
        InputError: a line is not one that a run has written.
    """

    def __init__(self, path: Path, after_step: int):
        self._path = Path(path)
        before = self._path.read_bytes() if self._path.exists() else b""
        kept = b"".join(
            line + b"\n"
            for number, line in enumerate(before.split(b"\n")[:-1], 1)
            if self._step(number, line) <= after_step
        )
        if kept != before:
            write_whole(self._path, kept)

    def write(self, **fields: Any) -> None:
        """Appends one line; it is in the file on return."""
        line = json.dumps(plain(fields), ensure_ascii=False) + "\n"
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line)

    def _step(self, number: int, line: bytes) -> int:
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(
                f"{self._path}:{number} is no JSON object with a step; remove the line"
            ) from None


def environment() -> dict:
    """Returns where a result was made: hardware, versions, commit of the code."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"hardware": _hardware(), "versions": versions, "commit": _commit()}


def _hardware() -> str:
    """Returns the processors, then what the arrays are on."""
    import jax

    device = jax.devices()[0]
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            break
    arrays = "cpu"
    if device.platform != "cpu":
        arrays = f"{jax.device_count()} x {device.device_kind}"
    return f"{_num_cores()} x {name}, {arrays}"


def _num_cores() -> int:
    """Returns the cores that this process may use, not those that the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _commit() -> str | None:
    """Returns the commit of this file, "-dirty" if the tree has changed since."""
    here = Path(__file__).resolve()
    # A virtual environment may lie in the repository of something else.
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    return _git(
        here.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"
    )


def _git(directory: Path, *arguments: str) -> str | None:
    """Returns what git says; None where it is absent or refuses."""
    try:
        done = subprocess.run(
            ["git", "-C", directory, *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
