"""Trains a model that answers questions about images, and says what it is worth.

Without a preset: easy-VQA, some minutes on two CPU cores. The same command again goes
on where a stopped run stopped, or prints the result of a finished one.
"""

import time
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
    from zoo.training.alone import alone
    from zoo.training.hosts import agree, by_first, fingerprint, is_first
    from zoo.training.records import environment, open_run
    from zoo.training.run import finished, train_to_end

    console = plain_console(quiet=not is_first())
    config = with_tower(config)
    check(config)
    agree("config", lambda: fingerprint(config.to_json()))
    result = finished(config.workdir, config.to_json(), console)
    if result is not None:
        return result
    dataset = prepare(config)
    agree("data", dataset.fingerprint)
    console.print(
        f"{len(dataset.train):,} questions about {len(dataset.train.images):,} images "
        f"to train on, {len(dataset.validation):,} about "
        f"{len(dataset.validation.images):,} to validate; "
        f"{len(dataset.answers):,} answers"
    )
    learned = task(config, dataset)

    def begin():
        open_run(config.workdir, config.to_json())
        dataset.tokenizer.save(config.workdir / "tokenizer.model")
        dataset.answers.save(config.workdir / "answers.json")

    with alone(config.workdir):
        # Another command may have begun, or ended, this run while this one prepared.
        result = finished(config.workdir, config.to_json(), console)
        if result is not None:
            return result
        by_first("begun", begin)
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
        tested = answer_test(config, dataset)
        return by_first(
            "concluded",
            lambda: conclude(config, dataset, tested, console, fitted, made_by),
        )


if __name__ == "__main__":
    run(main)
