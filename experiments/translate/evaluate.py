"""Scores a trained translator on its test set, or on two files."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from experiments.command import plain_console, run
from zoo.errors import InputError

if TYPE_CHECKING:
    from zoo.data.text import ParallelText


@dataclass(frozen=True)
class Arguments:
    """Which model, which text, and how to search."""

    model: Path = Path("runs/translate")
    """Folder of a run."""
    split: Literal["train", "validation", "test"] = "test"
    """Which text of the run; its files must still be where they were."""
    source: Path | None = None
    """File of sentences to translate instead, one a line."""
    reference: Path | None = None
    """File of their translations, one a line."""
    beam_size: int | None = None
    """Hypotheses kept at each step; 1 is greedy. The default is that of the run's own
    test."""
    length_penalty: float | None = None
    """Scores are log-probabilities over length to this power. The default is that of
    the run's own test."""
    average: int | None = None
    """Checkpoints whose mean translates, the last so many; 1 is the best one, and by
    default it is as in the run's own test."""
    output: Path | None = None
    """File for the translations, one a line."""
    by_length: bool = False
    """Print a table of the scores by the length of the source, too."""
    plot: Path | None = None
    """Picture of the scores by the length of the source: .png, .svg or .pdf."""
    score: bool = False
    """Translate nothing; print for each pair its log-probability in nats over length to
    the power of the penalty, its source and its reference, with tabs between."""


def main(arguments: list[str]) -> None:
    """Evaluates as the command line says."""
    evaluate(
        tyro.cli(
            Arguments,
            prog="python -m experiments.translate.evaluate",
            description=__doc__,
            args=arguments,
        )
    )


def evaluate(arguments: Arguments) -> None:
    """Prints the scores as one line of JSON, or the score of every pair."""
    from experiments.translate.config import DecodingConfig, data_from_json
    from experiments.translate.corpus import load
    from experiments.translate.scoring import translate_all
    from zoo.data.text import read_pair_of_files
    from zoo.runs import read_section, read_seed
    from zoo.translation.translator import Translator

    _check(arguments)
    translator = Translator.from_run(arguments.model, average=arguments.average)
    translator = translator.on_all_devices()
    data = data_from_json(read_section(arguments.model, "data"))
    if arguments.source is None:
        text = load(data, arguments.split, read_seed(arguments.model))
    else:
        text = read_pair_of_files(arguments.source, arguments.reference)
    if arguments.score:
        scores = translator.score(
            text.source, text.target, length_penalty=arguments.length_penalty
        )
        show_pairs(text, scores)
        return
    asked = {
        "beam_size": arguments.beam_size,
        "length_penalty": arguments.length_penalty,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    decoding = DecodingConfig(**read_section(arguments.model, "decoding") | asked)
    translations = translate_all(translator, text.source, decoding)
    if arguments.output is not None:
        write_lines(arguments.output, translations)
    report(
        arguments,
        text,
        translations,
        lowercase=data.lowercase,
        tokenize=data.bleu_tokenize,
    )


def report(
    arguments: Arguments,
    text: "ParallelText",
    translations: Sequence[str],
    *,
    lowercase: bool,
    tokenize: str,
) -> None:
    """Prints the scores, and the table and the picture by length that are asked for."""
    from dataclasses import asdict

    from experiments.translate.lengths import by_length, draw_by_length, table
    from experiments.translate.scoring import (
        count,
        intervals,
        scores_of,
        signatures,
    )
    from zoo.plots import save

    how = {"lowercase": lowercase, "tokenize": tokenize}
    counts = count(translations, text.target, **how)
    line = {
        "model": str(arguments.model),
        "n": len(text),
        **asdict(scores_of(counts, text.category)),
        "intervals": intervals(counts),
        "signatures": signatures(counts),
    }
    print(json.dumps(line, ensure_ascii=False), flush=True)
    if not arguments.by_length and arguments.plot is None:
        return
    rows = by_length({str(arguments.model): translations}, text, **how)
    if arguments.by_length:
        plain_console().print(table(rows))
    if arguments.plot is not None:
        save(draw_by_length(rows), arguments.plot)


def show_pairs(text: "ParallelText", scores: Sequence[float]) -> None:
    """Prints score, source and target of each pair; their own tabs become spaces."""
    for score, source, target in zip(scores, text.source, text.target, strict=True):
        fields = f"{score:.4f}", source.replace("\t", " "), target.replace("\t", " ")
        sys.stdout.write("\t".join(fields) + "\n")
    sys.stdout.flush()


def write_lines(path: Path, sentences: Sequence[str]) -> None:
    """Writes sentences, one a line."""
    from experiments.translate.translate import ONE_LINE

    lines = "".join(f"{sentence.translate(ONE_LINE)}\n" for sentence in sentences)
    try:
        path.write_text(lines, encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None


def _check(arguments: Arguments) -> None:
    """Refuses options that do not go together, before anything is loaded."""
    from zoo.plots import check_suffix

    if (arguments.source is None) != (arguments.reference is None):
        raise InputError("--source and --reference go together; give both or none")
    if arguments.score and (arguments.by_length or arguments.plot or arguments.output):
        raise InputError(
            "--score translates nothing, so that --output, --by-length and --plot have "
            "nothing to show; leave them out"
        )
    if arguments.plot is not None:
        check_suffix(arguments.plot)


if __name__ == "__main__":
    run(main)
