"""Measures what it gains to let several pairs share a row.

Takes a preset and options as `experiments.translate.train` does, whose --help lists
them; --training.packed-length is 64 unless given. Updates of each shape, in buckets and
in shared rows, are taken in turns; an epoch has as many of them as its plan says.
"""

import statistics
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from experiments.command import choose, plain_console, run
from experiments.translate.config import DEFAULT_PRESET, PRESETS, Config

if TYPE_CHECKING:
    from experiments.translate.corpus import Corpora

PACKED_LENGTH = 64
ROUNDS = 5


def main(arguments: list[str]) -> None:
    """Measures as the command line says."""
    config = choose(
        PRESETS,
        DEFAULT_PRESET,
        arguments,
        prog="python -m experiments.translate.rows",
        description=__doc__,
    )
    packed_length = config.training.packed_length or PACKED_LENGTH
    # A whole epoch, however short the preset is.
    training = replace(
        config.training, packed_length=packed_length, num_steps=1_000_000
    )
    measure(replace(config, training=training))


def measure(config: Config, rounds: int = ROUNDS) -> None:
    """Prints a row for buckets and one for shared rows.

    Raises:
        InputError: the model cannot take several pairs in a row, or the text is faulty.
    """
    from rich.table import Table

    from experiments.translate.corpus import prepare
    from experiments.translate.task import check

    check(config)
    corpora = prepare(config)
    padded = replace(config, training=replace(config.training, packed_length=0))
    epochs = {"buckets": Epoch(padded, corpora), "shared rows": Epoch(config, corpora)}
    for _ in range(rounds):
        for epoch in epochs.values():
            epoch.measure()
    table = Table("", "shapes", "cells filled", "updates", "µs a token", "of CPU")
    for name, epoch in epochs.items():
        wall, cpu = epoch.seconds()
        table.add_row(
            name,
            epoch.shapes,
            f"{epoch.filled:.1%}",
            str(epoch.counts.total()),
            f"{1e6 * wall / epoch.num_tokens:.1f}",
            f"{1e6 * cpu / epoch.num_tokens:.1f}",
        )
    plain_console().print(table)
    print(f"{len(corpora.train):,} pairs, rows planned in", end=" ")
    print(f"{epochs['shared rows'].planned:.1f} s")


class Epoch:
    """The batches of an epoch by their shapes, and updates on one of each, compiled.

    Attributes:
        planned: seconds that the plan took.
        counts: how many batches there are of each shape.
        num_tokens: of both sides, the ends counted.
        filled: the share of cells that hold one of them.
    """

    def __init__(self, config: Config, corpora: "Corpora"):
        import jax

        from experiments.translate.task import batch_plan, task
        from zoo.data.batching import lengths_with_end
        from zoo.training.devices import make_driver
        from zoo.training.optimizers import make_optimizer
        from zoo.training.step import init_state, make_train_step

        began = time.perf_counter()
        plan = batch_plan(config, corpora)
        self.planned = time.perf_counter() - began
        steps = range(plan.batches_per_epoch)
        of_shape = {plan[step][0]: step for step in steps}
        self.counts = Counter(plan[step][0] for step in steps)
        self.num_tokens = sum(
            int(lengths_with_end(side).sum()) for side in corpora.train_ids
        )
        cells = sum(
            count * bucket.rows * (bucket.source_length + bucket.target_length)
            for bucket, count in self.counts.items()
        )
        self.filled = self.num_tokens / cells
        learned = task(config, corpora)
        self.shapes = learned.shapes
        optimizer = make_optimizer(config.optimizer, config.training.num_steps)
        step = make_train_step(learned.loss, optimizer, jax.random.key(1))
        self._driver = make_driver("jit", step)
        params = jax.jit(learned.init)(jax.random.key(0))
        self._state = self._driver.place(init_state(params, optimizer))
        self._batches = {}
        for bucket, first in of_shape.items():
            with closing(learned.batches(first)) as batches:
                self._batches[bucket] = self._driver.split(next(batches))
        self._seconds: dict[Any, list[tuple[float, float]]] = {
            bucket: [] for bucket in of_shape
        }
        self.measure()
        for times in self._seconds.values():
            times.clear()  # they were compiled

    def measure(self) -> None:
        """Takes an update of each shape."""
        import jax

        for bucket, batch in self._batches.items():
            began = time.perf_counter(), time.process_time()
            self._state, measured = self._driver.step(self._state, batch)
            jax.block_until_ready(measured)
            ended = time.perf_counter(), time.process_time()
            self._seconds[bucket].append((ended[0] - began[0], ended[1] - began[1]))

    def seconds(self) -> tuple[float, float]:
        """Returns what an epoch takes, by the clock and of processors."""
        wall, cpu = (
            sum(
                count * statistics.median(one[kind] for one in self._seconds[bucket])
                for bucket, count in self.counts.items()
            )
            for kind in (0, 1)
        )
        return wall, cpu


if __name__ == "__main__":
    run(main)
