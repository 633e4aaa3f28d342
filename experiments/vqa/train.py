"""Trains a model that answers questions about images, and says what it is worth.

Without a preset: easy-VQA, some minutes on two CPU cores. The same command again goes
on where a stopped run stopped, or prints the result of a finished one.
"""

import time
from typing import Any

from experiments.command import choose, plain_console, run
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


def train(config: Config) -> dict[str, Any]:
    """Trains, tests and fills the run's folder; returns the result.

    Raises:
        InputError: the data, the config or the folder is not usable.
    """

    from experiments.vqa.dataset import prepare
    from experiments.vqa.initial import with_tower
    from experiments.vqa.result import conclude
    from experiments.vqa.task import task
    from zoo.training.alone import alone
    from zoo.training.hosts import require_one_task
    from zoo.training.records import environment, open_run
    from zoo.training.run import finished, train_to_end

    console = plain_console()
    started = time.monotonic()
    require_one_task()
    config = with_tower(config)
    if result := finished(config.workdir, config.to_json(), console):
        return result
    dataset = prepare(config)
    console.print(
        f"{len(dataset.train):,} questions about {len(dataset.train.images):,} images "
        f"to train on, {len(dataset.validation):,} about "
        f"{len(dataset.validation.images):,} to validate; "
        f"{len(dataset.answers):,} answers"
    )
    learned = task(config, dataset)
    with alone(config.workdir):
        # Another command may have begun, or ended, this run while this one prepared.
        if result := finished(config.workdir, config.to_json(), console):
            return result
        open_run(config.workdir, config.to_json())
        dataset.tokenizer.save(config.workdir / "tokenizer.model")
        dataset.answers.save(config.workdir / "answers.json")
        made_by = environment()  # now: the code may change while the run goes on
        fitted = train_to_end(
            config.workdir,
            learned,
            config.training,
            config.optimizer,
            seed=config.seed,
            started=started,
            console=console,
        )
        return conclude(config, dataset, console, fitted, made_by)


if __name__ == "__main__":
    run(main)
