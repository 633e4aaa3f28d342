"""Scores a model on the questions of its run, or a results file against them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from experiments.command import plain_console, run
from zoo.errors import InputError


@dataclass(frozen=True)
class Arguments:
    """Which model, which questions, and what to write."""

    model: Path = Path("runs/vqa")
    """Folder of a run."""
    split: Literal["train", "validation", "test"] = "test"
    """Which questions of the run; their files must still be where they were."""
    results: Path | None = None
    """Score this results file instead of the model's answers: a JSON list of
    question_id and answer, one for each question."""
    output: Path | None = None
    """File for the model's answers, in the official format of results."""


def main(arguments: list[str]) -> None:
    """Evaluates as the command line says."""
    evaluate(
        tyro.cli(
            Arguments,
            prog="python -m experiments.vqa.evaluate",
            description=__doc__,
            args=arguments,
        )
    )


def evaluate(arguments: Arguments) -> None:
    """Prints the scores as one line of JSON, then as tables."""

    from experiments.vqa.config import data_from_json
    from experiments.vqa.scoring import (
        as_metrics,
        control_of_text,
        controls,
        measure_looks,
        scores_of,
        show,
    )
    from zoo.runs import read_section, read_seed
    from zoo.visual.answerer import VisualAnswerer
    from zoo.vqa_metrics import read_results, write_results

    if arguments.results is not None and arguments.output is not None:
        raise InputError(
            "--results answers nothing, so that --output has nothing to hold; leave "
            "one of them out"
        )
    data = data_from_json(read_section(arguments.model, "data"))
    seed = read_seed(arguments.model)
    questions = data.read(arguments.split, seed)
    if arguments.results is not None:
        answers = read_results(arguments.results, questions.question_ids)
        control, seen = control_of_text(questions, data.read("train", seed)), {}
    else:
        answerer = VisualAnswerer.from_run(arguments.model).on_all_devices()
        answers, _ = answerer.predict(questions)
        if arguments.output is not None:
            write_results(arguments.output, questions.question_ids, answers)
        train = data.read("train", seed)
        control = controls(answerer, questions, train)
        seen = measure_looks(answerer, questions)
    scores = scores_of(questions, answers)
    metrics = as_metrics(scores, questions, control, seen)
    line = {"model": str(arguments.model), "n": len(questions), **metrics}
    print(json.dumps(line, ensure_ascii=False), flush=True)
    show(plain_console(stderr=True), scores, questions, metrics)


if __name__ == "__main__":
    run(main)
