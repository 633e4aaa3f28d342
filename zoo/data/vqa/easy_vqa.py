"""easy-VQA: one coloured shape on a plain background, and some ten questions about it.

Zhou (2019), the package easy-vqa: 4,000 images to train on and 1,000 to test on, each
of 64 by 64 pixels, with 38,575 and 9,673 questions. A tenth of the images to train on
is held out here for validation.
"""

import dataclasses
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt8

from zoo.data.splits import Split
from zoo.data.vqa.examples import (
    ImageFiles,
    VisualQuestions,
    decoded,
    train_or_validation,
)
from zoo.errors import InputError

_NEGATION = re.compile(r"\b(no|not)\b")
_SHAPE = re.compile(r"\b(circle|rectangle|triangle)\b")
_SIDE = 64  # pixels


def read_easy_vqa(split: Split) -> VisualQuestions:
    """Returns one split, with the box of the shape where a question names it.

    Raises:
        InputError: the package is not installed, or its files are damaged.
    """
    folder = _package() / "data" / ("test" if split == "test" else "train")
    path = folder / "questions.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        texts, answers, numbers = zip(*rows, strict=True)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: missing or damaged; pip install --force-reinstall easy-vqa"
        ) from error
    used, image_of = np.unique(numbers, return_inverse=True)
    files = [folder / "images" / f"{number}.png" for number in used]
    questions = VisualQuestions(
        images=ImageFiles(files, (_SIDE, _SIDE, 3)),
        image_ids=[f"{folder.name}/{number}" for number in used],
        image_of=image_of,
        question_ids=np.arange(len(texts)),
        questions=list(texts),
        answers=[(answer,) for answer in answers],
        top_answers=list(answers),
        question_types=[" ".join(text.split()[:2]) for text in texts],
        answer_types=[_answer_type(answer) for answer in answers],
        groups=[*map(group_of, texts, answers)],
    )
    if split != "test":
        questions = train_or_validation(questions, split)
    images = decoded(questions.images)
    boxes = box_of(differs_from(background_of(images), images)) / _SIDE
    named = [*map(names_the_shape, questions.questions, questions.top_answers)]
    boxes = np.where(np.array(named)[:, None], boxes[questions.image_of], np.nan)
    return dataclasses.replace(questions, images=images, boxes=boxes.astype(np.float32))


def group_of(question: str, answer: str) -> str:
    """Returns what is asked for, or whose presence is asked.

    >>> group_of("what is the red shape?", "circle")
    'shape'
    >>> group_of("is there not a teal shape?", "yes")
    'color present'
    """
    if _answer_type(answer) == "yes/no":
        return "shape present" if _SHAPE.search(question) else "color present"
    return "shape" if _SHAPE.fullmatch(answer) else "color"


def names_the_shape(question: str, answer: str) -> bool:
    """Returns whether the question names the shape that is in the image.

    "Is there a circle?" names it if the answer is yes, "is there not a circle?" if it
    is no; "what color is the shape?" always does.
    """
    if _answer_type(answer) != "yes/no":
        return True
    return (answer == "yes") != bool(_NEGATION.search(question))


def background_of(images: UInt8[np.ndarray, "I Y X C"]) -> UInt8[np.ndarray, "I C"]:
    """Returns the median colour of the corners.

    A shape that is not as wide or as high as the image covers one corner at most.
    """
    corners = images[:, [0, 0, -1, -1], [0, -1, 0, -1]]  # [I, 4, C]
    return np.median(corners, axis=1).astype(np.uint8)


def differs_from(
    background: UInt8[np.ndarray, "I C"], images: UInt8[np.ndarray, "I Y X C"]
) -> Bool[np.ndarray, "I Y X"]:
    """Returns where an image has another colour than its background."""
    channels = range(images.shape[-1])
    return np.logical_or.reduce(
        [images[..., c] != background[:, None, None, c] for c in channels]
    )


def box_of(object_mask: Bool[np.ndarray, "I Y X"]) -> Int[np.ndarray, "I 4"]:
    """Returns ymin, xmin, ymax, xmax in pixels of what is True; the ends lie outside.

    Where nothing is True, the box is the whole image.
    """
    _, height, width = object_mask.shape
    rows = np.any(object_mask, axis=2)
    columns = np.any(object_mask, axis=1)
    ends = [
        rows.argmax(axis=1),
        columns.argmax(axis=1),
        height - rows[:, ::-1].argmax(axis=1),
        width - columns[:, ::-1].argmax(axis=1),
    ]
    return np.stack(ends, axis=1)


def _answer_type(answer: str) -> str:
    return "yes/no" if answer in ("yes", "no") else "other"


def _package() -> Path:
    spec = importlib.util.find_spec("easy_vqa")
    if spec is None or spec.origin is None:
        raise InputError("easy-VQA is not installed; pip install easy-vqa")
    return Path(spec.origin).parent
