"""Checkpoints of a run: written while training goes on, whole or not at all.

Orbax writes the arrays. What it does not promise is added here. A step is written
as `.partial-<step>` and renamed to `<step>` when nothing is missing, and renamed
away before it is deleted, so that whatever is called `<step>` is complete, wherever
the process was killed. What happens to it later `zoo.checkpoint_files` finds out, and
then the newest step that is still sound takes its place. Plain Orbax opens the same
folder.

On several hosts all call every method together, on a folder that all of them see; each
writes its arrays, and the first one finishes a step and deletes old ones.
"""

import json
import logging
import math
import os
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost
from orbax.checkpoint import v1 as orbax

from zoo.checkpoint_files import (
    RECORD,
    SUMS,
    DamagedCheckpoint,
    check_arrays,
    checksums,
    describe,
    load_arrays,
    read_record,
    require_loadable,
    verified_leaves,
)
from zoo.errors import InputError

# What Orbax logs as an error it raises too, and that is where we report it.
logging.getLogger("absl").addFilter(
    lambda record: record.levelno < logging.ERROR or "orbax" not in record.pathname
)
_log = logging.getLogger(__name__)

PARTIAL = ".partial-"
_STEP = re.compile(r"0|[1-9][0-9]*")  # as str() writes it, and no other digits
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


class Checkpoints:
    """Checkpoints of a run: `<directory>/<step>/`, the last `keep_last` and the best.

    What is found damaged counts for neither, and is not deleted.

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
        self._faults: dict[int, InputError | None] = {}

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

    def steps(self) -> list[int]:
        """Returns the finished steps, ascending."""
        if not self._directory.is_dir():
            return []
        folders = (path.name for path in self._directory.iterdir() if path.is_dir())
        return sorted(int(name) for name in folders if _STEP.fullmatch(name))

    def best_step(self) -> int | None:
        """Returns the sound step with the lowest loss, the earliest of equals.

        Raises:
            InputError: there are steps, but none is sound.
        """
        steps = sorted(self.steps(), key=self._rank)
        for step in steps:
            if self._is_sound(step):
                return step
        if steps and (fault := self._faults[steps[0]]):
            raise fault
        return None

    def last_steps(self, count: int) -> list[int]:
        """Returns the last `count` steps that were evaluated and are sound, ascending.

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
        return [step for step in last if self._is_sound(step)]

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
        self._require_sound(step, abstract_tree)
        return load_arrays(self._directory / str(step), abstract_tree)

    def _require_sound(self, step: int, abstract_tree: Any) -> None:
        checkpoint = self._directory / str(step)
        require_loadable(checkpoint, verified_leaves(checkpoint), abstract_tree)

    def restore_newest(self, abstract_tree: Any) -> tuple[int, Any, dict] | None:
        """Returns the newest step that can be restored, what was saved, and its note.

        Steps that cannot are passed over, and a line of the log says so. None if
        nothing was saved yet.

        Args:
            abstract_tree: as for `restore`.

        Raises:
            InputError: there are steps, but none can be restored.
        """
        self.wait()
        faults: dict[int, InputError | None] = {}
        while (step := self._newest_before(min(faults, default=None))) is not None:
            faults[step] = self._fault_of(step, abstract_tree)
            if not _on_every_host(faults[step] is None):
                continue
            try:
                tree = load_arrays(self._directory / str(step), abstract_tree)
            except InputError as error:
                tree, faults[step] = None, error
            if _on_every_host(faults[step] is None):
                del faults[step]
                for other, fault in faults.items():
                    reason = fault or "another host cannot read it"
                    _log.warning("step %d is passed over: %s", other, reason)
                return step, tree, self.note(step)
        for fault in faults.values():
            reason = fault or "another host cannot read the newest one"
            raise InputError(f"no step can be restored: {reason}")
        return None

    def _newest_before(self, limit: int | None) -> int | None:
        """Returns the newest step that the first host sees below a limit."""
        steps = [step for step in self.steps() if limit is None or step < limit]
        newest = _of_first(max(steps, default=-1))
        return None if newest < 0 else newest

    def _fault_of(self, step: int, abstract_tree: Any) -> InputError | None:
        try:
            self._require_sound(step, abstract_tree)
        except InputError as fault:
            return fault
        return None

    def note(self, step: int) -> dict:
        """Returns the note that was saved with a step."""
        return read_record(self._directory / str(step))["note"]

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
            all_hosts(
                key=f"{self._directory}/{step}", timeout_ms=1_000 * BARRIER_SECONDS
            )
        if not (self._directory / str(step)).is_dir():
            raise OSError(f"the first host has not finished step {step}")

    def _complete(self, step: int, record: dict) -> None:
        """Gives a step its record, sums and name, then deletes old ones."""
        partial = self._partial(step)
        _write_through(partial / RECORD, json.dumps(record, indent=1))
        sums = (f"{digest}  {path}\n" for path, digest in checksums(partial).items())
        _write_through(partial / SUMS, "".join(sums))
        if step in self.steps():
            self._delete(step)
        partial.rename(self._directory / str(step))
        self._faults.pop(step, None)
        sound = self._sound_steps(step)
        # A run that fell back to an older step leaves later ones: they do not count.
        until_now = [kept for kept in sound if kept <= step]
        best = min(sound, key=self._rank)
        last = [kept for kept in self._evaluated(step) if kept in sound]
        for old in set(until_now) - {step, best, *last[-self._keep_last :]}:
            self._delete(old)

    def _delete(self, step: int) -> None:
        leftover = self._directory / f"{PARTIAL}deleted-{step}"
        (self._directory / str(step)).rename(leftover)
        _remove(leftover)

    def _sound_steps(self, written: int) -> list[int]:
        """Returns the one just written and all others that are sound, ascending."""
        others = [step for step in self.steps() if step != written]
        sound = [step for step in others if self._is_sound(step)]
        if sound:
            # The best lies there for long, and others are deleted in its favour.
            del self._faults[min(sound, key=self._rank)]
        return sorted([written, *(step for step in sound if self._is_sound(step))])

    def _is_sound(self, step: int) -> bool:
        """Returns whether a step is as it was written; the first time, says if not."""
        if step not in self._faults:
            checkpoint, self._faults[step] = self._directory / str(step), None
            try:
                check_arrays(checkpoint, verified_leaves(checkpoint))
            except InputError as fault:  # the run may have deleted it by now
                self._faults[step] = fault
                _log.warning("step %d is passed over: %s", step, fault)
        return self._faults[step] is None

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


def _on_every_host(fact: bool) -> bool:
    """Returns whether something is so on all hosts; all must ask."""
    if jax.process_count() == 1:
        return fact
    return bool(multihost_utils.process_allgather(np.array(fact)).all())


def _of_first(number: int) -> int:
    """Returns a number of the first host on all of them; all must ask."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.array(number)))
