"""CLEVR as TFDS prepares it, in small: the test prepares it with the same features."""

import io
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from zoo.data.vqa.clevr import group_of
from zoo.data.vqa.sources import ClevrData
from zoo.errors import InputError

tfds = pytest.importorskip("tensorflow_datasets")

COLOURS = ["gray", "blue", "brown", "yellow", "red", "green", "purple", "cyan"]
PAIRS = [
    ("What number of cubes are there?", "3"),
    ("Is there a red sphere?", "yes"),
    ("What is the tiny thing made of?", "rubber"),
]


class Clevr(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The features of TFDS's own builder at 3.1.0, which needs TensorFlow to run."""

    VERSION = tfds.core.Version("3.1.0")

    def __init__(self, folder, with_questions=True):
        self.with_questions = with_questions
        super().__init__(data_dir=folder, file_format="array_record")

    def _info(self):
        features = {
            "image": tfds.features.Image(),
            "file_name": tfds.features.Text(),
            "objects": tfds.features.Sequence(
                {
                    "color": tfds.features.ClassLabel(names=COLOURS),
                    "3d_coords": tfds.features.Tensor(shape=(3,), dtype=np.float32),
                }
            ),
        }
        if self.with_questions:
            features["question_answer"] = tfds.features.Sequence(
                {"question": tfds.features.Text(), "answer": tfds.features.Text()}
            )
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        sizes = {"train": 40, "validation": 3, "test": 2}
        return {x: self._generate_examples(x, size) for x, size in sizes.items()}

    def _generate_examples(self, split, size):
        for number in range(size):
            file = io.BytesIO()
            Image.new("RGBA", (48, 32), (number, 0, 0, 255)).save(file, "PNG")
            name = f"CLEVR_{split}_{number:06}.png"
            example = {"image": file.getvalue(), "file_name": name}
            scene = [{"color": "red", "3d_coords": np.zeros(3, np.float32)}] * number
            example["objects"] = scene
            if self.with_questions:
                pairs = [(f"{x} ({number})", y) for x, y in PAIRS[: 1 + number % 3]]
                example["question_answer"] = [
                    {"question": x, "answer": "" if split == "test" else y}
                    for x, y in pairs
                ]
            yield name, example


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    tfds.disable_progress_bar()
    Clevr(folder).download_and_prepare()
    return folder


def test_each_question_has_its_answer_and_its_picture(data_dir):
    read = ClevrData(data_dir=data_dir, height=4, width=6).read("test", seed=0)
    # TFDS's validation set, which is the one with answers: images of 1, 2, 3 questions.
    assert sorted(read.image_ids) == [
        f"CLEVR_validation_00000{n}.png" for n in range(3)
    ]
    assert len(read) == 6
    for number in range(len(read)):
        example = read.example(number)
        image = int(example["image/id"][-10:-4])
        assert example["question_text"].endswith(f"({image})")
        assert example["image"].shape == (4, 6, 3)
        assert (example["image"] == [image, 0, 0]).all()
        assert "objects/bbox" not in example
    asked = dict(PAIRS)
    for question, answer, all_answers in zip(
        read.questions, read.top_answers, read.answers, strict=True
    ):
        assert asked[question[:-4]] == answer
        assert all_answers == (answer,)
    groups = {"3": "count", "yes": "exist", "rubber": "query material"}
    assert read.groups == [groups[answer] for answer in read.top_answers]
    types = {"3": "number", "yes": "yes/no", "rubber": "other"}
    assert read.answer_types == [types[answer] for answer in read.top_answers]


def test_validation_is_the_end_of_the_training_images(data_dir):
    train, held_out = (
        ClevrData(data_dir=data_dir).read(split, seed=0)
        for split in ("train", "validation")
    )
    assert (len(train.image_ids), len(held_out.image_ids)) == (38, 2)
    names = {*train.image_ids, *held_out.image_ids}
    assert len(names) == 40
    assert held_out.images.shape == (2, 128, 192, 3)
    assert held_out.images[1].shape == (128, 192, 3)


def test_tensorflow_is_not_needed(data_dir):
    ClevrData(data_dir=data_dir).read("test", seed=0).example(0)
    assert "tensorflow" not in sys.modules


# As the templates of CLEVR's generator ask.
TEMPLATES = {
    "count": [("How many small spheres are there?", "0")],
    "exist": [
        ("Is there a big brown object of the same shape as the green thing?", "no"),
        ("Are there any other things that are the same size as the cube?", "yes"),
    ],
    "compare numbers": [
        ("Is the number of balls less than the number of cubes?", "no"),
        ("Are there fewer tiny cylinders than big cyan things?", "no"),
        ("Are there more tiny cylinders than big cyan things?", "yes"),
        ("Are there an equal number of cubes and tiny spheres?", "yes"),
        ("Are there the same number of balls and green cubes?", "yes"),
    ],
    "compare attributes": [
        ("Does the ball have the same color as the tiny block?", "yes"),
        ("Is the size of the red object the same as the cyan cube?", "no"),
        ("Are the tiny cube and the big ball made of the same material?", "no"),
    ],
    "query size": [("How big is the shiny thing?", "large")],
    "query shape": [("There is a tiny gray block; what is its shape?", "cube")],
    "query color": [("The matte ball is what color?", "purple")],
}


@pytest.mark.parametrize("group", TEMPLATES)
def test_the_kind_of_a_question_is_told_by_its_text(group):
    for question, answer in TEMPLATES[group]:
        assert group_of(question, answer) == group


def refusal(data_dir, split="test"):
    with pytest.raises(InputError) as caught:
        ClevrData(data_dir=data_dir).read(split, seed=0)
    message = str(caught.value)
    assert "\n" not in message
    assert 'file_format="array_record").download_and_prepare()' in message
    return message


def test_a_set_that_is_not_prepared_is_refused_with_the_command(tmp_path):
    assert refusal(tmp_path).startswith(f"{tmp_path}/clevr: no prepared data set; prep")


def test_a_version_without_questions_is_refused(tmp_path):
    Clevr(tmp_path, with_questions=False).download_and_prepare()
    assert f"{tmp_path}/clevr/3.1.0: has no questions;" in refusal(tmp_path)


def test_files_that_need_tensorflow_are_refused(data_dir, tmp_path):
    folder = tmp_path / "clevr" / "3.1.0"
    folder.mkdir(parents=True)
    for path in (data_dir / "clevr" / "3.1.0").glob("*.json"):
        text = path.read_text().replace('"array_record"', '"tfrecord"')
        (folder / path.name).write_text(text)
    assert "not in a format that can be read without TensorFlow" in refusal(tmp_path)


def test_what_is_no_version_is_passed_over(data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    whole = tmp_path / "clevr" / "3.1.0"
    for name in ("incomplete.AB12CD_3.1.0", "3.1.0.bak"):
        shutil.copytree(whole, whole.with_name(name))
    assert len(ClevrData(data_dir=tmp_path).read("train", seed=0).image_ids) == 38


def test_damage_is_found_and_the_folder_named(data_dir, tmp_path):
    folder = tmp_path / "clevr" / "3.1.0"
    folder.mkdir(parents=True)
    for path in (data_dir / "clevr" / "3.1.0").iterdir():
        content = path.read_bytes()
        half = "-validation.array_record" in path.name
        (folder / path.name).write_bytes(content[: len(content) // (1 + half)])
    assert refusal(tmp_path).startswith(f"{folder}: damaged (")
    assert len(ClevrData(data_dir=tmp_path).read("train", seed=0).image_ids) == 38


def test_without_tfds_the_remedy_is_its_extra(data_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match=r"pip install 'attention-zoo\[tfds\]'"):
        ClevrData(data_dir=data_dir).read("test", seed=0)
