"""The end of a run: its test set read once, answered, scored and written down."""

from typing import Any

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
from zoo.data.vqa.examples import sha256
from zoo.training.records import write_json
from zoo.training.run import Fitted
from zoo.visual.answerer import VisualAnswerer
from zoo.vqa_metrics import accuracy, write_results


def conclude(
    config: Config,
    dataset: Dataset,
    console: Console,
    fitted: Fitted,
    made_by: dict[str, Any],
) -> dict[str, Any]:
    """Answers the test set; writes `results.json`, a sheet and `result.json`."""
    workdir = config.workdir
    questions = config.data.read("test", config.seed)
    answerer = VisualAnswerer.from_run(workdir)
    answers, _ = answerer.predict(questions)
    write_results(workdir / "results.json", questions.question_ids, answers)
    scores = scores_of(questions, answers)
    metrics = as_metrics(
        scores,
        questions,
        controls(answerer, questions, dataset.train),
        measure_looks(answerer, questions),
    )
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
