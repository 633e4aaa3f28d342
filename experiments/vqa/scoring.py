"""What answers are worth: accuracies, controls, and where attention looked."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from zoo.data.vqa.controls import tiled, with_blank_image, with_other_images
from zoo.data.vqa.examples import VisualQuestions, select
from zoo.grounding import Grounding, grounding, hide
from zoo.visual.answerer import VisualAnswerer
from zoo.vqa_metrics import (
    Accuracy,
    accuracy,
    accuracy_by,
    exact_scores,
    official_scores,
    question_only,
)

_MOST = 4_000  # questions whose regions are hidden, drawn at random


@dataclass(frozen=True)
class Look:
    """How well one glimpse or layer finds the object that a question names.

    Attributes:
        hidden: accuracy in percent without the region with the largest weight.
        hidden_random: without a region drawn at random.
        shown: of the same questions with all regions.
    """

    grounding: Grounding
    hidden: float
    hidden_random: float
    shown: float


def scores_of(
    questions: VisualQuestions, answers: Sequence[str]
) -> Float[np.ndarray, "N"]:
    """Returns what each answer is worth, from 0 to 1.

    By the official accuracy where there are ten annotators, else by exact match.
    """
    if min(map(len, questions.answers)) >= 4:
        return official_scores(answers, questions.answers)
    return exact_scores(answers, questions.top_answers)


def groups_of(
    questions: VisualQuestions, scores: Float[np.ndarray, "N"]
) -> dict[str, Accuracy]:
    """Returns the accuracy by kind of answer and by group, where there are several."""
    by_type = accuracy_by(questions.question_types, scores)
    by_group = accuracy_by(questions.groups, scores)
    few = by_type if 1 < len(by_type) <= 4 else {}
    return few | by_group


def controls(
    answerer: VisualAnswerer, questions: VisualQuestions, train: VisualQuestions
) -> dict[str, float]:
    """Returns accuracies in percent without the picture, in three ways."""
    blind = question_only(train.questions, train.top_answers, questions.questions)
    found = {"question_only": blind}
    for name, changed in (
        ("shuffled_image", with_other_images(questions)),
        ("blank_image", with_blank_image(questions)),
    ):
        found[name], _ = answerer.predict(changed)
    return {
        name: accuracy(scores_of(questions, answers)).value
        for name, answers in found.items()
    }


def looks(
    answerer: VisualAnswerer, questions: VisualQuestions, seed: int = 0
) -> dict[str, Look]:
    """Returns how well each look finds what it should, of the questions with a box.

    Empty where no box is known, and for a model without attention or without a grid.
    """
    if questions.boxes is None or answerer.grid is None:
        return {}
    questions = select(questions, ~np.isnan(questions.boxes).any(axis=1))
    if not len(questions):
        return {}
    questions = tiled(questions, answerer.cell_size)
    found = answerer.looks(questions)
    generator = np.random.default_rng(seed)
    some = np.sort(generator.permutation(len(questions))[:_MOST])
    keep = np.isin(np.arange(len(questions)), some)
    few = select(questions, keep)
    cells = generator.integers(answerer.grid[0] * answerer.grid[1], size=len(few))

    def shown(sample: VisualQuestions) -> float:
        answers, _ = answerer.predict(sample)
        return accuracy(scores_of(sample, answers)).value

    return {
        name: Look(
            _require(grounding(weights, questions.boxes, answerer.grid)),
            hidden=shown(_without(few, weights[keep].argmax(axis=1), answerer)),
            hidden_random=shown(_without(few, cells, answerer)),
            shown=shown(few),
        )
        for name, weights in found.items()
    }


def _require(found: Grounding | None) -> Grounding:
    assert found is not None, "every question that is left has a box"
    return found


def _without(
    questions: VisualQuestions, cells: np.ndarray, answerer: VisualAnswerer
) -> VisualQuestions:
    """Returns the questions, each about an image of its own that lacks a cell."""
    images = np.stack([questions.images[int(n)] for n in questions.image_of])
    return replace(
        questions,
        images=hide(images, cells, answerer.grid),
        image_ids=[str(number) for number in questions.question_ids],
        image_of=np.arange(len(questions)),
    )


def as_metrics(
    scores: Float[np.ndarray, "N"],
    questions: VisualQuestions,
    control: dict[str, float],
    seen: dict[str, Look],
) -> dict[str, Any]:
    """Returns the metrics of a result, percentages from 0 to 100."""
    return {
        "accuracy": accuracy(scores).value,
        "groups": {
            name: found.value for name, found in groups_of(questions, scores).items()
        },
        "controls": control,
        "grounding": {
            name: {
                **{
                    key: value if key == "count" else 100 * value
                    for key, value in asdict(look.grounding).items()
                },
                "accuracy_shown": look.shown,
                "accuracy_hidden": look.hidden,
                "accuracy_hidden_random": look.hidden_random,
            }
            for name, look in seen.items()
        },
    }


def show(
    console: Console,
    scores: Float[np.ndarray, "N"],
    questions: VisualQuestions,
    metrics: dict[str, Any],
) -> None:
    """Prints accuracy, accuracy by group, controls and grounding."""
    table = Table("questions", "number", "accuracy %", "95 %")
    rows = {"all": accuracy(scores), **groups_of(questions, scores)}
    for name, found in rows.items():
        low, high = found.interval
        table.add_row(
            name, f"{found.count:,}", f"{found.value:.2f}", f"{low:.2f} – {high:.2f}"
        )
    console.print(table)
    console.print(
        "without the picture: "
        + ", ".join(
            f"{name.replace('_', ' ')} {value:.2f} %"
            for name, value in metrics["controls"].items()
        )
    )
    if metrics["grounding"]:
        console.print(looks_table(metrics["grounding"]))


def looks_table(found: dict[str, dict[str, float]]) -> Table:
    """Returns how well each look finds the named object, beside a blind guess."""
    table = Table(
        "attention",
        "points at object %",
        "mass on it %",
        "accuracy %",
        "most attended hidden",
        "random hidden",
        title="where attention looks, for the questions that name an object "
        "(in brackets: uniform attention)",
    )
    for name, row in found.items():
        table.add_row(
            name,
            f"{row['pointing_accuracy']:.1f} ({row['uniform_pointing']:.1f})",
            f"{row['attention_mass']:.1f} ({row['uniform_mass']:.1f})",
            f"{row['accuracy_shown']:.1f}",
            f"{row['accuracy_hidden']:.1f}",
            f"{row['accuracy_hidden_random']:.1f}",
        )
    return table
