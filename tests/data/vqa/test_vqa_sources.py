import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zoo.data.splits import SPLITS
from zoo.data.vqa.sources import DaquarData, EasyVqaData, ShapesData, SortOfClevrData
from zoo.data.vqa.words import encode_questions, train_words
from zoo.errors import InputError

ROOT = Path(__file__).parents[3]


def test_no_image_is_in_two_splits_and_every_question_fits():
    data = SortOfClevrData(num_train=5, num_validation=4, num_test=3)
    parts = [data.read(split, seed=0) for split in SPLITS]
    assert [len(part.images) for part in parts] == [5, 4, 3]
    ids = [image_id for part in parts for image_id in part.image_ids]
    assert len(ids) == len(set(ids))
    pictures = [image.tobytes() for part in parts for image in part.images]
    assert len(set(pictures)) == len(ids)
    tokenizer = train_words(parts[0].questions)
    for part in parts:
        ids = encode_questions(tokenizer, part.questions, data.max_words)
        assert (ids > 0).any(axis=1).all()


def test_a_size_below_one_is_refused():
    with pytest.raises(InputError, match="num_test is 0, but must be at least 1"):
        SortOfClevrData(num_test=0)
    with pytest.raises(InputError, match="width is 0"):
        DaquarData(width=0)


@pytest.mark.parametrize(
    ("kind", "file"),
    [(ShapesData, "train.large.query"), (DaquarData, "train_images_list.txt")],
)
def test_a_missing_folder_is_named(tmp_path, kind, file):
    with pytest.raises(InputError, match=f"{tmp_path / file}: no such file"):
        kind(folder=tmp_path).read("train", 0)


@pytest.mark.parametrize("kind", [EasyVqaData, SortOfClevrData, ShapesData, DaquarData])
def test_a_change_keeps_shape_and_kind(kind):
    images = np.full((2, 8, 8, 3), 200, np.uint8)
    changed = kind().augment(images, np.random.default_rng(0))
    assert (changed.shape, changed.dtype) == (images.shape, images.dtype)
    assert dataclasses.asdict(kind())["max_words"] > 8


def test_to_list_the_sources_loads_neither_images_nor_readers():
    program = (
        "import sys, zoo.data.vqa.sources\n"
        "heavy = {'PIL', 'grain', 'jax', 'tensorflow_datasets'}\n"
        "assert not heavy & {*sys.modules}, heavy & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
