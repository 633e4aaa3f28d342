import io
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from zoo.data.vqa.builder import read_prepared, write_prepared
from zoo.data.vqa.examples import VisualQuestions, sha256
from zoo.errors import InputError

tfds = pytest.importorskip("tensorflow_datasets")
tfds.disable_progress_bar()

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
QUESTIONS = VisualQuestions(
    images=IMAGES,
    image_ids=["a", "7", "é"],
    image_of=np.array([0, 0, 1, 2, 1]),
    question_ids=np.array([10, 2, 33, 2**40, 5]),
    questions=["what?", "wo?", "사진에 무엇이 있나요?", "two\nlines", ""],
    answers=[("red",), ("red", "blue"), ("x",) * 10, ("",), ("a", "b", "c")],
    top_answers=["red", "blue", "x", "", "a"],
    question_types=["1", "2", "3", "4", "5"],
    answer_types=["yes/no", "other", "other", "other", "number"],
    groups=["colour", "shape", "shape", "place", "place"],
    boxes=np.array([[0, 0.25, 0.5, 1], [np.nan] * 4] + [[0, 0, 1 / 3, 1]] * 3),
)
COLUMNS = ["image_ids", "questions", "answers", "top_answers", "question_types"]
COLUMNS += ["answer_types", "groups"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    splits = {"train": QUESTIONS, "test": replace(QUESTIONS, images=255 - IMAGES)}
    assert write_prepared("tiny_vqa", folder, splits) == folder / "tiny_vqa" / "1.0.0"
    return folder


def test_what_is_read_back_is_what_was_written(data_dir):
    read = read_prepared("tiny_vqa", data_dir, "train")
    for name in COLUMNS:
        assert getattr(read, name) == getattr(QUESTIONS, name), name
    for name in ("images", "image_of", "question_ids"):
        np.testing.assert_array_equal(getattr(read, name), getattr(QUESTIONS, name))
    np.testing.assert_array_equal(read.boxes, QUESTIONS.boxes.astype(np.float32))
    assert sha256(read) == sha256(QUESTIONS)
    test = read_prepared("tiny_vqa", data_dir, "test")
    np.testing.assert_array_equal(test.images, 255 - IMAGES)


def test_tfds_itself_reads_it_under_the_names_of_big_vision(data_dir):
    builder = tfds.builder_from_directory(data_dir / "tiny_vqa" / "1.0.0")
    assert set(builder.info.features) == set(QUESTIONS.example(0))
    assert builder.info.splits["train"].num_examples == 5
    features = builder.info.features
    assert features["image"].shape == (5, 7, 3)
    assert isinstance(features["objects/bbox"].feature, tfds.features.BBoxFeature)
    skip = {"image": tfds.decode.SkipDecoding()}
    examples = builder.as_data_source("train", decoders=skip)
    assert examples[0]["question_text"] == b"what?"
    for number, image in enumerate(QUESTIONS.image_of):
        picture = Image.open(io.BytesIO(examples[number]["image"]), formats=["PNG"])
        np.testing.assert_array_equal(picture, IMAGES[image])


def test_the_order_is_kept_beyond_one_chunk(tmp_path):
    size = 600
    many = VisualQuestions(
        images=np.zeros((1, 2, 2, 3), np.uint8),
        image_ids=["only"],
        image_of=np.zeros(size, int),
        question_ids=np.arange(size)[::-1].copy(),
        questions=[f"question {n}" for n in range(size)],
        **{name: ["x"] * size for name in COLUMNS[3:]},
        answers=[("x",)] * size,
    )
    write_prepared("many", tmp_path, {"train": many})
    read = read_prepared("many", tmp_path, "train")
    assert read.questions == many.questions
    assert read.question_ids.tolist() == many.question_ids.tolist()
    assert read.boxes is None
    assert len(read.images) == 1


def test_tensorflow_is_not_needed(data_dir):
    read_prepared("tiny_vqa", data_dir, "test")
    assert "tensorflow" not in sys.modules


def test_a_set_is_never_overwritten(data_dir):
    with pytest.raises(InputError, match=r"tiny_vqa/1\.0\.0: is there already; remove"):
        write_prepared("tiny_vqa", data_dir, {"train": QUESTIONS})
    assert len(read_prepared("tiny_vqa", data_dir, "test")) == 5


def test_what_is_not_there_is_refused(data_dir):
    with pytest.raises(InputError, match=r"none: no prepared data set; write it with"):
        read_prepared("none", data_dir, "train")
    with pytest.raises(InputError, match="unknown split of tiny_vqa: 'tests'; did you"):
        read_prepared("tiny_vqa", data_dir, "tests")


@pytest.mark.parametrize(
    "damaged", ["shard", "missing shard", "features.json", "dataset_info.json"]
)
def test_damage_is_found_and_the_folder_named(data_dir, tmp_path, damaged):
    folder = tmp_path / "tiny_vqa" / "1.0.0"
    shutil.copytree(data_dir / "tiny_vqa" / "1.0.0", folder)
    (shard,) = folder.glob("*-test.array_record*")
    if damaged == "shard":
        shard.write_bytes(shard.read_bytes().replace(b"IDAT", b"IDAX", 1))
    elif damaged == "missing shard":
        shard.unlink()
    else:
        (folder / damaged).write_text("{")
    with pytest.raises(InputError) as caught:
        read_prepared("tiny_vqa", tmp_path, "test")
    assert str(caught.value).startswith(f"{folder}: damaged (")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("splits", "fault"),
    [
        ({}, "of one shape in all splits"),
        ({"a": replace(QUESTIONS, images=np.zeros((3, 5, 7)))}, "want pictures"),
        (
            {"a": QUESTIONS, "b": replace(QUESTIONS, images=IMAGES[:, :4])},
            "of one shape in all splits",
        ),
        ({"a": QUESTIONS, "b": replace(QUESTIONS, boxes=None)}, "boxes in all splits"),
    ],
)
def test_splits_that_do_not_fit_are_refused(tmp_path, splits, fault):
    with pytest.raises(ValueError, match=fault):
        write_prepared("a", tmp_path, splits)


def test_without_tfds_the_remedy_is_its_extra(tmp_path, data_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match=r"pip install 'attention-zoo\[tfds\]'"):
        write_prepared("a", tmp_path, {"train": QUESTIONS})
    with pytest.raises(InputError, match=r"pip install 'attention-zoo\[tfds\]'"):
        read_prepared("tiny_vqa", data_dir, "train")
