"""Says whether one run translates its test set better than another, or by chance.

Both runs are scored on the same resamples of the test set (Koehn 2004, "Statistical
Significance Tests for Machine Translation Evaluation").
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from experiments.command import plain_console, run
from zoo.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from zoo.data.text import ParallelText


@dataclass(frozen=True)
class Arguments:
    """Which runs."""

    first: Annotated[Path, tyro.conf.Positional]
    """Folder of a finished run."""
    second: Annotated[Path, tyro.conf.Positional]
    """Folder of another one, tested on the same text."""
    json: bool = False
    """Print one line of JSON instead of a table."""


def main(arguments: list[str]) -> None:
    """Compares as the command line says."""
    compare(
        tyro.cli(
            Arguments,
            prog="python -m experiments.translate.compare",
            description=__doc__,
            args=arguments,
        )
    )


def compare(arguments: Arguments) -> None:
    """Prints the scores of both runs and how sure their differences are."""

    line = comparison(arguments.first, arguments.second)
    if arguments.json:
        print(json.dumps(line, ensure_ascii=False))
    else:
        plain_console().print(table(line))


def comparison(first: Path, second: Path) -> dict[str, Any]:
    """Returns for each metric both scores, second minus first, its interval and p.

    Raises:
        InputError: a run is not finished or its test set has gone, or the runs were
            tested on different texts or are scored in different ways.
    """
    from experiments.translate.scoring import NAMES, count, signatures
    from zoo.metrics import NUM_RESAMPLES, SEED, paired_bootstrap

    text, how = shared_test_set(first, second)
    mine, yours = (
        count(translations_of(run, text), text.target, **how) for run in (first, second)
    )
    metrics = {}
    for name in NAMES:
        difference = paired_bootstrap(mine[name], yours[name])
        metrics[name] = {
            "first": mine[name].score().value,
            "second": yours[name].score().value,
            "difference": difference.value,
            "interval": difference.interval,
            "p_value": difference.p_value,
        }
    return {
        "first": str(first),
        "second": str(second),
        "n": len(text),
        "metrics": metrics,
        "signatures": signatures(mine),
        "resamples": NUM_RESAMPLES,
        "resampling_seed": SEED,
    }


def shared_test_set(first: Path, second: Path) -> tuple["ParallelText", dict[str, Any]]:
    """Returns the text that both runs were tested on, and how `count` is to score it.

    Raises:
        InputError: as `comparison`.
    """
    from experiments.translate.config import data_from_json
    from experiments.translate.corpus import load
    from zoo.data.text import sha256
    from zoo.training.records import read_json

    runs = first, second
    results = [_result(run) for run in runs]
    prints = [result["data_sha256"]["test"] for result in results]
    if prints[0] != prints[1]:
        raise InputError(
            f"{first} and {second} were tested on different texts (SHA-256 "
            f"{prints[0][:8]}… and {prints[1][:8]}…); train both with the same --data, "
            "and --seed if the text is made on the spot"
        )
    data = [data_from_json(read_json(run / "config.json")["data"]) for run in runs]
    how = [{"lowercase": x.lowercase, "tokenize": x.bleu_tokenize} for x in data]
    if how[0] != how[1]:
        raise InputError(
            f"{first} and {second} are scored in different ways, {how[0]} and "
            f"{how[1]}; train both with the same --data"
        )
    text = load(data[0], "test", results[0]["seed"])
    if sha256(text) != prints[0]:
        raise InputError(
            f"{first}: the test set has changed since the run; restore it or train anew"
        )
    return text, how[0]


def translations_of(run: Path, text: "ParallelText") -> list[str]:
    """Returns a run's translations of its test set: from `test.txt`, or made anew.

    Raises:
        InputError: the file is no UTF-8 or has another number of lines than the text.
    """
    path = run / "test.txt"
    if not path.exists():
        return _translate(run, text)
    try:
        lines = path.read_bytes().decode().split("\n")[:-1]
    except UnicodeDecodeError:
        raise InputError(
            f"{path}: no valid UTF-8; remove it, and the run translates anew"
        ) from None
    if len(lines) != len(text):
        raise InputError(
            f"{path} has {len(lines)} lines for {len(text)} test sentences; remove it, "
            "and the run translates anew"
        )
    return lines


def _translate(run: Path, text: "ParallelText") -> list[str]:
    from experiments.translate.config import DecodingConfig
    from experiments.translate.scoring import translate_all
    from zoo.training.records import read_json
    from zoo.translation.translator import Translator

    decoding = DecodingConfig(**read_json(run / "config.json")["decoding"])
    translator = Translator.from_run(run, average=_result(run).get("averaged", 1))
    return translate_all(translator, text.source, decoding)


def _result(run: Path) -> dict[str, Any]:
    from zoo.training.records import read_json

    if not (run / "result.json").exists():
        raise InputError(f"{run}: no result.json, so no finished run; train it first")
    return read_json(run / "result.json")


def table(line: dict[str, Any]) -> "Table":
    """Returns a comparison for the console."""
    from rich.table import Table

    from experiments.translate.scoring import NAMES

    drawn = Table(
        *("metric", "first", "second", "second − first", "95 %", "p"),
        title=f"first {line['first']}, second {line['second']}, {line['n']:,} pairs",
    )
    for column in drawn.columns[1:]:
        column.justify = "right"
    for name, row in line["metrics"].items():
        low, high = row["interval"]
        drawn.add_row(
            NAMES[name],
            f"{row['first']:.2f}",
            f"{row['second']:.2f}",
            f"{row['difference']:+.2f}",
            f"{low:+.2f} to {high:+.2f}",
            f"{row['p_value']:.3f}",
        )
    return drawn


if __name__ == "__main__":
    run(main)
