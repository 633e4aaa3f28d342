"""Translates arguments, a file or standard input; one line out for each line in."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.command import run
from zoo.errors import InputError
from zoo.translation.alignment import format_links
from zoo.translation.options import Constraints, Sampling, check_range

DEFAULT_RUN = Path("runs/translate")
# A model can spell any byte; a line break in a translation is written as a space.
ONE_LINE = {ord("\n"): " ", ord("\r"): " "}
Words = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclass(frozen=True)
class Arguments:
    """Which text, which model, how to search, and what to keep to on every line."""

    text: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Sentences; without any, standard input is read."""
    model: Words = ()
    """Folder of a run, by default runs/translate; several --model are an ensemble. Or a
    directory in Hugging Face's layout, or its id on the hub."""
    average: int | None = None
    """Checkpoints whose mean translates, the last so many; 1 is the best one, and by
    default it is as in the run's own test."""
    source_language: str | None = None
    """What an imported model of many languages reads, by its own name, as fr_XX of
    mBART, fra_Latn of NLLB or fr of M2M100; by default as its directory says."""
    target_language: str | None = None
    """What such a model writes; by default as its directory says."""
    input: Path | None = None
    """File of sentences, one a line."""
    beam_size: int | None = None
    """Hypotheses kept at each step; 1 is greedy. By default 4, or as an imported model
    says."""
    length_penalty: float | None = None
    """Scores are log-probabilities over length to this power. By default 1, or as an
    imported model says."""
    max_length: int | None = None
    """Longest translation in subwords; by default twice the source's."""
    min_length: int = 0
    """Shortest translation in subwords, its end and the prefix counted."""
    no_repeat_ngram: int = 0
    """No run of so many subwords comes twice; 0 allows all."""
    prefix: str = ""
    """What every translation begins with, in whole words."""
    require: Words = ()
    """A word, or several in quotes, that every translation holds; can be repeated."""
    ban: Words = ()
    """A word, or several in quotes, that none holds; can be repeated."""
    sampling: bool = False
    """Draw translations at random instead of searching."""
    temperature: float | None = None
    """Of --sampling; below 1 prefers the likely. By default 1."""
    top_k: int | None = None
    """Of --sampling; draw from so many likeliest subwords alone."""
    top_p: float | None = None
    """Of --sampling; draw from the fewest subwords whose probability reaches this."""
    seed: int | None = None
    """Of --sampling; the same one draws the same. By default 0."""
    n_best: int = 1
    """Translations of each sentence, each on a line, with a tab and the rank before."""
    scores: bool = False
    """Print the score (nats) and a tab before each translation."""
    alignments: bool = False
    """Print ` ||| ` and the alignment behind each translation: source word-target word,
    numbered from 0, as fast_align and Marian do."""
    layer: int | None = None
    """Of --alignments; decoder layer whose attention aligns, from 1, by default the
    last."""


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
    _check(arguments)
    sampling = _sampling(arguments)
    constraints = Constraints(
        arguments.min_length, arguments.no_repeat_ngram, arguments.ban
    )

    from experiments.translate.loading import load_translator

    model = arguments.model or [DEFAULT_RUN]
    translator = load_translator(
        model,
        average=arguments.average,
        source_language=arguments.source_language,
        target_language=arguments.target_language,
    )
    sentences = list(_sentences(arguments))
    found = translator.translate(
        sentences,
        beam_size=arguments.beam_size,
        length_penalty=arguments.length_penalty,
        num_best=arguments.n_best,
        max_length=arguments.max_length,
        prefixes=[arguments.prefix] * len(sentences),
        required=[arguments.require] * len(sentences),
        constraints=constraints,
        sampling=sampling,
    )
    for sentence, hypotheses in zip(sentences, found, strict=True):
        for rank, hypothesis in enumerate(hypotheses, start=1):
            fields = [hypothesis.text.translate(ONE_LINE)]
            if arguments.scores:
                fields.insert(0, f"{hypothesis.score:.4f}")
            if arguments.n_best > 1:
                fields.insert(0, str(rank))
            if arguments.alignments:
                links = translator.align(
                    sentence, hypothesis.text, layer=arguments.layer
                )
                fields[-1] += f" ||| {format_links(links)}"
            sys.stdout.write("\t".join(fields) + "\n")
    sys.stdout.flush()


def _check(arguments: Arguments) -> None:
    """Refuses options that do not go together, before anything is loaded."""
    if arguments.average is not None:
        check_range("average", arguments.average, 1)
    if arguments.text and arguments.input:
        raise InputError(
            f"both text and --input {arguments.input} are given; choose one"
        )
    if arguments.sampling and arguments.beam_size != Arguments.beam_size:
        raise InputError("--beam-size has no effect with --sampling; leave one out")
    if arguments.layer is not None and not arguments.alignments:
        raise InputError("--layer is of --alignments; add it, or leave both out")


def _sampling(arguments: Arguments) -> Sampling | None:
    """Returns how to draw, if at all; refuses an option that would have no effect."""
    given = {
        name: getattr(arguments, name)
        for name in ("temperature", "top_k", "top_p", "seed")
        if getattr(arguments, name) is not None
    }
    if arguments.sampling:
        return Sampling(**given)
    if given:
        option = next(iter(given)).replace("_", "-")
        raise InputError(f"--{option} is of --sampling; add it, or leave both out")
    return None


def _sentences(arguments: Arguments) -> Iterable[str]:
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
