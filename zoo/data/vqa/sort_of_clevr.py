"""Sort-of-CLEVR: six coloured objects, and questions that compare them or do not.

Santoro et al. (2017), "A simple neural network module for relational reasoning",
section 4.2 and the supplement: white images of 75 by 75 pixels with one object of each
colour, a square or a circle, and for each image ten questions about one object and ten
about its relation to the others. Questions here are English; those of one image are
different from each other; and a layout in which the closest or the furthest object is
no single one is drawn again.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8

from zoo.data.splits import Split
from zoo.data.vqa.examples import VisualQuestions

COLORS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "orange": (255, 156, 0),
    "gray": (128, 128, 128),
    "yellow": (255, 255, 0),
}
SIDE = 75  # pixels, of the image
RADIUS = 5  # half of an object's width; the pixel of the centre comes on top
_NUM = len(COLORS)
ANSWERS = ("square", "circle", "yes", "no", *map(str, range(_NUM)))
_SQUARE, _YES, _NO, _ZERO = map(ANSWERS.index, ("square", "yes", "no", "0"))
# What is asked: the first three about one object, the others about a relation.
QUESTIONS = {
    "shape": "what is the shape of the {} object?",
    "left": "is the {} object on the left?",
    "top": "is the {} object on the top?",
    "closest": "what is the shape of the object closest to the {} object?",
    "furthest": "what is the shape of the object furthest from the {} object?",
    "count": "how many other objects have the same shape as the {} object?",
}
_NUM_CHOSEN = 10  # of the 18 questions of either type


class Layouts(NamedTuple):
    """The objects of images, one of each colour.

    Attributes:
        centers: rows and columns, in pixels.
        is_circle: else it is a square.
    """

    centers: Int[np.ndarray, "I N 2"]
    is_circle: Bool[np.ndarray, "I N"]


def sort_of_clevr(split: Split, num_images: int, seed: int) -> VisualQuestions:
    """Returns images made on the spot, with twenty questions about each.

    Args:
        seed: of the split to train on. Validation and test are the same for all, and
            no seed trains on their stream of random numbers.
    """
    stream = {"train": [1, seed % 2**64], "validation": [2], "test": [3]}[split]
    generator = np.random.default_rng(stream)
    layouts = draw_layouts(num_images, generator)
    kinds, colors = _choose(num_images, generator)  # [I, 20]
    image_of = np.repeat(np.arange(num_images), kinds.shape[1])
    kind, color = kinds.ravel(), colors.ravel()
    answer = all_answers(layouts)[image_of, kind, color]
    names, groups = list(COLORS), list(QUESTIONS)
    texts = [[QUESTIONS[group].format(name) for name in names] for group in groups]
    corners = layouts.centers[image_of, color]
    boxes = np.concatenate([corners - RADIUS, corners + RADIUS + 1], axis=1) / SIDE
    answers = [ANSWERS[number] for number in answer]
    relational = ["non-relational", "relational"]
    return VisualQuestions(
        images=draw(layouts),
        image_ids=[f"{split}/{number}" for number in range(num_images)],
        image_of=image_of,
        question_ids=np.arange(len(kind)),
        questions=[texts[k][c] for k, c in zip(kind, color, strict=True)],
        answers=[(text,) for text in answers],
        top_answers=answers,
        question_types=[relational[k // 3] for k in kind],
        answer_types=[_answer_type(text) for text in answers],
        groups=[groups[k] for k in kind],
        boxes=boxes.astype(np.float32),
    )


def draw_layouts(num_images: int, generator: np.random.Generator) -> Layouts:
    """Returns random layouts without overlap of centres and without ties.

    Centres are uniform over where an object is inside the image, each drawn again until
    it is ten pixels or more from those before it.
    """
    layouts = _draw_once(num_images, generator)
    while len(again := np.flatnonzero(has_tie(layouts.centers))):
        for old, new in zip(layouts, _draw_once(len(again), generator), strict=True):
            old[again] = new
    return layouts


def _draw_once(num_images: int, generator: np.random.Generator) -> Layouts:
    centers = np.full((num_images, _NUM, 2), 10 * SIDE)  # far from all, until drawn
    for number in range(_NUM):
        missing = np.arange(num_images)
        while len(missing):
            size = len(missing), 2
            new = generator.integers(RADIUS, SIDE - RADIUS, size)
            gaps = ((centers[missing, :number] - new[:, None]) ** 2).sum(axis=-1)
            fits = (gaps >= (2 * RADIUS) ** 2).all(axis=1)
            centers[missing[fits], number] = new[fits]
            missing = missing[~fits]
    return Layouts(centers, generator.random((num_images, _NUM)) < 0.5)


def squared_distances(centers: Int[np.ndarray, "I N 2"]) -> Int[np.ndarray, "I N N"]:
    """Returns how far each object is from each other one, squared."""
    return ((centers[:, :, None] - centers[:, None]) ** 2).sum(axis=-1)


def has_tie(centers: Int[np.ndarray, "I N 2"]) -> Bool[np.ndarray, "I"]:
    """Returns whether two objects are equally the closest, or the furthest, of any."""
    ordered = np.sort(squared_distances(centers), axis=-1)  # the first is itself: 0
    closest = ordered[..., 1] == ordered[..., 2]
    furthest = ordered[..., -1] == ordered[..., -2]
    return (closest | furthest).any(axis=-1)


def all_answers(layouts: Layouts) -> Int[np.ndarray, "I 6 N"]:
    """Returns the number in ANSWERS of each question about the object of each colour.

    The object that the question names is none of those that it counts.
    """
    centers, is_circle = layouts
    away = squared_distances(centers)
    closest = (away + np.eye(_NUM, dtype=int) * away.max(initial=0)).argmin(axis=-1)
    shape = _SQUARE + is_circle
    same_shape = is_circle[:, :, None] == is_circle[:, None]
    low_half = centers * 2 < SIDE
    return np.stack(
        [
            shape,
            np.where(low_half[..., 1], _YES, _NO),
            np.where(low_half[..., 0], _YES, _NO),
            np.take_along_axis(shape, closest, axis=1),
            np.take_along_axis(shape, away.argmax(axis=-1), axis=1),
            _ZERO + same_shape.sum(axis=-1) - 1,
        ],
        axis=1,
    )


def _choose(
    num_images: int, generator: np.random.Generator
) -> tuple[Int[np.ndarray, "I 20"], Int[np.ndarray, "I 20"]]:
    """Returns kind and colour of ten questions of either type, drawn for each image."""
    order = generator.random((num_images, 2, 3 * _NUM)).argsort(axis=-1)
    kind, color = np.divmod(order[..., :_NUM_CHOSEN], _NUM)
    kind = kind + np.array([0, 3])[:, None]
    return kind.reshape(num_images, -1), color.reshape(num_images, -1)


def draw(layouts: Layouts) -> UInt8[np.ndarray, "I Y X 3"]:
    """Returns the pictures; where objects touch, the later colour is in front."""
    centers, is_circle = layouts
    images = np.full((len(centers), SIDE, SIDE, 3), 255, np.uint8)
    offsets = np.arange(-RADIUS, RADIUS + 1)
    disc = offsets[:, None] ** 2 + offsets**2 <= (RADIUS + 0.5) ** 2
    which = np.arange(len(centers))[:, None, None]
    for number, color in enumerate(COLORS.values()):
        rows, columns = centers[:, number, :, None].transpose(1, 0, 2) + offsets
        place = which, rows[:, :, None], columns[:, None]
        inside = (disc | ~is_circle[:, number, None, None])[..., None]
        images[place] = np.where(inside, np.array(color, np.uint8), images[place])
    return images


def _answer_type(answer: str) -> str:
    if answer in ("yes", "no"):
        return "yes/no"
    return "number" if answer.isdigit() else "other"
