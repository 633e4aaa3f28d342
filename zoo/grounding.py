"""Whether attention lies where it should: on the object that a question names.

An image is cut into a grid of regions, and attention gives each a weight. The share of
it that lies within the object's box is the attention mass; whether its largest cell
touches the box is the pointing accuracy, after the pointing game of Zhang et al.
(2016), "Top-down Neural Attention by Excitation Backprop". Both mean little without
what a blind guess gets, which depends on the size of the boxes and of the cells: so
that is computed beside them. Attention that lies on the object need not be the reason
of the answer; `hide` shows what happens without that region.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

Grid = tuple[int, int]  # rows and columns of cells
# A box that covers less of a cell than that, by rounding, does not touch it.
_TOUCH = 1e-6


@dataclass(frozen=True)
class Grounding:
    """Means over the questions that name an object, from 0 to 1.

    Attributes:
        attention_mass: share of the attention that lies within the box.
        pointing_accuracy: how often the largest cell overlaps the box.
        uniform_mass: the attention mass if each cell weighs the same, which is the
            share of the image that the box takes.
        uniform_pointing: how often a cell that is drawn at random overlaps the box.
        count: the number of these questions.
    """

    attention_mass: float
    pointing_accuracy: float
    uniform_mass: float
    uniform_pointing: float
    count: int


def overlaps(boxes: Float[np.ndarray, "N 4"], grid: Grid) -> Float[np.ndarray, "N R"]:
    """Returns which share of each cell lies within the box of each question.

    >>> overlaps(np.array([[0.0, 0.25, 0.5, 1.0]]), (2, 2))  # the upper row, but for ¼
    array([[0.5, 1. , 0. , 0. ]])

    Args:
        boxes: ymin, xmin, ymax, xmax as fractions of the image.
        grid: cells are counted row by row.
    """
    rows, columns = grid
    ymin, xmin, ymax, xmax = boxes.T
    vertical = _covered(ymin, ymax, rows)
    horizontal = _covered(xmin, xmax, columns)
    shares = np.einsum("NY,NX->NYX", vertical, horizontal)
    return shares.reshape(len(boxes), rows * columns)


def _covered(
    low: Float[np.ndarray, "N"], high: Float[np.ndarray, "N"], cells: int
) -> Float[np.ndarray, "N cells"]:
    """Returns which share of each of equal parts of [0, 1] lies in an interval."""
    left = np.arange(cells)
    start = np.maximum(left, cells * low[:, None])
    end = np.minimum(left + 1, cells * high[:, None])
    return np.maximum(end - start, 0)


def grounding(
    weights: Float[np.ndarray, "N R"], boxes: Float[np.ndarray, "N 4"], grid: Grid
) -> Grounding:
    """Returns how well attention finds the boxes.

    Args:
        weights: to the cells of the grid, row by row; every row sums to one.
        boxes: ymin, xmin, ymax, xmax as fractions of the image; a question with NaN
            names no object and is left out.

    Raises:
        ValueError: the weights are not those of the grid, or no distributions; or a
            box is empty or lies outside of the image, or there is none.
    """
    rows, columns = grid
    if weights.shape[1] != rows * columns:
        raise ValueError(
            f"{weights.shape[1]} weights for a grid of {rows} rows and {columns} "
            "columns: want one for each cell"
        )
    named = ~np.isnan(boxes).any(axis=1)
    weights, boxes = weights[named].astype(float), boxes[named].astype(float)
    if not len(boxes):
        raise ValueError("no question names an object: want one box or more")
    if not np.allclose(weights.sum(axis=1), 1, atol=1e-3):
        raise ValueError("weights that do not sum to one: want a distribution a row")
    ymin, xmin, ymax, xmax = boxes.T
    if (
        not ((boxes >= 0) & (boxes <= 1)).all()
        or (ymin >= ymax).any()
        or ((xmin >= xmax).any())
    ):
        raise ValueError("want boxes with 0 <= min < max <= 1, as fractions")
    shares = overlaps(boxes, grid)
    return Grounding(
        attention_mass=float((weights * shares).sum(axis=1).mean()),
        pointing_accuracy=float(points(weights, shares > _TOUCH).mean()),
        uniform_mass=float(shares.mean()),
        uniform_pointing=float((shares > _TOUCH).mean()),
        count=len(boxes),
    )


def points(
    weights: Float[np.ndarray, "N R"], touched: Bool[np.ndarray, "N R"]
) -> Float[np.ndarray, "N"]:
    """Returns whether the largest weight is on a touched cell, from 0 to 1.

    Where several cells share the largest weight, the share of them that is touched: so
    uniform weights get what a random cell gets, and not what the first cell gets.

    >>> points(np.array([[0.1, 0.9], [0.5, 0.5]]), np.array([[True, False]] * 2))
    array([0. , 0.5])
    """
    largest = weights == weights.max(axis=1, keepdims=True)
    return (largest & touched).sum(axis=1) / largest.sum(axis=1)


def hide(
    images: UInt8[np.ndarray, "N Y X C"], regions: Int[np.ndarray, "N"], grid: Grid
) -> UInt8[np.ndarray, "N Y X C"]:
    """Returns the images with one region of each painted over.

    The paint is the median colour of the image's border, one pixel wide: on drawn
    scenes that is the background, so that no new object appears. A cell whose edges
    fall between pixels covers those whose centres are in it.

    Args:
        regions: the number of a cell for each image, row by row.
    """
    rows, columns = grid
    edge = np.concatenate(
        [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1
    )
    paint = np.median(edge, axis=1).astype(np.uint8)  # [N, C]
    down, across = np.divmod(regions, columns)
    in_row = _cells(images.shape[1], rows) == down[:, None]
    in_column = _cells(images.shape[2], columns) == across[:, None]
    inside = in_row[:, :, None, None] & in_column[:, None, :, None]
    return np.where(inside, paint[:, None, None], images)


def _cells(pixels: int, cells: int) -> Int[np.ndarray, "pixels"]:
    """Returns the cell in which the centre of each pixel lies."""
    return (2 * np.arange(pixels) + 1) * cells // (2 * pixels)
