"""Checkpoints of a run: written while training goes on, whole or not at all.

Orbax writes the arrays. What it does not promise is added here. A step is written
as `.partial-<step>` and renamed to `<step>` when nothing is missing, and renamed
away before it is deleted, so that whatever is called `<step>` is complete, wherever
the process was killed. What happens to it later, `zoo.checkpoint_steps` deals with.
Plain Orbax opens the same folder.

On several hosts all call every method together, on a folder that all of them see; each
writes its arrays, and the first one finishes a step and deletes old ones.
"""

import json
import logging
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import multihost
from orbax.checkpoint import v1 as orbax

from zoo.checkpoint_files import (
    RECORD,
    SUMS,
    checksums,
    describe,
    load_arrays,
    require_loadable,
    verified_leaves,
)
from zoo.checkpoint_steps import SavedSteps
from zoo.errors import InputError

# What Orbax logs as an error it raises too, and that is where we report it.
logging.getLogger("absl").addFilter(
    lambda record: record.levelno < logging.ERROR or "orbax" not in record.pathname
)
PARTIAL = ".partial-"
BARRIER_SECONDS = 1_200  # a host waits so long for the others to write


def restore_params(directory: Path, step: int, abstract_params: Any) -> Any:
    """Returns the parameters to decode with, without the optimizer state.

    They are what was saved as "ema", the moving average, or as "params" where no
    average was kept.

    Raises:
        InputError: the saved parameters have other names, shapes or dtypes.
        DamagedCheckpoint: a file is not what was written.
    """
    checkpoint = Path(directory) / str(step)
    leaves = verified_leaves(checkpoint)
    name = "ema" if any(path.startswith("ema/") for path in leaves) else "params"
    saved = {path: leaf for path, leaf in leaves.items() if path.startswith(f"{name}/")}
    require_loadable(checkpoint, saved, {name: abstract_params})
    return load_arrays(checkpoint, {name: abstract_params})[name]


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


class Checkpoints(SavedSteps):
    """Checkpoints of a run: the last `keep_last` and the best.

    What is found damaged counts for neither, and is not deleted. A step that was not
    evaluated is kept until the next one.

    What a killed run left half-written is removed by the next save. One object at a
    time may save into a directory.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with Checkpoints(Path(folder)) as checkpoints:
    ...         checkpoints.save(10, {"bias": np.zeros(2)}, loss=0.5, note={})
    ...     checkpoints.best_step()
    10
    """

    def __init__(self, directory: Path, keep_last: int = 2):
        if keep_last < 1:
            raise ValueError(f"keep_last is {keep_last}, must be at least 1")
        super().__init__(directory)
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

        Raises:
            InputError: this step or the previous one cannot be written.
        """
        self.wait()
        with self._writing():
            self._begin(step, tree, loss, note)

    def _begin(self, step: int, tree: Any, loss: float, note: dict) -> None:
        if jax.process_index() == 0:  # before Orbax lets any host write
            self._directory.mkdir(parents=True, exist_ok=True)
            for leftover in self._directory.glob(PARTIAL + "*"):
                _remove(leftover)
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

    def restore(self, step: int, abstract_tree: Any) -> Any:
        """Waits for the last save, and returns what `SavedSteps.restore` does."""
        self.wait()
        return super().restore(step, abstract_tree)

    def restore_newest(self, abstract_tree: Any) -> tuple[int, Any, dict] | None:
        """Waits for the last save; then as `SavedSteps.restore_newest`."""
        self.wait()
        return super().restore_newest(abstract_tree)

    def wait(self) -> None:
        """Returns when the last save is on the disk.

        Raises:
            InputError: it could not be written, because the disk is full for one.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            with self._writing():
                pending.result()

    @contextmanager
    def _writing(self):
        try:
            yield
        except TimeoutError:  # another host does not answer: the disk is sound
            raise
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
        """Runs in the thread that writes: when it returns, every host has the step."""
        try:
            response.result()
            if jax.process_index() == 0:
                self._complete(step, record)
        finally:
            all_hosts = multihost.get_barrier_sync_fn()
            # Hosts may have different names for the folder that they share.
            all_hosts(key=f"checkpoints/{step}", timeout_ms=1_000 * BARRIER_SECONDS)
        if not (self._directory / str(step)).is_dir():
            raise OSError(f"the first host has not finished step {step}")

    def _complete(self, step: int, record: dict) -> None:
        """Gives a step its record, sums and name, then deletes old ones."""
        partial = self._partial(step)
        _write_through(partial / RECORD, json.dumps(record, indent=1))
        sums = (f"{digest}  {path}\n" for path, digest in checksums(partial).items())
        _write_through(partial / SUMS, "".join(sums))
        replaced = self._set_aside(step) if step in self.steps() else None
        partial.rename(self._directory / str(step))
        if replaced is not None:
            _remove(replaced)
        for old in self.superfluous(step, self._keep_last):
            self._delete(old)

    def _delete(self, step: int) -> None:
        _remove(self._set_aside(step))

    def _set_aside(self, step: int) -> Path:
        leftover = self._directory / f"{PARTIAL}deleted-{step}"
        (self._directory / str(step)).rename(leftover)
        return leftover


def _remove(path: Path) -> None:
    """Deletes a folder with all that is in it, or a link in its place."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


def _write_through(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
