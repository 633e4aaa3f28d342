"""What is shown of a question about a picture, on a sheet or on a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from zoo.grounding import Grid

ANSWER = "(the answer)"


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


def looks_of_answer(maps: Mapping[str, Float[np.ndarray, "R"]]) -> list[Look]:
    """Returns maps in which the answer looks, as a model's `look` gives them.

    >>> looks_of_answer({"glimpse 1": np.ones(4) / 4})[0].looking
    ['(the answer)']
    """
    return [Look(name, [ANSWER], weights[None]) for name, weights in maps.items()]


@dataclass(frozen=True)
class Seen:
    """A question about a picture, its answers, and where the model looked.

    >>> glimpse = Look("glimpse 1", [ANSWER], np.full((1, 4), 0.25))
    >>> black = np.zeros((8, 8, 3), np.uint8)
    >>> Seen(black, "what color is it?", "black", 0.9, [glimpse], (2, 2)).has_box
    False

    Attributes:
        probability: of the predicted answer, from 0 to 1.
        answer: the true one; None where nobody knows.
        box: ymin, xmin, ymax, xmax of the object that the question names, as fractions;
            None or NaN where it names none.
        right: whether the predicted answer counts as right, as that of some annotators
            may which is not `answer`; None where nobody knows.

    Raises:
        ValueError: weights do not fit the grid or who looks.
    """

    picture: UInt8[np.ndarray, "Y X 3"]
    question: str
    predicted: str
    probability: float
    looks: Sequence[Look] = ()
    grid: Grid = (1, 1)
    answer: str | None = None
    box: Float[np.ndarray, "4"] | None = None
    right: bool | None = None

    def __post_init__(self):
        cells = self.grid[0] * self.grid[1]
        for look in self.looks:
            wanted = len(look.looking), cells
            if look.weights.shape != wanted or not len(look.looking):
                raise ValueError(
                    f"{look.name}: weights of shape {look.weights.shape} for "
                    f"{len(look.looking)} words and {cells} cells: want [words, cells]"
                )

    @property
    def has_box(self) -> bool:
        """Whether the question names an object whose place is known."""
        return self.box is not None and not np.isnan(self.box).any()


def pale(picture: UInt8[np.ndarray, "Y X 3"]) -> UInt8[np.ndarray, "Y X"]:
    """Returns the picture as attention lies on it: in grey, black at 0.45 of white.

    So whatever lies on it is seen, on a photograph by night too. Grey is the mean of
    the channels, since in luminance yellow hardly differs from white.
    """
    return np.round(0.45 * 255 + 0.55 * picture.mean(axis=-1)).astype(np.uint8)
