"""SHAPES: is there, in a grid of nine cells, one that is both this and that?

Andreas et al. (2016), "Neural Module Networks", section 5: images of 30 by 30 pixels
and 244 questions with 64 images each, of which validation and test ask some that
training never does. Their images are published. Those to train on are made here: for
each published question and answer, pictures of the published distribution are drawn
until the question has that answer.
"""

import collections
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from zoo.data.lines import read_lines
from zoo.data.splits import Split
from zoo.data.vqa.examples import VisualQuestions
from zoo.data.vqa.image_files import MAX_BYTES, array_of
from zoo.errors import InputError, read_limited

SHAPES = ("circle", "square", "triangle")
COLORS = ("red", "green", "blue")
CELL = 10  # pixels; three cells a side
_FILES = {"train": "train.large", "validation": "val", "test": "test"}
_GROUPS = ("no relation", "one relation", "two relations")
_PROGRAM = re.compile(r"\(is (\w+) ((?:\(\w+ )*)(\w+)\)+")
_SMALLEST, _LARGEST = 0.9, 1.1  # of the radius of a size
_RADII = 2.5, 3.75  # pixels; small and big
_NUM_RADII = 64  # that are drawn of each size; they differ by less than 0.02 pixels
_MOST_ROUNDS = 1_000  # of drawing layouts; of published answers none needs ten


class Layouts(NamedTuple):
    """What stands in the cells of images: numbers in SHAPES and COLORS, -1 for none."""

    shape: Int[np.ndarray, "I 3 3"]
    color: Int[np.ndarray, "I 3 3"]


def read_shapes(folder: Path, split: Split, seed: int) -> VisualQuestions:
    """Returns one split; no object has a box, as a question may name several.

    Args:
        folder: the published files, at least SPLIT.query, .query_str.txt and .output
            of train.large, val and test, and .input.npy of the latter two.
        seed: of the images to train on.

    Raises:
        InputError: a file is missing or damaged, or they disagree.
    """
    name = _FILES[split]
    endings = "query", "query_str.txt", "output"
    programs, texts, outputs = (
        list(read_lines(folder / f"{name}.{ending}")) for ending in endings
    )
    if not len(programs) == len(texts) == len(outputs):
        raise InputError(
            f"{folder / name}.query has {len(programs)} lines, .query_str.txt "
            f"{len(texts)} and .output {len(outputs)}; fetch the files again"
        )
    for number, output in enumerate(outputs, start=1):
        if output not in ("true", "false"):
            raise InputError(
                f"{folder / name}.output, line {number}: {output!r} is neither true "
                "nor false; fetch the file again"
            )
    parsed = [
        parse(program, f"{folder / name}.query, line {number}")
        for number, program in enumerate(programs, start=1)
    ]
    is_true = np.array([output == "true" for output in outputs])
    if split == "train":
        images = _matching_images(parsed, is_true, np.random.default_rng(seed % 2**64))
    else:
        images = _published(folder / f"{name}.input.npy", len(programs))
    answers = ["yes" if output else "no" for output in is_true]
    return VisualQuestions(
        images=images,
        image_ids=[f"{name}/{number}" for number in range(len(programs))],
        image_of=np.arange(len(programs)),
        question_ids=np.arange(len(programs)),
        questions=texts,
        answers=[(answer,) for answer in answers],
        top_answers=answers,
        question_types=["is"] * len(programs),
        answer_types=["yes/no"] * len(programs),
        groups=[_GROUPS[len(program) - 2] for program in parsed],
    )


def parse(program: str, where: str) -> tuple[str, ...]:
    """Returns the names in a program: a noun, relations, another noun.

    >>> parse("(is red (above (left_of circle)))", "train.query, line 7")
    ('red', 'above', 'left_of', 'circle')

    Args:
        where: what stands before the fault in an error.

    Raises:
        InputError: it is no program, or has unknown names.
    """
    match = _PROGRAM.fullmatch(program.strip())
    names = match and (match[1], *re.findall(r"\w+", match[2]), match[3])
    known = names and {names[0], names[-1]} <= {*SHAPES, *COLORS}
    if not known or not {*names[1:-1]} <= _SHIFTS.keys() or len(names) > 4:
        raise InputError(f"{where}: {program!r} is no program that is known here")
    return names


_SHIFTS = {"above": (-1, 0), "below": (1, 0), "left_of": (0, -1), "right_of": (0, 1)}


def where_is(noun: str, layouts: Layouts) -> Bool[np.ndarray, "I 3 3"]:
    """Returns the cells that hold a shape or a colour."""
    if noun in SHAPES:
        return layouts.shape == SHAPES.index(noun)
    return layouts.color == COLORS.index(noun)


def is_so(program: Sequence[str], layouts: Layouts) -> Bool[np.ndarray, "I"]:
    """Returns whether a cell of the first noun stands where the rest points to.

    "red above circle" points to the cells right above a circle. A relation of a
    relation moves on from there, out of the grid perhaps.
    """
    first, *relations, second = program
    place = where_is(second, layouts)
    for relation in reversed(relations):
        rows, columns = _SHIFTS[relation]
        wider = np.pad(place, ((0, 0), (1, 1), (1, 1)))
        place = wider[:, 1 - rows : 4 - rows, 1 - columns : 4 - columns]
    return np.any(where_is(first, layouts) & place, axis=(1, 2))


