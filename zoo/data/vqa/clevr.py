"""CLEVR as TensorFlow Datasets prepares it; Johnson et al. (2017), "CLEVR".

The official test set has no answers. So the official validation set is the test set, as
in most papers, and the last 5 % of the training images are for validation.
"""

import dataclasses
import io
import itertools
import os
import re
from typing import Any

import numpy as np

from zoo.data.splits import Split
from zoo.data.vqa.examples import VisualQuestions
from zoo.data.vqa.image_files import decode_picture, squash
from zoo.data.vqa.prepared import in_order, prepared, records
from zoo.errors import InputError

_SPLITS: dict[Split, str] = {
    "train": "train[:95%]",
    "validation": "train[95%:]",
    "test": "validation",
}
_VERSION = "3.1.0"  # the first with the questions
_NUMBERS = re.compile(r"number of|^are there (more|fewer|less|an equal)\b")
_EXISTS = re.compile(r"^(is|are) (there|any)\b")
_ATTRIBUTES = {
    "size": {"small", "large"},
    "material": {"rubber", "metal"},
    "shape": {"cube", "sphere", "cylinder"},
}


def group_of(question: str, answer: str) -> str:
    """Returns which of CLEVR's kinds a question is of, by its text and its answer.

    TFDS does not keep the programs that would say so.

    >>> group_of("Are there more cubes than red spheres?", "no")
    'compare numbers'
    >>> group_of("What color is the tiny metal cube?", "cyan")
    'query color'
    """
    if answer.isdigit():
        return "count"
    if answer not in ("yes", "no"):
        kinds = (kind for kind, values in _ATTRIBUTES.items() if answer in values)
        return f"query {next(kinds, 'color')}"
    if _NUMBERS.search(question.lower()):
        return "compare numbers"
    return "exist" if _EXISTS.search(question.lower()) else "compare attributes"


@dataclasses.dataclass(frozen=True)
class PreparedImages:
    """The pictures of a split, each decoded and squashed when it is asked for.

    Args:
        examples: a TFDS data source of examples with an encoded image.
        where: what an error calls the split.
    """

    examples: Any
    image_shape: tuple[int, int, int]  # Y, X, C
    where: str

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of images, and the shape of each."""
        return len(self.examples), *self.image_shape

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, number: int) -> np.ndarray:
        height, width, _ = self.image_shape
        data = io.BytesIO(self.examples[number]["image"])
        where = f"{self.where}, example {number + 1}"
        return squash(decode_picture(data, where, max(height, width)), height, width)


def read_clevr(
    data_dir: str | os.PathLike[str], split: Split, image_shape: tuple[int, int, int]
) -> VisualQuestions:
    """Returns the questions of a split, and its pictures, each read when asked for.

    Args:
        data_dir: the folder that TFDS prepares its data sets in; ``~`` is expanded.
        image_shape: of every picture: Y, X, C.

    Raises:
        InputError: CLEVR is not prepared there, damaged, or older than version 3.1,
            which has the questions.
    """
    remedy = (
        "prepare it where TensorFlow is, with: python -c 'import tensorflow_datasets "
        f'as tfds; tfds.builder("clevr:{_VERSION}", data_dir="{data_dir}", '
        'file_format="array_record").download_and_prepare()\''
    )
    with prepared("clevr", data_dir, remedy) as builder:
        if "question_answer" not in builder.info.features:
            raise InputError(f"{builder.data_dir}: has no questions; {remedy}")
        examples = records(builder, _SPLITS[split])
        image_ids, image_of, questions, answers = [], [], [], []
        for image, example in enumerate(in_order(examples)):
            pairs = example["question_answer"]
            image_ids.append(example["file_name"].decode())
            image_of += itertools.repeat(image, len(pairs["question"]))
            questions += [text.decode() for text in pairs["question"]]
            answers += [text.decode() for text in pairs["answer"]]
    groups = [group_of(*pair) for pair in zip(questions, answers, strict=True)]
    return VisualQuestions(
        images=PreparedImages(examples, image_shape, f"clevr, {_SPLITS[split]}"),
        image_ids=image_ids,
        image_of=np.array(image_of, int),
        question_ids=np.arange(len(questions)),
        questions=questions,
        answers=[(answer,) for answer in answers],
        top_answers=answers,
        question_types=groups,
        answer_types=[_answer_type(answer) for answer in answers],
        groups=groups,
    )


def _answer_type(answer: str) -> str:
    if answer in ("yes", "no"):
        return "yes/no"
    return "number" if answer.isdigit() else "other"
