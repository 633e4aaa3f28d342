"""Trains several models on short verses and shows what each is worth on long ones.

Bottleneck: a recurrent encoder-decoder without attention, on short and on all verses,
one with attention, and the Transformer, after figure 2 of Bahdanau et al. (2015).
Positions: the Transformer with each of its five encodings. Run NAME lies in
WORKDIR/NAME, and further options are for each `experiments.translate.train`. The same
command again goes on where it stopped; the Transformer of one study serves the other.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.command import plain_console, run
from experiments.translate import train

# What each line of a figure is trained with: preset, and options that it adds.
STUDIES: dict[str, dict[str, tuple[str, ...]]] = {
    "bottleneck": {
        "no attention": ("bible-rnn",),
        "no attention, trained on long": ("bible-rnn", "--data.max-words=50"),
        "Bahdanau attention": ("bible-bahdanau",),
        "Transformer": ("bible",),
    },
    "positions": {
        "sinusoidal": ("bible",),
        "learned": ("bible-learned",),
        "rotary": ("bible-rotary",),
        "relative (T5)": ("bible-relative",),
        "ALiBi": ("bible-alibi",),
    },
}


@dataclass(frozen=True)
class Arguments:
    """Which study, of which verses, and where."""

    study: Annotated[Literal["bottleneck", "positions"], tyro.conf.Positional]
    """What is compared."""
    verses: Annotated[Path, tyro.conf.Positional]
    """Table of verses; its columns are those of `zoo.data.sources.VersesData`."""
    workdir: Path = Path("runs/bible")
    """Folder of the runs, the figure and the numbers."""


def main(arguments: list[str]) -> None:
    """Compares as the command line says."""
    ours, rest = tyro.cli(
        Arguments,
        prog="python -m experiments.translate.study",
        description=__doc__,
        args=arguments,
        return_unknown_args=True,
    )
    study(ours, rest)


def study(arguments: Arguments, options: Sequence[str]) -> None:
    """Trains what is missing; writes WORKDIR/STUDY.png and WORKDIR/STUDY.json.

    Args:
        options: options of train, for every run.

    Raises:
        InputError: the verses cannot be read, or train refuses its options.
    """
    for name, folder in folders(arguments).items():
        preset, *added = STUDIES[arguments.study][name]
        place = ["--data.path", str(arguments.verses), "--workdir", str(folder)]
        train.main([preset, *added, *place, *options])
    _report(arguments)


def folders(arguments: Arguments) -> dict[str, Path]:
    """Returns the folder of each run, under its name in the figure."""
    return {
        name: arguments.workdir / "".join(options).replace("--data.max-words=", "-")
        for name, options in STUDIES[arguments.study].items()
    }


def _report(arguments: Arguments) -> None:
    """Scores what the runs have written of the test set, by length."""

    from experiments.translate.compare import translations_of
    from experiments.translate.config import data_from_json
    from experiments.translate.lengths import by_length, draw_by_length, table
    from zoo.plots import save
    from zoo.training.records import read_json, write_json

    runs = folders(arguments)
    config = read_json(next(iter(runs.values())) / "config.json")
    data = data_from_json(config["data"])
    text = data.read("test", config["seed"])
    lengths = [len(target.split()) for target in text.target]
    rows = by_length(
        {name: translations_of(folder, text) for name, folder in runs.items()},
        text,
        lengths=lengths,
        lowercase=data.lowercase,
    )
    picture = arguments.workdir / f"{arguments.study}.png"
    figure = draw_by_length(rows, x_label="words of the English verse")
    save(figure, picture)
    write_json(picture.with_suffix(".json"), {"rows": [asdict(row) for row in rows]})
    console = plain_console()
    console.print(table(rows))
    console.print(f"{picture} and {picture.with_suffix('.json').name}")


if __name__ == "__main__":
    run(main)
