"""Scores a trained translator on its test set, or on two files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from experiments.command import run
from zoo.errors import InputError


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
    beam_size: int = 4
    """Hypotheses kept at each step; 1 is greedy."""
    length_penalty: float = 1.0
    """Scores are log-probabilities over length to this power."""
    output: Path | None = None
    """File for the translations, one a line."""


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
    """Prints the scores as one line of JSON, and writes the translations if asked."""
    from dataclasses import asdict

    import zoo
    from experiments.translate.config import DecodingConfig, data_from_json
    from experiments.translate.corpus import load
    from experiments.translate.scoring import score, translate_all
    from experiments.translate.translate import ONE_LINE
    from zoo.data.text import read_pair_of_files
    from zoo.training.records import read_json

    if (arguments.source is None) != (arguments.reference is None):
        raise InputError("--source and --reference go together; give both or none")
    translator = zoo.load(arguments.model)
    config = read_json(arguments.model / "config.json")
    if arguments.source is None:
        data = data_from_json(config["data"])
        text = load(data, arguments.split, config["seed"])
    else:
        text = read_pair_of_files(arguments.source, arguments.reference)
    decoding = DecodingConfig(arguments.beam_size, arguments.length_penalty)
    translations = translate_all(translator, text.source, decoding)
    if arguments.output is not None:
        lines = "".join(f"{line.translate(ONE_LINE)}\n" for line in translations)
        arguments.output.write_text(lines, encoding="utf-8")
    scores = score(text, translations, lowercase=config["data"]["lowercase"])
    line = {"model": str(arguments.model), "n": len(text), **asdict(scores)}
    print(json.dumps(line, ensure_ascii=False))


if __name__ == "__main__":
    run(main)
