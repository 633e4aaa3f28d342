"""The end of a run: its test set read once, answered, scored and written down."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console

from experiments.vqa.config import Config, name_of
from experiments.vqa.dataset import Dataset
from experiments.vqa.drawing import choose, draw_sheet
from experiments.vqa.scoring import (
    as_metrics,
    controls,
    measure_looks,
    scores_of,
    show,
    signature,
)
from zoo.data.vqa.examples import VisualQuestions, sha256
from zoo.training.hosts import agree, fingerprint_of_arrays
from zoo.training.records import write_json
from zoo.training.run import Fitted
from zoo.visual.answerer import VisualAnswerer
from zoo.vqa_metrics import accuracy, write_results


@dataclass(frozen=True)
class Tested:
    """The answers to a test set, and what they are worth.

    Attributes:
        answerer: with its parameters on one device of this host.
        scores: of each answer, from 0 to 1.
    """

    answerer: VisualAnswerer
    questions: VisualQuestions
    answers: list[str]
    scores: Float[np.ndarray, "N"]
    metrics: dict[str, Any]


def answer_test(config: Config, dataset: Dataset) -> Tested:
    """Reads the test set and answers it, on all devices of all hosts."""
    questions = config.data.read("test", config.seed)
    answerer = VisualAnswerer.from_run(config.workdir)
    agree("test set", lambda: sha256(questions))
    agree("parameters to test", lambda: fingerprint_of_arrays(answerer.params))
    divided = answerer.on_all_devices()
    answers, _ = divided.predict(questions)
    scores = scores_of(questions, answers)
    metrics = as_metrics(
        scores,
        questions,
        controls(divided, questions, dataset.train),
        measure_looks(divided, questions),
    )
    return Tested(answerer, questions, answers, scores, metrics)


def conclude(
    config: Config,
    dataset: Dataset,
    console: Console,
    tested: Tested,
    fitted: Fitted,
    made_by: dict[str, Any],
) -> dict[str, Any]:
    """Writes `results.json`, a sheet and `result.json`; returns the result."""
    workdir, answerer = config.workdir, tested.answerer
    questions, scores, metrics = tested.questions, tested.scores, tested.metrics
    write_results(workdir / "results.json", questions.question_ids, tested.answers)
    picture = workdir / "attention.png"
    if answerer.grid is not None:
        draw_sheet(answerer, questions, choose(questions, scores), picture)
    texts = {"train": dataset.train, "validation": dataset.validation}
    result = {
        "task": "vqa",
        "model": type(answerer.model).__name__,
        "preset": name_of(config),
        "data": config.to_json()["data"],
        "data_sha256": {
            split: sha256(found)
            for split, found in (texts | {"test": questions}).items()
        },
        "split": "test",
        "n": len(questions),
        "metrics": metrics,
        "intervals": {"accuracy": accuracy(scores).interval},
        "signature": signature(questions),
        "seed": config.seed,
        "step": fitted.step,
        "params": fitted.params,
        "seconds": fitted.clock(),
        **made_by,
    }
    write_json(workdir / "result.json", result)
    show(console, scores, questions, metrics)
    if answerer.grid is not None:
        console.print(f"questions, answers and attention: {picture}")
    console.print(
        f"{result['seconds']:.0f} s in all; result: {workdir / 'result.json'}\n"
        "ask with: python -m experiments.vqa.answer IMAGE "
        f'"{questions.questions[0]}" --model {workdir}'
    )
    return result
