"""VQA v2 from its official files; Goyal et al. (2017), "Making the V in VQA Matter".

A folder holds what visualqa.org offers, unpacked and under its own names, with PART for
train2014 or val2014:

    v2_OpenEnded_mscoco_PART_questions.json
    v2_mscoco_PART_annotations.json
    PART/COCO_PART_000000000042.jpg

Instead of the pictures, features of regions may be given in another folder, as
PART/COCO_PART_000000000042.jpg.npz; see `RegionFiles`.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.vqa.examples import ImageFiles, VisualQuestions
from zoo.data.vqa.image_files import RegionFiles
from zoo.errors import InputError, read_limited

# The fields that are read, with their types.
# Those of all of train2014 have some 350 MB.
_MAX_BYTES = 2**32
_HALF = re.compile("[\ud800-\udfff]")
_QUESTION = {"question_id": int, "image_id": int, "question": str}
_ANNOTATION = {
    **{"question_id": int, "image_id": int, "question_type": str, "answer_type": str},
    **{"multiple_choice_answer": str, "answers": list},
}


def read_vqa_v2(
    folder: Path, part: str, image_shape: tuple[int, int, int]
) -> VisualQuestions:
    """Returns the questions of one part and its pictures, each read when asked for.

    The groups are the types of answers: "yes/no", "number" and "other".

    Args:
        part: as the files are called, such as train2014.
        image_shape: of every picture: Y, X, C.

    Raises:
        InputError: a file is missing or damaged; an id is there twice; a question lacks
            its annotation, picture, or the other way round.
    """
    questions, annotations = _read_pairs(folder, part)
    image_ids = _image_ids(questions)
    names = [f"COCO_{part}_{image:012}.jpg" for image in image_ids]
    paths = _existing(folder / part, names)
    return _columns(ImageFiles(paths, image_shape), image_ids, questions, annotations)


def read_vqa_v2_features(
    folder: Path, features: Path, part: str, num_regions: int, region_dim: int
) -> VisualQuestions:
    """Returns the questions of one part, and features of regions for pictures.

    Args:
        features: the folder with files PART/COCO_PART_000000000042.jpg.npz.
        num_regions: at most so many of an image are taken.

    Raises:
        InputError: as `read_vqa_v2`.
    """
    questions, annotations = _read_pairs(folder, part)
    image_ids = _image_ids(questions)
    names = [f"COCO_{part}_{image:012}.jpg.npz" for image in image_ids]
    paths = _existing(features / part, names)
    regions = RegionFiles(paths, num_regions, region_dim)
    return _columns(regions, image_ids, questions, annotations)


def _columns(
    images: ImageFiles | RegionFiles,
    image_ids: list[int],
    questions: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
) -> VisualQuestions:
    places = {image: place for place, image in enumerate(image_ids)}
    answer_types = [x["answer_type"] for x in annotations]
    return VisualQuestions(
        images=images,
        image_ids=[str(image) for image in image_ids],
        image_of=np.array([places[x["image_id"]] for x in questions]),
        question_ids=np.array([x["question_id"] for x in questions]),
        questions=[x["question"] for x in questions],
        answers=[tuple(y["answer"] for y in x["answers"]) for x in annotations],
        top_answers=[x["multiple_choice_answer"] for x in annotations],
        question_types=[x["question_type"] for x in annotations],
        answer_types=answer_types,
        groups=answer_types,
    )


def _image_ids(questions: list[dict[str, Any]]) -> list[int]:
    """Returns the images that the questions are about, each once, in that order."""
    return list(dict.fromkeys(question["image_id"] for question in questions))


def _existing(folder: Path, names: Sequence[str]) -> list[Path]:
    """Returns the paths of files; raises InputError if one is not there."""
    try:
        there = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}") from error
    missing = [name for name in names if name not in there]
    if missing:
        raise InputError(
            f"{folder / missing[0]}: no such file, nor {len(missing) - 1} others of "
            f"{len(names)} that questions are about; unpack all of them there"
        )
    return [folder / name for name in names]


def _read_pairs(
    folder: Path, part: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns the questions of a part, and the annotation of each."""
    asked = folder / f"v2_OpenEnded_mscoco_{part}_questions.json"
    answered = folder / f"v2_mscoco_{part}_annotations.json"
    questions = _read_entries(asked, "questions", _QUESTION)
    annotations = _read_entries(answered, "annotations", _ANNOTATION)
    for number in annotations:
        if number not in questions:
            raise InputError(
                f"{answered}: an annotation of question_id {number}, which is not in "
                f"{asked.name}; take both files of one part"
            )
    for number, question in questions.items():
        if number not in annotations:
            raise InputError(
                f"{asked}: question_id {number} has no annotation in {answered.name}; "
                "take both files of one part"
            )
        if annotations[number]["image_id"] != question["image_id"]:
            raise InputError(
                f"{answered}: question_id {number} is about image_id "
                f"{annotations[number]['image_id']}, but about {question['image_id']} "
                f"in {asked.name}; take both files of one part"
            )
    return list(questions.values()), [annotations[number] for number in questions]


def _read_entries(
    path: Path, key: str, fields: dict[str, type]
) -> dict[int, dict[str, Any]]:
    """Returns the list under a key of an official file, each entry under its id."""
    try:
        written = read_limited(path, _MAX_BYTES)
        content = json.loads(written)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: no JSON ({error}); unpack it again") from error
    rows = content.get(key) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{path}: no list of {key}; want the official layout")
    # JSON can escape halves of characters, which are no text.
    may_be_halves = re.search(rb"\\u[dD]", written) is not None
    entries: dict[int, dict[str, Any]] = {}
    for place, row in enumerate(rows, start=1):
        where = f"{path}, {key[:-1]} {place}"
        for field, kind in fields.items():
            if not isinstance(row, dict) or type(row.get(field)) is not kind:
                raise InputError(
                    f"{where}: no {field} of type {kind.__name__}; want the official "
                    "layout"
                )
        if may_be_halves and _HALF.search(json.dumps(row, ensure_ascii=False)):
            raise InputError(
                f"{where}: half a character (\\ud800 … \\udfff); remove it"
            )
        if "answers" in fields and not _are_answers(row["answers"]):
            raise InputError(f"{where}: its answers are no texts, or there are none")
        if row["question_id"] in entries:
            raise InputError(
                f"{where}: question_id {row['question_id']} is there twice; "
                "keep one of the two"
            )
        entries[row["question_id"]] = row
    return entries


def _are_answers(answers: list[Any]) -> bool:
    return bool(answers) and all(
        isinstance(x, dict) and isinstance(x.get("answer"), str) for x in answers
    )
