"""Trains a model that answers questions about images, and says what it is worth.

Without a preset: easy-VQA, some minutes on two CPU cores. The same command again goes
on where a stopped run stopped, or prints the result of a finished one.
"""

import time
from functools import partial
from typing import Any

from experiments.command import choose, on_hosts, plain_console, run
from experiments.vqa.config import DEFAULT_PRESET, PRESETS, Config


def main(arguments: list[str]) -> None:
    """Trains as the command line says."""
    config = choose(
        PRESETS,
        DEFAULT_PRESET,
        arguments,
        prog="python -m experiments.vqa.train",
        description=__doc__,
    )
    train(config)


def train(config: Config) -> dict[str, Any] | None:
    """Trains, tests and fills the run's folder; returns the result.

    Of several hosts the first one has it.

    Raises:
        InputError: the data, the config or the folder is not usable.
    """
    started = time.monotonic()
    with on_hosts(config.hosts):
        return _train(config, started)


def _train(config: Config, started: float) -> dict[str, Any] | None:
    from experiments.vqa.dataset import prepare
    from experiments.vqa.initial import with_tower
    from experiments.vqa.result import answer_test, conclude
    from experiments.vqa.task import check, task
    from zoo.training.experiment import Experiment, run_to_end
    from zoo.training.hosts import is_first

    console = plain_console(quiet=not is_first())
    config = with_tower(config)
    check(config)

    def read():
        dataset = prepare(config)
        console.print(
            f"{len(dataset.train):,} questions about {len(dataset.train.images):,} "
            f"images to train on, {len(dataset.validation):,} about "
            f"{len(dataset.validation.images):,} to validate; "
            f"{len(dataset.answers):,} answers"
        )

        def save():
            dataset.tokenizer.save(config.workdir / "tokenizer.model")
            dataset.answers.save(config.workdir / "answers.json")

        return Experiment(
            task=task(config, dataset),
            fingerprint=dataset.fingerprint(),
            save=save,
            test=partial(answer_test, config, dataset),
            conclude=partial(conclude, config, dataset, console),
        )

    return run_to_end(config, read, started=started, console=console)


if __name__ == "__main__":
    run(main)
