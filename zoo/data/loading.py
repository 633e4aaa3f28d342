"""Batches made ahead of training by Grain: which rows, by whom, in which order.

What is made is a pure function of the step, so that the stream is the same from
whichever step on, for any number of hosts and of processes that make batches.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Share:
    """Which rows of every batch a host makes: a block, in the order of the hosts.

    >>> Share(1, 4).rows(16)
    slice(4, 8, None)
    """

    host: int = 0
    num_hosts: int = 1

    def rows(self, number: int) -> slice:
        """Returns the place of this host's rows among those of a batch.

        Raises:
            ValueError: they do not divide by the hosts.
        """
        size, left = divmod(number, self.num_hosts)
        if left:
            raise ValueError(
                f"{number} rows do not divide by {self.num_hosts} hosts; make batches "
                "of a multiple"
            )
        return slice(self.host * size, (self.host + 1) * size)


WHOLE = Share()


class Recent:
    """Remembers the last two values of a function; goes to another process without.

    Steps are asked for in order, and two epochs may meet in what is made ahead.

    >>> square = Recent(lambda number: number**2)
    >>> square(3)
    9
    """

    def __init__(self, compute: Callable[[int], Any]):
        self._compute = compute
        self._known: dict[int, Any] = {}

    def __call__(self, number: int) -> Any:
        value = self._known.get(number)
        if value is None:
            value = self._compute(number)
            kept = list(self._known.items())[-1:]
            self._known = dict([*kept, (number, value)])
        return value

    def __reduce__(self):
        return Recent, (self._compute,)


def _end_with_parent(worker: int, num_workers: int) -> None:
    """Lets a process that makes batches live as long as the one that trains.

    Ctrl-C reaches both, and the one that trains still wants to end its update. Where it
    is killed, nobody else would tell the others.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch():
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def made_ahead(
    make: Callable[[int], Arrays],
    num_steps: int,
    *,
    first_step: int,
    num_threads: int = 1,
    workers: int = 0,
) -> Iterator[Arrays]:
    """Yields make(step) from `first_step` on.

    What makes them ends with the iterator: when it is used up, closed or dropped.

    Args:
        workers: processes, in which all that `make` knows is copied; 0 is threads.
    """
    import grain  # takes a second and imports jax where it finds it

    steps = grain.MapDataset.range(num_steps).map(make)[first_step:]
    batches = steps.to_iter_dataset(
        grain.ReadOptions(num_threads, prefetch_buffer_size=8)
    )
    if workers:
        from absl import flags

        # Grain reads flags that a program without absl's own main never parses.
        flags.FLAGS.mark_as_parsed()
        # Through pipes: memory that both sides share is left behind where a batch is
        # still held, or not yet asked for, when the program ends.
        piped = grain.experimental.DatasetOptions(min_shm_size=sys.maxsize)
        batches = grain.experimental.WithOptionsIterDataset(batches, piped)
        options = grain.MultiprocessingOptions(workers)
        batches = batches.mp_prefetch(options, worker_init_fn=_end_with_parent)
    iterator = iter(batches)
    try:
        yield from iterator
    finally:
        iterator.close()
