"""Questions about images: columns with one entry for each question.

Several questions share an image, which is kept once. The fields of one example bear the
names that big_vision's builders gave them, so that a reader of either knows the other;
ours add the group that accuracy is broken down by, and the box of the object that the
question names, against which attention is measured.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from zoo.data.splits import Split
from zoo.errors import InputError


@runtime_checkable
class Images(Protocol):
    """What an array [I, ...] of images has, so that files can stand in for one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of images, and the shape of each."""
        ...

    def __len__(self) -> int: ...
    def __getitem__(self, number: int, /) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class ImageFiles:
    """Pictures in files, each decoded and squashed to one shape when asked for."""

    paths: Sequence[Path]
    image_shape: tuple[int, int, int]  # Y, X, C

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of images, and the shape of each."""
        return len(self.paths), *self.image_shape

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> np.ndarray:
        from zoo.data.vqa.image_files import read_image  # imports Pillow

        height, width, _ = self.image_shape
        return read_image(self.paths[number], height, width)


@dataclasses.dataclass(frozen=True)
class VisualQuestions:
    """Columns with one entry for each question, and the images that they are about.

    >>> asked = VisualQuestions(
    ...     images=np.zeros((1, 8, 8, 3), np.uint8),
    ...     image_ids=["black"],
    ...     image_of=np.zeros(1, int),
    ...     question_ids=np.array([7]),
    ...     questions=["what color is it?"],
    ...     answers=[("black",)],
    ...     top_answers=["black"],
    ...     question_types=["what color"],
    ...     answer_types=["other"],
    ...     groups=["color"],
    ... )
    >>> len(asked)
    1

    Args:
        images: uint8 [I, Y, X, C], or float32 [I, R, D] for features of regions that
            were computed before, in which a region of nothing but zeros is padding.
        image_ids: a name for each image.
        image_of: which image a question is about.
        answers: of all annotators; one where there was one.
        top_answers: the one that counts as right where only one does.
        groups: what accuracy is broken down by.
        boxes: of the object that the question names: ymin, xmin, ymax, xmax as
            fractions of the image; NaN where it names none; None where no place is
            known.

    Raises:
        ValueError: the columns have different lengths, a question is about no image,
            or an id is there twice.
    """

    images: Images
    image_ids: list[str]
    image_of: Int[np.ndarray, "N"]
    question_ids: Int[np.ndarray, "N"]
    questions: list[str]
    answers: list[tuple[str, ...]]
    top_answers: list[str]
    question_types: list[str]
    answer_types: list[str]
    groups: list[str]
    boxes: Float[np.ndarray, "N 4"] | None = None

    def __post_init__(self):
        lengths = {
            name: len(column)
            for name in _COLUMNS
            if (column := getattr(self, name)) is not None
        }
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of different lengths: {lengths}")
        if len(self.images) != len(self.image_ids):
            raise ValueError(
                f"{len(self.images)} images, but {len(self.image_ids)} ids of images"
            )
        if len(self) and not 0 <= self.image_of.min() <= self.image_of.max() < len(
            self.images
        ):
            raise ValueError(f"a question about none of the {len(self.images)} images")
        for name in ("image_ids", "question_ids"):
            if len(np.unique(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name} holds an id twice")

    def __len__(self) -> int:
        return len(self.questions)

    def example(self, number: int) -> dict[str, Any]:
        """Returns one question and its image, under the names of big_vision."""
        image = int(self.image_of[number])
        example = {
            "image/id": self.image_ids[image],
            "image": self.images[image],
            "question_id": int(self.question_ids[number]),
            "question_type": self.question_types[number],
            "question_text": self.questions[number],
            "question_group": self.groups[number],
            "answer_type": self.answer_types[number],
            "answers": self.answers[number],
            "top_answer": self.top_answers[number],
        }
        if self.boxes is not None:
            example["objects/bbox"] = self.boxes[number]
        return example


# The columns with one entry for each question.
_COLUMNS = (
    *("image_of", "question_ids", "questions", "answers", "top_answers"),
    *("question_types", "answer_types", "groups", "boxes"),
)


@dataclasses.dataclass(frozen=True)
class _ChosenImages:
    """Some of the images, in the order of `places`, still read when asked for."""

    images: Images
    places: Sequence[int]

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.places), *self.images.shape[1:]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> np.ndarray:
        return self.images[self.places[number]]


def select(questions: VisualQuestions, keep: Bool[np.ndarray, "N"]) -> VisualQuestions:
    """Returns the questions that are kept, and the images that they are about."""
    places = np.flatnonzero(keep)
    used, image_of = np.unique(questions.image_of[places], return_inverse=True)
    images = questions.images
    columns = {name: _taken(getattr(questions, name), places) for name in _COLUMNS}
    return VisualQuestions(
        **columns
        | {
            "images": images[used]
            if isinstance(images, np.ndarray)
            else _ChosenImages(images, used.tolist()),
            "image_ids": [questions.image_ids[image] for image in used],
            "image_of": image_of,
        }
    )


def decoded(images: Images) -> np.ndarray:
    """Returns all images in one array."""
    return np.stack([images[number] for number in range(len(images))])


def train_or_validation(questions: VisualQuestions, split: Split) -> VisualQuestions:
    """Returns the questions to train or to validate on of a set without validation.

    A tenth of the images is held out, the same for every run: a hash of its id decides
    for each, so that all questions about an image are on one side.
    """

    def is_held_out(image_id: str) -> bool:
        digest = hashlib.sha256(image_id.encode()).digest()
        return int.from_bytes(digest[:8], "big") % 10 == 0

    held_out = np.array([*map(is_held_out, questions.image_ids)])
    return select(questions, held_out[questions.image_of] == (split == "validation"))


def sha256(questions: VisualQuestions) -> str:
    """Returns the fingerprint of images, questions and answers.

    Images in an array count with their pixels. Of others, which are decoded when asked
    for, each counts with its id and, if it has a file of its own, the size of that, so
    that no file is read for it. Types, groups and boxes are labels and left out.

    Raises:
        InputError: a file is gone.
    """
    digest = hashlib.sha256()

    def add(data: bytes) -> None:
        digest.update(len(data).to_bytes(8, "big") + data)

    if isinstance(questions.images, np.ndarray):
        add(questions.images.tobytes())
    for image in questions.image_ids:
        add(image.encode())
    for path in paths_of(questions.images):
        add(b"%d" % _size_of(path))
    for number, question in enumerate(questions.questions):
        add(b"%d %d" % (questions.question_ids[number], questions.image_of[number]))
        for text in (question, questions.top_answers[number]):
            add(text.encode())
        add(len(questions.answers[number]).to_bytes(8, "big"))
        for answer in questions.answers[number]:
            add(answer.encode())
    return digest.hexdigest()


def paths_of(images: Images) -> Sequence[Path]:
    """Returns the file of each image, none if they have no files of their own."""
    if isinstance(images, _ChosenImages):
        paths = paths_of(images.images)
        return [paths[place] for place in images.places] if paths else []
    return getattr(images, "paths", ())


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _taken(column: Any, places: np.ndarray) -> Any:
    """Returns the entries of a column at these places."""
    if column is None or isinstance(column, np.ndarray):
        return None if column is None else column[places]
    return [column[place] for place in places]
