"""Attention from questions to pictures as a page: which cells a word or an answer sees.

The picture stands in pale grey below its cells, and a cell is the redder the more it is
looked at, as `zoo.overlays` draws it. Where words have attention of their own, each can
be chosen; and a cell that is chosen says who looks at it.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from zoo.grounding import overlaps
from zoo.viewer.page import packed, page, table, visible

Grid = tuple[int, int]  # rows and columns of cells


@dataclass(frozen=True)
class Look:
    """One map from words to the cells of a picture.

    Attributes:
        name: of the glimpse, or the layer and the head.
        looking: who looks: words of the question, or the answer.
        weights: of each of those to the cells, row by row.
        by_cells: whether it is the cells that look at the words, so that the weights
            of a cell sum to one.
    """

    name: str
    looking: Sequence[str]
    weights: Float[np.ndarray, "N R"]
    by_cells: bool = False


@dataclass(frozen=True)
class Asked:
    """A question about a picture, what the model answered, and where it looked.

    Attributes:
        probability: of the predicted answer, from 0 to 1.
        answer: the true one; None where nobody knows.
        right: whether the predicted answer counts as right, as in `zoo.overlays`.
        box: of the object that the question names, as in `zoo.overlays`.
    """

    picture: UInt8[np.ndarray, "Y X 3"]
    grid: Grid
    question: str
    predicted: str
    probability: float
    looks: Sequence[Look] = field(default_factory=list)
    answer: str | None = None
    right: bool | None = None
    box: Float[np.ndarray, "4"] | None = None


def pictures_page(title: str, asked: Sequence[Asked]) -> str:
    """Returns the HTML of one question about a picture, or of several.

    Raises:
        ValueError: there is none, or weights do not fit the grid or the words.
    """
    if not asked:
        raise ValueError("no question to show: want at least one")
    for one in asked:
        _check(one)
    pictures: dict[bytes, int] = {}
    questions = [_question(one, pictures) for one in asked]
    data = {"pictures": [_address(png) for png in pictures], "questions": questions}
    rows = [[one.question, _answers(one), _most(one)] for one in asked]
    note = "<p>Where the model looked most; rows and columns of cells from 1.</p>"
    return page(
        title,
        data,
        script="pictures.js",
        fallback=note + table(["question", "answer", "looked most at"], rows),
    )


def _question(one: Asked, pictures: dict[bytes, int]) -> dict[str, Any]:
    """Returns what the script shows of a question; its picture is stored once."""
    number = pictures.setdefault(_png(one.picture), len(pictures))
    box = None if one.box is None or np.isnan(one.box).any() else one.box
    inside = None if box is None else overlaps(box[None], one.grid)[0]
    return {
        "picture": number,
        "size": [one.picture.shape[1], one.picture.shape[0]],
        "grid": list(one.grid),
        "question": visible(one.question),
        "predicted": visible(one.predicted),
        "probability": round(one.probability, 4),
        "answer": None if one.answer is None else visible(one.answer),
        "right": one.right,
        "box": None if box is None else box.round(4).tolist(),
        "inside": None if inside is None else inside.round(4).tolist(),
        "looks": [
            {
                "name": visible(look.name),
                "looking": [visible(word) for word in look.looking],
                "weights": packed(look.weights),
                "by_cells": look.by_cells,
            }
            for look in one.looks
        ],
    }


def _png(picture: UInt8[np.ndarray, "Y X 3"]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png", optimize=True)
    return file.getvalue()


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _answers(one: Asked) -> str:
    told = f"{one.predicted} ({one.probability:.1%})"
    return told if one.answer is None else f"{told}; true: {one.answer}"


def _most(one: Asked) -> str:
    """Returns the cell that every look sees most, who looks first, in words."""
    parts = []
    for look in one.looks:
        weights = look.weights[0]
        row, column = divmod(int(weights.argmax()), one.grid[1])
        parts.append(
            f"{look.name}: row {row + 1}, column {column + 1} ({weights.max():.1%})"
        )
    return "; ".join(parts)


def _check(one: Asked) -> None:
    """Raises ValueError unless every map has a row a word and a column a cell."""
    cells = one.grid[0] * one.grid[1]
    for look in one.looks:
        if look.weights.shape != (len(look.looking), cells) or not len(look.looking):
            raise ValueError(
                f"{look.name}: weights of shape {look.weights.shape} for "
                f"{len(look.looking)} words and {cells} cells: want [words, cells]"
            )
