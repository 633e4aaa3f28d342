"""Measures what it gains to encode an image once for all of its questions.

For each preset, training steps over batches of its own kind alternate with steps over
as many questions one an image, in one process; the ratio is of questions a second.
"""

import statistics
import time
from dataclasses import dataclass, replace
from typing import Annotated, Any

import tyro

from experiments.command import plain_console, run
from experiments.vqa.config import PRESETS, Config
from zoo.errors import require_positive, unknown


@dataclass(frozen=True)
class Arguments:
    """Which presets, and how often."""

    presets: Annotated[tuple[str, ...], tyro.conf.Positional] = tuple(
        name for name in PRESETS if name.startswith(("easy-vqa", "sort-of-clevr"))
    )
    """Presets to measure, on data that needs no folder."""
    rounds: int = 7
    """Steps of each kind, of which the median counts."""

    def __post_init__(self):
        require_positive(self, "rounds")
        for name in self.presets:
            if name not in PRESETS:
                raise unknown("preset", name, PRESETS)


def main(arguments: list[str]) -> None:
    """Measures as the command line says."""
    measure(
        tyro.cli(
            Arguments,
            prog="python -m experiments.vqa.grouping",
            description=__doc__,
            args=arguments,
        )
    )


def measure(arguments: Arguments) -> None:
    """Prints a row for each preset."""
    from rich.table import Table

    table = Table(
        *("preset", "questions a row", "grouped, questions/s"),
        *("one an image, questions/s", "gain"),
    )
    for name in arguments.presets:
        config = PRESETS[name][1]
        mean, grouped, single = rates(config, arguments.rounds)
        table.add_row(
            name,
            f"{mean:.1f}",
            f"{grouped:,.0f}",
            f"{single:,.0f}",
            f"{grouped / single:.2f}",
        )
    plain_console().print(table)


def rates(config: Config, rounds: int) -> tuple[float, float, float]:
    """Returns questions of a row, and questions a second with groups and without."""
    from experiments.vqa.dataset import prepare

    # A tenth of the data is plenty for some steps.
    if hasattr(config.data, "num_train"):
        config = replace(config, data=replace(config.data, num_train=1_000))
    dataset = prepare(config)
    grouped = Stepper(config, dataset)
    training = replace(
        config.training,
        images_per_batch=grouped.num_questions,
        questions_per_image=1,
    )
    single = Stepper(replace(config, training=training), dataset)
    seconds: dict[Any, list[float]] = {grouped: [], single: []}
    for _ in range(rounds):
        for stepper, times in seconds.items():
            times.append(stepper.step())
    fast, slow = (
        stepper.num_questions / statistics.median(times)
        for stepper, times in seconds.items()
    )
    return grouped.num_questions / grouped.num_rows, fast, slow


class Stepper:
    """A training step that is compiled, and a batch to take it with again and again."""

    def __init__(self, config: Config, dataset: Any):
        import jax

        from experiments.vqa.task import task
        from zoo.training.devices import make_driver
        from zoo.training.optimizers import make_optimizer
        from zoo.training.step import init_state, make_train_step

        learned = task(config, dataset)
        optimizer = make_optimizer(config.optimizer, config.training.num_steps)
        params = learned.init(jax.random.key(0))
        step = make_train_step(learned.loss, optimizer, jax.random.key(1))
        batch = next(iter(learned.batches(0)))
        self.num_questions = int(batch["valid"].sum())
        self.num_rows = len(batch["valid"])
        self._driver = make_driver("jit", step)
        self._batch = self._driver.split(batch)
        self._state = self._driver.place(init_state(params, optimizer))
        self.step()

    def step(self) -> float:
        """Returns the seconds that one update took."""
        import jax

        started = time.perf_counter()
        self._state, measured = self._driver.step(self._state, self._batch)
        jax.block_until_ready(measured)
        return time.perf_counter() - started


if __name__ == "__main__":
    run(main)
