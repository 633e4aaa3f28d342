"""Attention from questions to pictures as a page: which cells a word or an answer sees.

The picture stands in pale grey below its cells, and a cell is the redder the more it is
looked at, as `zoo.overlays` draws it. Where words have attention of their own, each can
be chosen; and a cell that is chosen says who looks at it.
"""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from zoo.grounding import overlaps
from zoo.looks import Seen, pale
from zoo.viewer.page import packed, page, table, visible


def pictures_page(title: str, asked: Sequence[Seen]) -> str:
    """Returns the HTML of one question about a picture, or of several.

    Raises:
        ValueError: there is none.
    """
    if not asked:
        raise ValueError("no question to show: want at least one")
    stored = [_png(one.picture) for one in asked]
    # Each once, whatever the number of questions about it.
    pictures = {png: one.picture for png, one in zip(stored, asked, strict=True)}
    numbers = {png: number for number, png in enumerate(pictures)}
    data = {
        "pictures": [_address(png) for png in pictures],
        "pale": [_address(_png(pale(picture))) for picture in pictures.values()],
        "questions": [
            {"picture": numbers[png], **_question(one)}
            for png, one in zip(stored, asked, strict=True)
        ],
    }
    rows = [[one.question, _answers(one), _most(one)] for one in asked]
    note = "<p>Where the model looked most; rows and columns of cells from 1.</p>"
    return page(
        title,
        data,
        script="pictures.js",
        fallback=note + table(["question", "answer", "looked most at"], rows),
    )


def _question(one: Seen) -> dict[str, Any]:
    """Returns what the script shows of a question, but for its picture."""
    box = one.box if one.has_box else None
    inside = None if box is None else overlaps(box[None], one.grid)[0]
    return {
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


def _png(picture: UInt8[np.ndarray, "Y X ..."]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png", optimize=True)
    return file.getvalue()


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _answers(one: Seen) -> str:
    told = f"{one.predicted} ({one.probability:.1%})"
    return told if one.answer is None else f"{told}; true: {one.answer}"


def _most(one: Seen) -> str:
    """Returns the cell that every look sees most, who looks first, in words."""
    parts = []
    for look in one.looks:
        weights = look.weights[0]
        row, column = divmod(int(weights.argmax()), one.grid[1])
        parts.append(
            f"{look.name}: row {row + 1}, column {column + 1} ({weights.max():.1%})"
        )
    return "; ".join(parts)
