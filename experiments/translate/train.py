"""Trains a translator and says what it is worth.

Without a preset: phrases in English and Korean, some minutes on two CPU cores. The same
command again goes on where a stopped run stopped, or prints the result of a finished
one.
"""

import time
from dataclasses import asdict
from functools import partial
from typing import Any

from experiments.command import choose, on_hosts, plain_console, run
from experiments.translate.config import DEFAULT_PRESET, PRESETS, Config


def main(arguments: list[str]) -> None:
    """Trains as the command line says."""
    config = choose(
        PRESETS,
        DEFAULT_PRESET,
        arguments,
        prog="python -m experiments.translate.train",
        description=__doc__,
    )
    if config.init_from is not None:
        from experiments.translate.initial import refuse_sizes

        refuse_sizes(arguments)
    train(config)


def train(config: Config) -> dict[str, Any] | None:
    """Trains, tests and fills the run's folder; returns the result.

    Of several hosts the first one has it.

    Raises:
        InputError: the text, the config or the folder is not usable.
    """
    started = time.monotonic()
    with on_hosts(config.hosts):
        return _train(config, started)


def _train(config: Config, started: float) -> dict[str, Any] | None:
    from experiments.translate.corpus import prepare
    from experiments.translate.initial import with_initial
    from experiments.translate.result import conclude, translate_test
    from experiments.translate.task import check, task
    from zoo.runs import SEARCH
    from zoo.training.experiment import Experiment, run_to_end
    from zoo.training.hosts import is_first
    from zoo.training.records import write_json

    console = plain_console(quiet=not is_first())
    config, initial = with_initial(config)
    check(config)

    def read():
        corpora = prepare(config, initial and initial.tokenizer)
        console.print(
            f"{len(corpora.train):,} pairs to train on, {len(corpora.validation):,} to "
            f"validate and {len(corpora.test):,} to test; "
            f"{corpora.tokenizer.vocab_size:,} subwords"
        )

        def save():
            corpora.tokenizer.save(config.workdir / "tokenizer.model")
            if initial and initial.defaults:
                write_json(config.workdir / SEARCH, asdict(initial.defaults))

        return Experiment(
            task=task(config, corpora, initial and initial.params),
            fingerprint=corpora.fingerprint(),
            save=save,
            test=partial(translate_test, config, corpora),
            conclude=partial(conclude, config, corpora, console),
        )

    return run_to_end(
        config,
        read,
        started=started,
        console=console,
        # The best and one to fall back on, or as many as are averaged.
        keep_last=max(2, config.decoding.average),
    )


if __name__ == "__main__":
    run(main)
