"""Questions whose pictures were taken from them, to see what an accuracy owes to them.

A model that answers as well about a blank picture, or about another one, has learned
what is usually answered and not what is to be seen.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from zoo.data.vqa.examples import VisualQuestions

_SAMPLE = 256  # images whose mean is a blank one


def with_other_images(questions: VisualQuestions, seed: int = 0) -> VisualQuestions:
    """Returns the questions, those of an image about another one, drawn at random.

    Raises:
        ValueError: there is no other image.
    """
    if len(questions.images) < 2:
        raise ValueError("one image has no other one to be mistaken for")
    order = np.random.default_rng(seed).permutation(len(questions.images))
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)  # one cycle, so that no image keeps its questions
    return replace(questions, image_of=other[questions.image_of], boxes=None)


def with_blank_image(questions: VisualQuestions) -> VisualQuestions:
    """Returns the questions, all about one image of nothing but the mean colour.

    The mean is over some hundred of the images. Features of regions, which have no
    colour, become zeros, which are no regions.
    """
    places = np.linspace(0, len(questions.images) - 1, _SAMPLE).astype(int)
    images = [questions.images[int(place)] for place in np.unique(places)]
    blank = np.zeros_like(images[0])
    if blank.ndim == 3:
        means = [image.mean(axis=(0, 1)) for image in images]
        blank[:] = np.rint(np.mean(means, axis=0)).astype(blank.dtype)
    return replace(
        questions,
        images=blank[None],
        image_ids=["blank"],
        image_of=np.zeros_like(questions.image_of),
        boxes=None,
    )


def tiled(questions: VisualQuestions, cell: int) -> VisualQuestions:
    """Returns the questions about images whose sides are multiples of a cell.

    The pixels at the border are repeated, at both ends alike, as a model with such
    cells does; so its regions tile the images and boxes lie right on them.
    """
    height, width, _ = questions.images.shape[1:]
    missing = -height % cell, -width % cell
    if not any(missing):
        return questions
    (top, bottom), (left, right) = [(m // 2, m - m // 2) for m in missing]
    stacked = np.stack([questions.images[n] for n in range(len(questions.images))])
    images = np.pad(
        stacked, ((0, 0), (top, bottom), (left, right), (0, 0)), mode="edge"
    )
    boxes = questions.boxes
    if boxes is not None:
        boxes = _moved(boxes, (height, width), (top, left), images.shape[1:3])
    return replace(questions, images=images, boxes=boxes)


def _moved(
    boxes: Float[np.ndarray, "N 4"],
    old: tuple[int, int],
    ends: tuple[int, int],
    new: tuple[int, ...],
) -> Float[np.ndarray, "N 4"]:
    """Returns boxes of images that were widened, as fractions of the wider ones."""
    scale = np.array([*old, *old], boxes.dtype)
    return (boxes * scale + np.array([*ends, *ends], boxes.dtype)) / np.array(
        [*new, *new], boxes.dtype
    )
