"""Questions about images as a data set of TensorFlow Datasets, without TensorFlow.

Each example is one question with its image, PNG-encoded, under the field names of
big_vision's builders for VQA; so whoever reads TFDS can read our small sets, with
TensorFlow or without. The files are array_record, which can be read by place.
"""

import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from zoo.data.vqa.examples import VisualQuestions
from zoo.data.vqa.prepared import in_order, prepared, records
from zoo.errors import InputError

VERSION = "1.0.0"
_TEXTS = (
    *("image/id", "question_type", "question_text", "question_group"),
    *("answer_type", "top_answer"),
)


def write_prepared(
    name: str, data_dir: str | os.PathLike[str], splits: Mapping[str, VisualQuestions]
) -> Path:
    """Writes questions as a prepared TFDS data set; returns its folder.

    Args:
        name: of the data set, in lower case with underscores: ``easy_vqa``.
        data_dir: the folder that TFDS prepares its data sets in; ``~`` is expanded.
        splits: the questions of each; all with boxes or none.

    Raises:
        ValueError: the images are features of regions, or of several shapes.
        InputError: TFDS is not installed, or the data set is there already.
    """
    shapes = {questions.images.shape[1:] for questions in splits.values()}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 3:
        raise ValueError("want pictures, and of one shape in all splits")
    with_boxes = {questions.boxes is not None for questions in splits.values()}
    if len(with_boxes) != 1:
        raise ValueError("want boxes in all splits or in none")
    folder = Path(data_dir).expanduser()
    if (folder / name / VERSION).exists():
        raise InputError(f"{folder / name / VERSION}: is there already; remove it")
    builder = _builder(name, folder, splits, shape, with_boxes.pop())
    builder.download_and_prepare()
    return Path(builder.data_dir)


def _builder(
    name: str,
    folder: Path,
    splits: Mapping[str, VisualQuestions],
    shape: tuple[int, ...],
    with_boxes: bool,
) -> Any:
    """Returns a TFDS builder of these splits, which keeps their order."""
    try:
        import tensorflow_datasets as tfds
    except ModuleNotFoundError as error:
        raise InputError(
            f"{name}: {error.name} is not installed; pip install 'attention-zoo[tfds]'"
        ) from error
    features = {text: tfds.features.Text() for text in _TEXTS} | {
        "image": tfds.features.Image(shape=shape, encoding_format="png"),
        "question_id": tfds.features.Scalar(np.int64),
        "answers": tfds.features.Sequence(tfds.features.Text()),
    }
    if with_boxes:  # one, or none where the question names no object
        features["objects/bbox"] = tfds.features.Sequence(tfds.features.BBoxFeature())

    class Prepared(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Writes the splits that are given, whatever they hold."""

        def __init__(self):
            self.name = name
            self.VERSION = tfds.core.Version(VERSION)
            super().__init__(data_dir=folder, file_format="array_record")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            return {x: self._generate_examples(y) for x, y in splits.items()}

        def _generate_examples(self, questions):
            return enumerate(_examples(questions))

    return Prepared()


def _examples(questions: VisualQuestions) -> Iterator[dict[str, Any]]:
    """Yields each question as TFDS wants it; an image is encoded once in a row."""
    last, encoded = -1, b""
    for number in range(len(questions)):
        example = questions.example(number)
        if (image := int(questions.image_of[number])) != last:
            last, encoded = image, _png(np.asarray(example["image"]))
        if "objects/bbox" in example:
            box = np.asarray(example["objects/bbox"], np.float32)
            example["objects/bbox"] = [] if np.isnan(box).any() else [box]
        yield example | {"image": encoded, "answers": list(example["answers"])}


def _png(image: UInt8[np.ndarray, "Y X C"]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def _pixels(png: bytes) -> UInt8[np.ndarray, "Y X C"]:
    with Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
        return np.asarray(picture)


def read_prepared(
    name: str, data_dir: str | os.PathLike[str], split: str
) -> VisualQuestions:
    """Returns what `write_prepared` wrote, in that order; boxes in single precision.

    Images that no question is about are not in the files.

    Raises:
        InputError: no such data set is prepared there, it lacks the split, or it is
            damaged.
    """
    with prepared(name, data_dir, "write it with write_prepared") as builder:
        examples = list(in_order(records(builder, split)))
        names = [example["image/id"] for example in examples]
        first = {image: n for n, image in reversed([*enumerate(names)])}
        image_ids = list(dict.fromkeys(names))
        images = [_pixels(examples[first[image]]["image"]) for image in image_ids]
    places = {image: place for place, image in enumerate(image_ids)}
    column = {text: [x[text].decode() for x in examples] for text in _TEXTS}
    return VisualQuestions(
        images=np.stack(images),
        image_ids=[image.decode() for image in image_ids],
        image_of=np.array([places[image] for image in names]),
        question_ids=np.array([x["question_id"] for x in examples]),
        questions=column["question_text"],
        answers=[tuple(y.decode() for y in x["answers"]) for x in examples],
        top_answers=column["top_answer"],
        question_types=column["question_type"],
        answer_types=column["answer_type"],
        groups=column["question_group"],
        boxes=_boxes(examples) if "objects/bbox" in examples[0] else None,
    )


def _boxes(examples: list[dict[str, Any]]) -> np.ndarray:
    boxes = np.full((len(examples), 4), np.nan, np.float32)
    for row, example in enumerate(examples):
        if len(example["objects/bbox"]):
            boxes[row] = example["objects/bbox"][0]
    return boxes
