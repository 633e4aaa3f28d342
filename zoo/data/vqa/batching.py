"""Questions into batches in which an image stands once for several of its questions.

A row is an image with up to G of its questions, so that whatever encodes images works
once for all of them; an image with more questions takes several rows. The order of
training is a random-access sequence, a pure function of (seed, step): a resumed run
asks for its next step, and nothing need be replayed or saved. All batches have one
shape.
"""

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from zoo.data.loading import WHOLE, Recent, Share, made_ahead
from zoo.data.vqa.answer_table import SoftScores
from zoo.data.vqa.examples import Images
from zoo.errors import InputError

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class EncodedQuestions:
    """What a model sees of questions: images, words as ids, answers as classes.

    Attributes:
        image_of: which image a question is about.
        words: padded.
        labels: the class of the right answer, -1 where there is none for it.
        num_answers: of the model.
        soft_scores: what each answer is worth, for a model that learns them; None for
            one that learns the labels.
    """

    images: Images
    image_of: Int[np.ndarray, "N"]
    words: Int[np.ndarray, "N S"]
    labels: Int[np.ndarray, "N"]
    num_answers: int
    soft_scores: SoftScores | None = None


class GroupPlan:
    """Which questions each step of training sees: ``plan[step] -> [B, G]``.

    Every epoch visits every question exactly once, with images and questions in a new
    order that depends on (seed, epoch) alone. An empty slot is -1; the last batch of an
    epoch may have empty rows. One question an image is the order of no groups at all.

    >>> plan = GroupPlan(np.array([0, 0, 1]), images_per_batch=2,
    ...                  questions_per_image=2, num_steps=5, seed=0)
    >>> sorted(plan[0].ravel().tolist())
    [-1, 0, 1, 2]

    Args:
        image_of: the image of each question.
        num_steps: of the whole training; the last epoch may end early.
        seed: any integer.

    Raises:
        InputError: no questions, or a number that is not positive.
    """

    def __init__(
        self,
        image_of: Int[np.ndarray, "N"],
        *,
        images_per_batch: int,
        questions_per_image: int,
        num_steps: int,
        seed: int,
    ):
        _check(image_of, images_per_batch, questions_per_image)
        self.seed = seed
        self._image_of = image_of
        self._shape = images_per_batch, questions_per_image
        self._num_steps = num_steps
        self._epoch = Recent(self._shuffled_epoch)
        self.batches_per_epoch = len(self._epoch(0))

    def __len__(self) -> int:
        return self._num_steps

    def __getitem__(self, index: int) -> Int[np.ndarray, "B G"]:
        step = range(self._num_steps)[operator.index(index)]
        epoch, position = divmod(step, self.batches_per_epoch)
        return self._epoch(epoch)[position]

    def _shuffled_epoch(self, epoch: int) -> Int[np.ndarray, "T B G"]:
        generator = np.random.default_rng([self.seed % 2**64, epoch])
        order = generator.permutation(len(self._image_of))
        rows = group_by_image(self._image_of, order, self._shape[1])
        return _batched(generator.permutation(rows), self._shape[0])


