"""Checkpoints of a run: written while training goes on, whole or not at all.

Orbax writes the arrays. What it does not promise is added here. A step is written
as `.partial-<step>` and renamed to `<step>` when nothing is missing, and renamed
away before it is deleted, so that whatever is called `<step>` is complete, wherever
the process was killed. `record.json` names every array with its dtype and shape,
since Orbax casts to the dtype that it is asked for. `SHA256SUMS` (to be read by
`sha256sum --check` too) covers every file, since Orbax loads a flipped bit as a
weight. Plain Orbax opens the same folder.
"""

import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as orbax

from zoo.errors import InputError

# What Orbax logs as an error it raises too, and that is where we report it.
logging.getLogger("absl").addFilter(
    lambda record: record.levelno < logging.ERROR or "orbax" not in record.pathname
)

PARTIAL = ".partial-"
RECORD = "record.json"
SUMS = "SHA256SUMS"


class DamagedCheckpoint(InputError):
    """A file of a checkpoint is not what was written."""

    def __init__(self, checkpoint: Path, file: str, fault: str):
        super().__init__(
            f"{checkpoint / file} {fault}; delete {checkpoint} to use another step"
        )


def describe(tree: Any) -> dict[str, str]:
    """Returns what each array of a tree is, by its path.

    >>> describe({"params": [np.zeros((3, 4), np.float32)]})
    {'params/[0]': 'float32[3,4]'}
    """
    return {
        "/".join(map(_key, path)): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _key(key: Any) -> str:
    """Returns a step of a path; a field and a dict key look the same, as in Orbax."""
    if isinstance(key, jax.tree_util.SequenceKey):
        return f"[{key.idx}]"
    return jax.tree_util.keystr((key,), simple=True)


def checksums(checkpoint: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file of a checkpoint, by its relative path.

    Raises:
        DamagedCheckpoint: a file is a symbolic link, which could lead anywhere.
    """
    sums = {}
    for path in sorted(checkpoint.rglob("*")):
        name = path.relative_to(checkpoint).as_posix()
        if path.is_symlink():
            raise DamagedCheckpoint(checkpoint, name, "is a symbolic link")
        if path.is_file() and name != SUMS:
            with path.open("rb") as file:
                sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def verify(checkpoint: Path) -> None:
    """Does nothing if every file is as it was written.

    Raises:
        DamagedCheckpoint: with the name of the first file that differs.
    """
    found = checksums(checkpoint)
    try:
        lines = (checkpoint / SUMS).read_text().splitlines()
        written = {name: sum_ for sum_, name in (line.split("  ") for line in lines)}
    except (OSError, ValueError) as error:
        raise DamagedCheckpoint(checkpoint, SUMS, f"is unreadable: {error}") from None
    for name in sorted(written.keys() | found.keys()):
        if name not in found:
            raise DamagedCheckpoint(checkpoint, name, "is missing")
        if written.get(name) != found[name]:
            raise DamagedCheckpoint(checkpoint, name, "is not the file that was saved")


def read_record(checkpoint: Path) -> dict:
    """Returns what stands beside the arrays: step, loss, previous, note, leaves."""
    try:
        return json.loads((checkpoint / RECORD).read_text())
    except (OSError, ValueError) as error:
        raise DamagedCheckpoint(checkpoint, RECORD, f"is unreadable: {error}") from None


def _require_equal(checkpoint: Path, saved: dict[str, str], asked: dict[str, str]):
    for name in [*asked, *saved]:
        if saved.get(name) != asked.get(name):
            raise InputError(
                f"{checkpoint}: {name} is {saved.get(name, 'absent')} in the checkpoint"
                f" and {asked.get(name, 'absent')} in the model; build the model with"
                " the config of the run"
            )


def _placed(leaf: Any) -> Any:
    """Returns an abstract array that says where it goes, by default as jnp.zeros."""
    if isinstance(leaf, np.ndarray | np.generic):
        return np.asarray(leaf)
    sharding = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _verified_leaves(checkpoint: Path) -> dict[str, str]:
    """Returns what each array was when it was saved, once all files are verified."""
    if not checkpoint.is_dir():
        raise InputError(f"{checkpoint} does not exist; there is no such step")
    verify(checkpoint)
    return read_record(checkpoint)["leaves"]


def _load(checkpoint: Path, leaves: dict[str, str], abstract_tree: Any) -> Any:
    """Returns the arrays of a tree that is to have these leaves."""
    _require_equal(checkpoint, leaves, describe(abstract_tree))
    context = orbax.Context()
    context.pytree.loading.partial_load = True
    with context:
        path = str(checkpoint.absolute())
        return orbax.load(path, jax.tree.map(_placed, abstract_tree))


def restore_params(directory: Path, step: int, abstract_params: Any) -> Any:
    """Returns the parameters to decode with, without the optimizer state.

    They are what was saved as "ema", the moving average, or as "params" where no
    average was kept.

    Raises:
        InputError: the saved parameters have other names, shapes or dtypes.
        DamagedCheckpoint: a file is not what was written.
    """
    checkpoint = Path(directory) / str(step)
    leaves = _verified_leaves(checkpoint)
    name = "ema" if any(path.startswith("ema/") for path in leaves) else "params"
    saved = {path: leaf for path, leaf in leaves.items() if path.startswith(f"{name}/")}
    return _load(checkpoint, saved, {name: abstract_params})[name]


def average_params(directory: Path, steps: Sequence[int], abstract_params: Any) -> Any:
    """Returns the mean of the parameters of several steps, added up in float64.

    Vaswani et al. (2017), section 6.1, average the last 5 checkpoints, or 20; fairseq's
    `average_checkpoints.py` does the same.

    Raises:
        InputError: as for `restore_params`, of any step.
    """
    params = restore_params(directory, steps[0], abstract_params)
    total = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    for step in steps[1:]:
        more = restore_params(directory, step, abstract_params)
        total = jax.tree.map(np.add, total, more)
    return jax.tree.map(
        lambda leaf, sums: jax.device_put(
            (sums / len(steps)).astype(leaf.dtype), leaf.sharding
        ),
        params,
        total,
    )


class Checkpoints:
    """Checkpoints of a run: `<directory>/<step>/`, the last `keep_last` and the best.

    A step that was saved with an infinite loss, because the run was interrupted between
    two evaluations, is kept until the next one, and counts for nothing else.

    Reading changes nothing on the disk, so that one may look into the folder of a
    run that is still training; what a killed run left half-written is removed by
    the next save. One object at a time may save into a directory.
    """

    def __init__(self, directory: Path, keep_last: int = 2):
        if keep_last < 1:
            raise ValueError(f"keep_last is {keep_last}, must be at least 1")
        self._directory = Path(directory)
        self._keep_last = keep_last
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._pending: Future | None = None

    def save(self, step: int, tree: Any, *, loss: float, note: dict) -> None:
        """Begins to save a tree; on return its buffers may be donated or overwritten.

        Waits for the previous save, and raises its error if it failed. Saving a step
        again replaces it.

        Args:
            tree: jax or numpy arrays in any containers.
            loss: ranks the steps, lower is better, NaN comes last; infinite if the
                step was not evaluated.
            note: a small JSON object, to be had back from `note(step)`.
        """
        self.wait()
        self._directory.mkdir(parents=True, exist_ok=True)
        for leftover in self._directory.glob(PARTIAL + "*"):
            shutil.rmtree(leftover)
        tree = jax.tree.map(
            lambda leaf: leaf if isinstance(leaf, jax.Array) else np.asarray(leaf), tree
        )
        # Orbax starts programs of its own, which among those of many devices that still
        # wait for each other can stop all of them.
        jax.block_until_ready(tree)
        record = {
            "step": step,
            "loss": float(loss),
            "previous": max(self._evaluated(step - 1), default=None),
            "note": note,
            "leaves": describe(tree),
        }
        context = orbax.Context()
        # Otherwise threads of a save that fails, or is interrupted, right here wait 20
        # minutes for its folder, and the process with them.
        context.asynchronous.create_directories_asynchronously = False
        with context:
            response = orbax.save_async(str(self._partial(step).absolute()), tree)
        self._pending = self._writer.submit(self._finish, step, response, record)

    def steps(self) -> list[int]:
        """Returns the finished steps, ascending."""
        if not self._directory.is_dir():
            return []
        names = (path.name for path in self._directory.iterdir())
        return sorted(int(name) for name in names if name.isdecimal())

    def best_step(self) -> int | None:
        """Returns the finished step with the lowest loss, the earliest of equals."""
        return min(self.steps(), key=self._rank, default=None)

    def last_steps(self, count: int) -> list[int]:
        """Returns the last `count` steps that were evaluated, ascending.

        There are fewer where fewer were kept. The best step of an earlier
        time is none of them, since others that came after it are gone.
        """
        if count < 1:
            raise ValueError(f"count is {count}, must be at least 1")
        kept = self._evaluated(max(self.steps(), default=0))
        last = kept[-1:]
        while last and len(last) < count:
            previous = self._record(last[0]).get("previous")
            if previous not in kept:
                break
            last.insert(0, previous)
        return last

    def restore(self, step: int, abstract_tree: Any) -> Any:
        """Returns what was saved, with the containers and shardings of the argument.

        Args:
            abstract_tree: arrays or `jax.ShapeDtypeStruct`; without a sharding an
                array goes to the first device.

        Raises:
            InputError: names, shapes or dtypes differ, or there is no such step.
            DamagedCheckpoint: a file is not what was written.
        """
        self.wait()
        checkpoint = self._directory / str(step)
        return _load(checkpoint, _verified_leaves(checkpoint), abstract_tree)

    def note(self, step: int) -> dict:
        """Returns the note that was saved with a step."""
        return read_record(self._directory / str(step))["note"]

    def wait(self) -> None:
        """Returns when the last save is on the disk.

        Raises:
            InputError: it could not be written, because the disk is full for one.
        """
        pending, self._pending = self._pending, None
        try:
            if pending is not None:
                pending.result()
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self._directory} cannot be written to, the last step is not saved;"
                f" mend this and start the same command again: {error}"
            ) from error

    def close(self) -> None:
        """Waits for the last save and ends the thread that writes."""
        try:
            self.wait()
        finally:
            self._writer.shutdown()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _partial(self, step: int) -> Path:
        return self._directory / f"{PARTIAL}{step}"

    def _finish(self, step: int, response: Any, record: dict) -> None:
        """Runs in the thread that writes: completes a step, then deletes old ones."""
        response.result()
        partial = self._partial(step)
        _write_through(partial / RECORD, json.dumps(record, indent=1))
        sums = (f"{digest}  {path}\n" for path, digest in checksums(partial).items())
        _write_through(partial / SUMS, "".join(sums))
        if step in self.steps():
            self._delete(step)
        partial.rename(self._directory / str(step))
        # A run that fell back to an older step leaves later ones: they do not count.
        until_now = [kept for kept in self.steps() if kept <= step]
        kept = {step, self.best_step(), *self._evaluated(step)[-self._keep_last :]}
        for old in set(until_now) - kept:
            self._delete(old)

    def _delete(self, step: int) -> None:
        leftover = self._directory / f"{PARTIAL}deleted-{step}"
        (self._directory / str(step)).rename(leftover)
        shutil.rmtree(leftover)

    def _rank(self, step: int) -> tuple[bool, float]:
        loss = self._record(step)["loss"]
        return math.isnan(loss), loss

    def _evaluated(self, until: int) -> list[int]:
        """Returns the evaluated steps up to this one, ascending."""
        return [
            step
            for step in self.steps()
            if step <= until and not math.isinf(self._record(step)["loss"])
        ]

    def _record(self, step: int) -> dict:
        try:
            return read_record(self._directory / str(step))
        except DamagedCheckpoint:
            return {"loss": math.nan}  # whoever restores the step will be told


def _write_through(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
