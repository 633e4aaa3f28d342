"""What answers are worth: accuracies, controls, and where attention looked."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from zoo.data.vqa.answer_table import has_annotators
from zoo.data.vqa.controls import tiled, with_blank_image, with_other_images
from zoo.data.vqa.examples import VisualQuestions, select
from zoo.grounding import Grounding, grounding, hide
from zoo.visual.answerer import VisualAnswerer
from zoo.vqa_metrics import (
    accuracy,
    exact_scores,
    official_scores,
    question_only,
)

_MOST = 4_000  # questions whose regions are hidden, drawn at random
_FEW = 6  # types, or groups, of questions that are worth a row each


@dataclass(frozen=True)
class Located:
    """How well one glimpse or layer finds the object that a question names.

    Attributes:
        all: of all questions that name one.
        groups: of those of each kind.
        hidden: accuracy in percent without the region with the largest weight.
        hidden_random: without a region drawn at random.
        shown: of the same questions with all regions.
    """

    all: Grounding
    groups: dict[str, Grounding]
    hidden: float
    hidden_random: float
    shown: float


def scores_of(
    questions: VisualQuestions, answers: Sequence[str]
) -> Float[np.ndarray, "N"]:
    """Returns what each answer is worth, from 0 to 1.

    By the official accuracy where there are enough annotators, else by exact match.
    """
    if has_annotators(questions):
        return official_scores(answers, questions.answers)
    return exact_scores(answers, questions.top_answers)


def signature(questions: VisualQuestions) -> str:
    """Returns by which rule `scores_of` counts."""
    return "official VQA accuracy" if has_annotators(questions) else "exact match"


def kinds(questions: VisualQuestions, most: int = 1_000) -> dict[str, np.ndarray]:
    """Returns the places of the questions of every type, kind of answer and group.

    Args:
        most: types, for example, are left out where there are more of them.
    """
    # The same word may name a kind of answer and a group of other questions.
    answer_types = [f"answer: {name}" for name in questions.answer_types]
    columns = questions.question_types, answer_types, questions.groups
    return {
        name: np.flatnonzero(np.array(column) == name)
        for column in columns
        for name in sorted(set(column))
        if 1 < len(set(column)) <= most
    }


def controls(
    answerer: VisualAnswerer, questions: VisualQuestions, train: VisualQuestions
) -> dict[str, float]:
    """Returns accuracies in percent without the picture, in three ways.

    Of questions about one image there is no other one to show.
    """
    changed = {"blank_image": with_blank_image(questions)}
    if len(questions.images) > 1:
        changed = {"shuffled_image": with_other_images(questions), **changed}
    found = {
        name: accuracy(scores_of(questions, answerer.predict(sample)[0])).value
        for name, sample in changed.items()
    }
    return {**control_of_text(questions, train), **found}


def control_of_text(
    questions: VisualQuestions, train: VisualQuestions
) -> dict[str, float]:
    """Returns the accuracy in percent of the commonest answers to the same texts."""
    blind = question_only(train.questions, train.top_answers, questions.questions)
    return {"question_only": accuracy(scores_of(questions, blind)).value}


def measure_looks(
    answerer: VisualAnswerer, questions: VisualQuestions, seed: int = 0
) -> dict[str, Located]:
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
    if not found:
        return {}
    generator = np.random.default_rng(seed)
    some = np.sort(generator.permutation(len(questions))[:_MOST])
    keep = np.isin(np.arange(len(questions)), some)
    few = select(questions, keep)
    cells = generator.integers(answerer.grid[0] * answerer.grid[1], size=len(few))

    def shown(sample: VisualQuestions) -> float:
        answers, _ = answerer.predict(sample)
        return accuracy(scores_of(sample, answers)).value

    whole, at_random = shown(few), shown(_without(few, cells, answerer))
    return {
        name: Located(
            grounding(weights, questions.boxes, answerer.grid),
            {
                kind: grounding(weights[at], questions.boxes[at], answerer.grid)
                for kind, at in kinds(questions).items()
            },
            hidden=shown(_without(few, weights[keep].argmax(axis=1), answerer)),
            hidden_random=at_random,
            shown=whole,
        )
        for name, weights in found.items()
    }


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
    seen: dict[str, Located],
) -> dict[str, Any]:
    """Returns the metrics of a result, percentages from 0 to 100."""
    return {
        "accuracy": accuracy(scores).value,
        "groups": {
            kind: accuracy(scores[at]).value for kind, at in kinds(questions).items()
        },
        "controls": control,
        "grounding": {
            name: {
                **_percent(look.all),
                "groups": {kind: _percent(one) for kind, one in look.groups.items()},
                "accuracy_shown": look.shown,
                "accuracy_hidden": look.hidden,
                "accuracy_hidden_random": look.hidden_random,
            }
            for name, look in seen.items()
        },
    }


def _percent(found: Grounding) -> dict[str, float]:
    return {
        key: value if key == "count" else 100 * value
        for key, value in asdict(found).items()
    }


def show(
    console: Console,
    scores: Float[np.ndarray, "N"],
    questions: VisualQuestions,
    metrics: dict[str, Any],
) -> None:
    """Prints accuracy, accuracy by kind of question, controls and grounding."""
    table = Table("questions", "number", "accuracy %", "95 %")
    parts = {"all": np.arange(len(questions)), **kinds(questions, _FEW)}
    for name, at in parts.items():
        found = accuracy(scores[at])
        low, high = found.interval
        table.add_row(
            name, f"{found.count:,}", f"{found.value:.2f}", f"{low:.2f} – {high:.2f}"
        )
    console.print(table)
    if metrics["controls"]:
        controls = ", ".join(
            f"{name.replace('_', ' ')} {value:.2f} %"
            for name, value in metrics["controls"].items()
        )
        console.print(f"without the picture: {controls}")
    for name, row in metrics["grounding"].items():
        console.print(looks_table(name, row, set(parts)))
        console.print(
            f"accuracy on these questions: {row['accuracy_shown']:.1f} %; without "
            f"the most attended region {row['accuracy_hidden']:.1f} %, without a "
            f"random one {row['accuracy_hidden_random']:.1f} %"
        )


def looks_table(name: str, row: dict[str, Any], shown: set[str]) -> Table:
    """Returns how well a look finds the named object, beside a blind guess.

    Args:
        shown: the kinds of questions that have a row.
    """
    table = Table(
        *(name, "number", "points at it %", "uniform", "mass on it %", "uniform"),
        title="attention to the object that a question names",
    )
    for kind, part in {"all": row, **row["groups"]}.items():
        if kind in shown:
            table.add_row(
                kind,
                f"{part['count']:,}",
                f"{part['pointing_accuracy']:.1f}",
                f"{part['uniform_pointing']:.1f}",
                f"{part['attention_mass']:.1f}",
                f"{part['uniform_mass']:.1f}",
            )
    return table