def group_by_image(
    image_of: Int[np.ndarray, "N"],
    order: Int[np.ndarray, "N"],
    questions_per_image: int,
) -> Int[np.ndarray, "M G"]:
    """Returns rows of up to G questions about one image, then -1.

    Each image has the fewest rows that hold its questions, and they are as equal as
    can be. Rows come in the order of the images, the questions of an image in the
    given order.

    >>> group_by_image(np.array([7, 5, 7, 7]), np.arange(4), 2)
    array([[ 1, -1],
           [ 0,  3],
           [ 2, -1]])
    """
    _, images, counts = np.unique(
        image_of[order], return_inverse=True, return_counts=True
    )
    by_image = np.argsort(images, kind="stable")
    image = images[by_image]
    parts = -(-counts // questions_per_image)
    rank = np.arange(len(order)) - (np.cumsum(counts) - counts)[image]
    row = (np.cumsum(parts) - parts)[image] + rank % parts[image]
    rows = np.full((parts.sum(), questions_per_image), -1)
    rows[row, rank // parts[image]] = order[by_image]
    return rows


def batch_of(
    questions: EncodedQuestions, rows: Int[np.ndarray, "B G"]
) -> dict[str, np.ndarray]:
    """Returns the arrays of a model's batch; an empty row has a black image.

    Returns:
        ``image`` [B, ...], ``questions`` [B, G, S], ``labels`` [B, G] and, with soft
        scores, ``targets`` [B, G, A]. ``valid`` [B, G] is False where there is nothing
        to learn: in an empty slot, or where the label is -1 and there are no scores.
    """
    is_question = rows >= 0
    images = np.stack(
        [
            questions.images[int(questions.image_of[row[0]])]
            if row[0] >= 0
            else np.zeros_like(questions.images[0])
            for row in rows
        ]
    )
    labels = np.where(is_question, questions.labels[rows], -1)
    batch = {
        "image": images,
        "questions": np.where(is_question[..., None], questions.words[rows], 0),
        "labels": labels.astype(np.int32),
        "valid": labels >= 0,
    }
    if (scores := questions.soft_scores) is not None:
        batch["targets"] = scores.dense(rows, questions.num_answers)
        batch["valid"] = is_question
    return batch


def training_batches(
    plan: GroupPlan,
    questions: EncodedQuestions,
    *,
    first_step: int,
    augment: Augment | None = None,
    share: Share = WHOLE,
    workers: int = 0,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields this host's rows of the batches of a plan, from `first_step` on.

    Args:
        augment: gets the images of a batch, and random numbers that depend on the
            plan's seed and the step alone; of all hosts, so that each of them makes
            the whole batch and takes its rows.
        workers: as for `zoo.data.loading.made_ahead`.
    """
    # Files are decoded side by side; what lies in memory is copied as fast by one.
    num_threads = 1 if isinstance(questions.images, np.ndarray) else 8
    return made_ahead(
        _Rows(plan, questions, augment, share),
        len(plan),
        first_step=first_step,
        num_threads=num_threads,
        workers=workers,
    )


@dataclass(frozen=True)
class _Rows:
    """Makes a host's rows of a batch; an object, so that it can go to a worker."""

    plan: GroupPlan
    questions: EncodedQuestions
    augment: Augment | None
    share: Share

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        places = self.plan[step]
        own = self.share.rows(len(places))
        if self.augment is None:
            return batch_of(self.questions, places[own])
        arrays = batch_of(self.questions, places)
        generator = np.random.default_rng([self.plan.seed % 2**64, step, 1])
        arrays["image"] = self.augment(arrays["image"], generator)
        return {name: rows[own] for name, rows in arrays.items()}


def evaluation_batches(
    questions: EncodedQuestions, *, images_per_batch: int, questions_per_image: int
) -> Iterator[tuple[Int[np.ndarray, "B G"], dict[str, np.ndarray]]]:
    """Yields (places, batch) in the order of the images, every question exactly once.

    The question in a slot is number ``places[row, slot]``, or none where that is -1.
    """
    image_of = questions.image_of
    _check(image_of, images_per_batch, questions_per_image)
    rows = group_by_image(image_of, np.arange(len(image_of)), questions_per_image)
    for places in _batched(rows, images_per_batch):
        yield places, batch_of(questions, places)


def _batched(rows: Int[np.ndarray, "M G"], size: int) -> Int[np.ndarray, "T B G"]:
    """Returns full batches, the last one filled up with empty rows."""
    missing = -len(rows) % size
    rows = np.pad(rows, ((0, missing), (0, 0)), constant_values=-1)
    return rows.reshape(-1, size, rows.shape[1])


def _check(
    image_of: np.ndarray, images_per_batch: int, questions_per_image: int
) -> None:
    if not len(image_of):
        raise InputError("no questions to make batches of: the data set is empty")
    numbers = {
        "images_per_batch": images_per_batch,
        "questions_per_image": questions_per_image,
    }
    for name, number in numbers.items():
        if number < 1:
            raise InputError(f"{name} is {number}, but must be at least 1")
