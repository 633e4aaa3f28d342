"""Writes what `benchmarks.accelerators.recipe` needs, on a machine that has the text.

    python -m benchmarks.accelerators.prepare FOLDER

FOLDER holds the files of Wu et al. (2021), as `train wu2021` of the experiments reads
them. What is written is a run's folder without parameters: its config, its tokenizer
and all tokens, padded to rows of one length.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.accelerators.recipe import FOLDER, TOKENS, padded
from experiments.command import run
from experiments.translate.config import PRESETS, Config
from zoo.errors import InputError
from zoo.training.records import open_run


def main(arguments: list[str]) -> None:
    """Prepares as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accelerators.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--output", type=Path, default=FOLDER, help="folder (default: %(default)s)"
    )
    asked = parser.parse_args(arguments)
    _, preset = PRESETS["wu2021"]
    data = replace(preset.data, folder=asked.folder)
    prepare(replace(preset, data=data, workdir=asked.output))


def prepare(config: Config) -> None:
    """Writes the folder of a run that is to be trained elsewhere.

    Raises:
        InputError: the text cannot be used, or the folder holds something else.
    """
    from experiments.translate import corpus

    if config.workdir.exists():
        raise InputError(f"{config.workdir} exists already; choose another --output")
    corpora = corpus.prepare(config)
    open_run(config.workdir, config.to_json())
    corpora.tokenizer.save(config.workdir / "tokenizer.model")
    np.savez_compressed(
        config.workdir / TOKENS,
        allow_pickle=False,
        vocab_size=np.int32(corpora.tokenizer.vocab_size),
        **padded("train", *corpora.train_ids),
        **padded("validation", *corpora.validation_ids),
    )
    print(f"{len(corpora.train):,} pairs in {config.workdir / TOKENS}")


if __name__ == "__main__":
    run(main)
