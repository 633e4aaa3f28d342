"""Sheets of pictures: question, answer, and attention laid over the image."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.vqa.scoring import scores_of
from zoo.data.vqa.controls import tiled
from zoo.data.vqa.examples import VisualQuestions, select
from zoo.looks import Look, Seen, looks_of_answer
from zoo.overlays import overlay, sheet
from zoo.plots import save
from zoo.visual.answerer import VisualAnswerer
from zoo.visual.images import for_drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = 8  # of a sheet


def choose(
    questions: VisualQuestions, scores: np.ndarray, rows: int = ROWS
) -> list[int]:
    """Returns which questions a sheet shows: groups in turn, two mistakes at the end.

    Of every group the first question of an image that is not shown yet.
    """
    right = [n for n in range(len(questions)) if scores[n] >= 0.5]
    wrong = [n for n in range(len(questions)) if scores[n] < 0.5]
    chosen: list[int] = []
    images: set[int] = set()

    def take(places: Sequence[int], most: int) -> None:
        groups: set[str] = set()
        while len(chosen) < most:
            for n in places:
                image, group = int(questions.image_of[n]), questions.groups[n]
                if n not in chosen and image not in images and group not in groups:
                    chosen.append(n)
                    images.add(image)
                    groups.add(group)
                    break
            else:
                if not groups:
                    return
                groups = set()

    take(wrong, min(2, rows - 1) if right else rows)
    num_wrong = len(chosen)
    take(right, rows)
    return [*chosen[num_wrong:], *chosen[:num_wrong]]


def draw_sheet(
    answerer: VisualAnswerer,
    questions: VisualQuestions,
    places: Sequence[int],
    path: Path,
) -> None:
    """Writes the picture of some questions that `sheet_of` draws."""
    save(sheet_of(answerer, questions, places), path)


def sheet_of(
    answerer: VisualAnswerer, questions: VisualQuestions, places: Sequence[int]
) -> "Figure":
    """Returns some questions, the model's answers and where it looked, on pixels."""

    def looks_of(chosen):
        maps = answerer.looks(chosen)
        return [
            looks_of_answer({name: weights[n] for name, weights in maps.items()})
            for n in range(len(chosen))
        ]

    return sheet(seen_of(answerer, questions, places, looks_of))


def seen_of(
    answerer: VisualAnswerer,
    questions: VisualQuestions,
    places: Sequence[int],
    looks_of: Callable[[VisualQuestions], Sequence[Sequence[Look]]],
) -> list[Seen]:
    """Returns what is shown of the questions at some places, in that order.

    Args:
        looks_of: returns the looks for each of the questions that it is given.
    """
    keep = np.isin(np.arange(len(questions)), places)
    chosen = tiled(select(questions, keep), answerer.cell_size)
    in_order = np.argsort(np.argsort(places))  # `select` keeps the data's order
    answers, probabilities = answerer.predict(chosen)
    right = scores_of(chosen, answers) >= 0.5
    looks = looks_of(chosen)
    return [
        Seen(
            picture=chosen.images[int(chosen.image_of[n])],
            question=chosen.questions[n],
            predicted=answers[n],
            probability=float(probabilities[n]),
            looks=looks[n],
            grid=answerer.grid,
            answer=chosen.top_answers[n],
            box=None if chosen.boxes is None else chosen.boxes[n],
            right=bool(right[n]),
        )
        for n in in_order.tolist()
    ]


def draw_answer(
    answerer: VisualAnswerer, image: Path, question: str, path: Path
) -> None:
    """Draws a user's own picture with the answer and where the model looked."""
    best = answerer.answer(image, question)[0]
    shape = answerer.sight.see(image).shape
    seen = Seen(
        picture=widened(for_drawing(image), shape, answerer.cell_size),
        question=question,
        predicted=best.text,
        probability=best.probability,
        looks=looks_of_answer(answerer.look(image, question)),
        grid=answerer.grid_of(image),
    )
    save(overlay(seen), path)


def widened(picture: np.ndarray, shape: tuple[int, ...], cell_size: int) -> np.ndarray:
    """Returns a picture with the borders that the model gave to what it saw.

    They complete the cells of the grid where the sides of an image are no multiples.

    Args:
        shape: of what the model saw.
    """
    ends = []
    for side, pixels in zip(shape, picture.shape[:2], strict=False):
        missing = -side % cell_size
        both = missing // 2, missing - missing // 2
        ends.append(tuple(round(end * pixels / side) for end in both))
    return np.pad(picture, (*ends, (0, 0)), mode="edge")
