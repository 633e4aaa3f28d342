"""The finished steps of a run, and which of them are sound: what is read of a folder.

A step that `zoo.checkpoint_files` finds damaged is passed over, and the newest one that
is still sound takes its place. On several hosts all ask together, and go on from a step
that all of them can read.
"""

import logging
import math
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from zoo.checkpoint_files import (
    DamagedCheckpoint,
    check_arrays,
    load_arrays,
    read_record,
    require_loadable,
    verified_leaves,
)
from zoo.errors import InputError

_log = logging.getLogger(__name__)
_STEP = re.compile(r"0|[1-9][0-9]*")  # as str() writes it, and no other digits


class SavedSteps:
    """The finished steps in a folder: `<directory>/<step>/`.

    Reading changes nothing on the disk, so that one may look into the folder of a
    run that is still training.

    A step that was saved with an infinite loss, because the run was interrupted between
    two evaluations, is the newest, but no other choice where there is one.
    """

    def __init__(self, directory: Path):
        self._directory = Path(directory)
        self._faults: dict[int, InputError | None] = {}

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
        self._require_sound(step, abstract_tree)
        return load_arrays(self._directory / str(step), abstract_tree)

    def restore_newest(self, abstract_tree: Any) -> tuple[int, Any, dict] | None:
        """Returns the newest step that can be restored, what was saved, and its note.

        Steps that cannot are passed over, and a line of the log says so. None if
        nothing was saved yet.

        Args:
            abstract_tree: as for `restore`.

        Raises:
            InputError: there are steps, but none can be restored.
        """
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

    def note(self, step: int) -> dict:
        """Returns the note that was saved with a step."""
        return read_record(self._directory / str(step))["note"]

    def superfluous(self, written: int, keep_last: int) -> list[int]:
        """Returns the sound steps that need be kept no more, ascending.

        What is kept is the step just written, the best one, and of those before it that
        were evaluated the last `keep_last`. A run that fell back to an older step
        leaves later ones, which do not count.

        Args:
            written: the step that was just written, over an older one perhaps.
        """
        self._faults.pop(written, None)
        sound = self._sound_steps(written)
        best = min(sound, key=self._rank)
        last = [step for step in self._evaluated(written) if step in sound]
        kept = {written, best, *last[-keep_last:]}
        return [step for step in sound if step <= written and step not in kept]

    def _require_sound(self, step: int, abstract_tree: Any) -> None:
        checkpoint = self._directory / str(step)
        require_loadable(checkpoint, verified_leaves(checkpoint), abstract_tree)

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
