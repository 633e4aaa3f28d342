"""DAQUAR: questions that people asked about photographs of rooms.

Malinowski and Fritz (2014), "A Multi-World Approach to Question Answering about
Real-World Scenes based on Uncertain Input": 12,468 questions about 1,449 photographs of
NYU Depth V2, in the official split by image. A tenth of the images to train on is held
out here for validation. An answer may be a set, which stays the string that it is.
"""

import dataclasses
import re
from pathlib import Path

import numpy as np

from zoo.data.lines import read_lines
from zoo.data.splits import Split
from zoo.data.vqa.examples import (
    ImageFiles,
    VisualQuestions,
    decoded,
    train_or_validation,
)
from zoo.errors import InputError

_IMAGE = re.compile(r"\b(image\d+)\b")
_ENDING = re.compile(r" in( the| this)? image\d+ ?\?$")
_COLOR = re.compile(r"\bcolou?rs?\b")


def read_daquar(folder: Path, split: Split, height: int, width: int) -> VisualQuestions:
    """Returns one split, its pictures decoded and resized to one size.

    Args:
        folder: all_qa_pairs.txt, train_images_list.txt, test_images_list.txt and
            images/imageN.jpg or .png.

    Raises:
        InputError: a file is missing or damaged; an image is listed twice, or both to
            train and to test on; no image falls to a split.
    """
    listed = "test" if split == "test" else "train"
    image_ids = read_lists(folder)[listed]
    number_of = {image_id: number for number, image_id in enumerate(image_ids)}
    rows = [
        (pair, *row)
        for pair, row in enumerate(read_pairs(folder / "all_qa_pairs.txt"))
        if row[0] in number_of
    ]
    if not rows:
        raise InputError(
            f"{folder}/all_qa_pairs.txt: no question about an image of "
            f"{listed}_images_list.txt; fetch the files again"
        )
    question_ids, images_asked, questions, answers = zip(*rows, strict=True)
    files = ImageFiles([_find(folder, name) for name in image_ids], (height, width, 3))
    asked = VisualQuestions(
        images=files,
        image_ids=image_ids,
        image_of=np.array([number_of[image_id] for image_id in images_asked]),
        question_ids=np.array(question_ids),
        questions=list(questions),
        answers=[(answer,) for answer in answers],
        top_answers=list(answers),
        question_types=[" ".join(question.split()[:2]) for question in questions],
        answer_types=["number" if x.isdigit() else "other" for x in answers],
        groups=[*map(group_of, questions)],
    )
    if split != "test":
        asked = train_or_validation(asked, split)
    if not len(asked):
        raise InputError(
            f"{folder}/train_images_list.txt: none of its {len(image_ids)} images "
            f"falls to {split}; give more of them"
        )
    return dataclasses.replace(asked, images=decoded(asked.images))


def read_lists(folder: Path) -> dict[str, list[str]]:
    """Returns the names of the images to train and to test on.

    Raises:
        InputError: an image is there twice, in one list or in both.
    """
    lists, seen = {}, {}
    for listed in ("train", "test"):
        path = folder / f"{listed}_images_list.txt"
        lists[listed] = [line.strip() for line in read_lines(path)]
        for number, image_id in enumerate(lists[listed], start=1):
            where = f"{path}, line {number}"
            if image_id in seen:
                raise InputError(
                    f"{where}: {image_id} is listed before, in {seen[image_id]}; keep "
                    "one of the two"
                )
            seen[image_id] = where
    return lists


def read_pairs(path: Path) -> list[tuple[str, str, str]]:
    """Returns image, question and answer of each pair of lines.

    The question no longer names the image: "what is on the table ?" rather than "what
    is on the table in the image3 ?". Anywhere else "the image3" reads "the image".

    Raises:
        InputError: a question lacks its answer, or the name of an image.
    """
    lines = list(read_lines(path))
    if len(lines) % 2:
        raise InputError(f"{path}, line {len(lines)}: a question without an answer")
    pairs = []
    for number in range(0, len(lines), 2):
        question, answer = lines[number].strip(), lines[number + 1].strip()
        names = _IMAGE.findall(question)
        if not names or not answer:
            raise InputError(
                f"{path}, line {number + 1}: a question that names no image, or has no "
                "answer below it; mend or remove both lines"
            )
        text = _IMAGE.sub("image", _ENDING.sub(" ?", question))
        pairs.append((names[-1], text, answer))
    return pairs


def group_of(question: str) -> str:
    """Returns what is asked for.

    >>> group_of("what is the colour of the chair ?")
    'color'
    """
    if question.startswith("how many"):
        return "number"
    return "color" if _COLOR.search(question) else "object"


def _find(folder: Path, image_id: str) -> Path:
    jpeg = folder / "images" / f"{image_id}.jpg"
    return jpeg if jpeg.exists() else jpeg.with_suffix(".png")
