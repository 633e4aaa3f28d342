"""Trains a translator and says what it is worth.

Without a preset: phrases in English and Korean, some minutes on two CPU cores. The same
command again goes on where a stopped run stopped, or prints the result of a finished
one.
"""

import time
from typing import Any

import tyro

from experiments.command import run
from experiments.translate.config import DEFAULT_PRESET, PRESETS, Config
from zoo.errors import unknown


def main(arguments: list[str]) -> None:
    """Trains as the command line says."""
    first = arguments[0] if arguments else ""
    if first and not first.startswith("-") and first not in PRESETS:
        raise unknown("preset", first, PRESETS)
    if first not in (*PRESETS, "-h", "--help"):
        arguments = [DEFAULT_PRESET, *arguments]
    config = tyro.extras.overridable_config_cli(
        PRESETS,
        prog="python -m experiments.translate.train",
        description=__doc__,
        args=arguments,
    )
    train(config)


def train(config: Config) -> dict[str, Any]:
    """Trains, tests and fills the run's folder; returns the result.

    Raises:
        InputError: the text, the config or the folder is not usable.
    """
    from rich.console import Console

    from experiments.translate.corpus import prepare
    from experiments.translate.fitting import train_to_end
    from experiments.translate.result import conclude
    from zoo.training.optimizers import make_optimizer
    from zoo.training.records import environment, open_run, read_json

    console = Console()
    started = time.monotonic()
    if (config.workdir / "config.json").exists():
        open_run(config.workdir, config.to_json())
    result_path = config.workdir / "result.json"
    if result_path.exists():
        console.print(f"{config.workdir} is finished; this is its result.json:")
        result = read_json(result_path)
        console.print_json(data=result)
        return result
    corpora = prepare(config)
    console.print(
        f"{len(corpora.train):,} pairs to train on, {len(corpora.validation):,} to "
        f"validate and {len(corpora.test):,} to test; "
        f"{corpora.tokenizer.vocab_size:,} subwords"
    )
    optimizer = make_optimizer(config.optimizer, config.training.num_steps)
    open_run(config.workdir, config.to_json())
    corpora.tokenizer.save(config.workdir / "tokenizer.model")
    made_by = environment()  # now: the code may change while the run goes on
    fitted = train_to_end(config, corpora, optimizer, started, console)
    return conclude(config, corpora, console, fitted, made_by)


if __name__ == "__main__":
    run(main)