def draw_layouts(num_images: int, generator: np.random.Generator) -> Layouts:
    """Returns random layouts: a cell is empty in one of five cases, else uniform."""
    size = num_images, 3, 3
    empty = generator.random(size) < 0.2
    shape, color = generator.integers(3, size=(2, *size))
    return Layouts(np.where(empty, -1, shape), np.where(empty, -1, color))


def matching_layouts(
    program: Sequence[str],
    is_true: Bool[np.ndarray, "N"],
    generator: np.random.Generator,
) -> Layouts:
    """Returns a layout for each answer, as if drawn again until it has that answer.

    As in the publication, none is taken that lacks the first noun.

    Raises:
        InputError: none seems to have that answer, as "red green" is never true.
    """
    found = _no_layouts(len(is_true))
    missing = np.ones(len(is_true), bool)
    for _ in range(_MOST_ROUNDS):
        layouts = draw_layouts(8 * len(is_true), generator)
        possible = where_is(program[0], layouts).any(axis=(1, 2))
        true = is_so(program, layouts)
        for answer in (True, False):
            fitting = np.flatnonzero(possible & (true == answer))
            places = np.flatnonzero(missing & (is_true == answer))[: len(fitting)]
            for column, drawn in zip(found, layouts, strict=True):
                column[places] = drawn[fitting[: len(places)]]
            missing[places] = False
        if not missing.any():
            return found
    raise InputError(
        f"no image seems to answer {' '.join(program)!r} with "
        f"{str(bool(is_true[missing][0])).lower()}; fetch train.large.* again"
    )


def draw(
    layouts: Layouts, generator: np.random.Generator
) -> UInt8[np.ndarray, "I 30 30 3"]:
    """Returns the pictures, in which size and shade of each shape are random.

    The radius is one of two sizes times 0.9 to 1.1; a shade is a primary colour plus
    up to ±0.2 on each channel.
    """
    shape, color = layouts
    number = generator.integers(2 * _NUM_RADII, size=shape.shape)
    shade = np.eye(3)[color] + generator.uniform(-0.2, 0.2, (*shape.shape, 3))
    shade = np.where(shape[..., None] < 0, 0, 255 * np.clip(shade, 0, 1))
    covered = coverages()[shape, number]  # [I, 3, 3, CELL, CELL]
    images = np.einsum("IPQYX,IPQC->IPYQXC", covered, shade.astype(np.float32))
    return np.rint(images).astype(np.uint8).reshape(len(shape), 3 * CELL, 3 * CELL, 3)


def coverages() -> Float[np.ndarray, "3 N 10 10"]:
    """Returns how much of each pixel of a cell is inside, by shape and radius.

    An average over 16 by 16 points in each pixel, as smooth as what was published.
    """
    steps = np.linspace(_SMALLEST, _LARGEST, _NUM_RADII)
    radius = np.outer(_RADII, steps).reshape(-1, 1, 1)
    points = (np.arange(16 * CELL) + 0.5) / 16 - CELL / 2
    y, x = points[:, None], points
    inside = np.stack(
        [
            y**2 + x**2 <= radius**2,
            (abs(y) <= radius) & (abs(x) <= radius),
            (abs(y) <= radius) & (2 * abs(x) <= y + radius),
        ]
    )
    blocks = inside.reshape(3, len(radius), CELL, 16, CELL, 16)
    return blocks.mean(axis=(3, 5), dtype=np.float32)


def _matching_images(
    programs: Sequence[tuple[str, ...]],
    is_true: Bool[np.ndarray, "N"],
    generator: np.random.Generator,
) -> UInt8[np.ndarray, "N 30 30 3"]:
    """Returns an image for each program on which it has the given answer."""
    places = collections.defaultdict(list)
    for place, program in enumerate(programs):
        places[program].append(place)
    layouts = _no_layouts(len(programs))
    for program, here in places.items():
        found = matching_layouts(program, is_true[here], generator)
        for column, some in zip(layouts, found, strict=True):
            column[here] = some
    return draw(layouts, generator)


def _no_layouts(num_images: int) -> Layouts:
    return Layouts(*np.full((2, num_images, 3, 3), -1))


def _published(path: Path, num_images: int) -> UInt8[np.ndarray, "N 30 30 3"]:
    """Returns the images of a file, whose colours are in the order blue, green, red."""
    try:
        images = array_of(read_limited(path, MAX_BYTES))
    except (OSError, ValueError, EOFError, SyntaxError, TypeError) as error:
        raise InputError(
            f"{path}: missing or damaged; fetch or copy it again"
        ) from error
    if images.shape != (num_images, 3 * CELL, 3 * CELL, 3) or images.dtype != np.uint8:
        raise InputError(
            f"{path}: {images.dtype} {images.shape} instead of one uint8 image of "
            f"{3 * CELL} by {3 * CELL} by 3 for each of {num_images} questions"
        )
    return np.ascontiguousarray(images[..., ::-1])
