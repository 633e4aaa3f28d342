"""Translates arguments, a file or standard input; one line out for each line in."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.command import run
from zoo.errors import InputError

# A model can spell any byte; a line break in a translation is written as a space.
ONE_LINE = {ord("\n"): " ", ord("\r"): " "}


@dataclass(frozen=True)
class Arguments:
    """Which text, which model, and how to search."""

    text: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Sentences; without any, standard input is read."""
    model: Path = Path("runs/translate")
    """Folder of a run."""
    input: Path | None = None
    """File of sentences, one a line."""
    beam_size: int = 4
    """Hypotheses kept at each step; 1 is greedy."""
    length_penalty: float = 1.0
    """Scores are log-probabilities over length to this power."""
    max_length: int | None = None
    """Longest translation in subwords; by default twice the source's."""
    n_best: int = 1
    """Translations of each sentence, each on a line, with a tab and the rank before."""
    scores: bool = False
    """Print the score (nats) and a tab before each translation."""


def main(arguments: list[str]) -> None:
    """Translates as the command line says."""
    translate(
        tyro.cli(
            Arguments,
            prog="python -m experiments.translate.translate",
            description=__doc__,
            args=arguments,
        )
    )


def translate(arguments: Arguments) -> None:
    """Prints the translations in the order of the sentences."""
    import zoo

    translator = zoo.load(arguments.model)
    sentences = list(_sentences(arguments))
    found = translator.translate(
        sentences,
        beam_size=arguments.beam_size,
        length_penalty=arguments.length_penalty,
        num_best=arguments.n_best,
        max_length=arguments.max_length,
    )
    for hypotheses in found:
        for rank, hypothesis in enumerate(hypotheses, start=1):
            fields = [hypothesis.text.translate(ONE_LINE)]
            if arguments.scores:
                fields.insert(0, f"{hypothesis.score:.4f}")
            if arguments.n_best > 1:
                fields.insert(0, str(rank))
            sys.stdout.write("\t".join(fields) + "\n")
    sys.stdout.flush()


def _sentences(arguments: Arguments) -> Iterable[str]:
    if arguments.text and arguments.input:
        raise InputError(
            f"both text and --input {arguments.input} are given; choose one"
        )
    if arguments.text:
        return arguments.text
    if arguments.input is None:
        return _lines("standard input", sys.stdin.buffer.read())
    try:
        return _lines(str(arguments.input), arguments.input.read_bytes())
    except OSError as error:
        raise InputError(
            f"{arguments.input} cannot be read: {error.strerror}"
        ) from None


def _lines(name: str, data: bytes) -> Iterable[str]:
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, start=1):
        try:
            yield line.removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            raise InputError(
                f"{name}, line {number}: no valid UTF-8; convert it to UTF-8"
            ) from None


if __name__ == "__main__":
    run(main)
