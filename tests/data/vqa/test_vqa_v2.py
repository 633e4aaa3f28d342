"""The golden files are in the exact official layouts, with 622 questions."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoo import vqa_metrics
from zoo.data.vqa.image_files import RegionFiles
from zoo.data.vqa.sources import VqaV2Data
from zoo.errors import InputError

GOLDEN = Path(__file__).parents[2] / "golden"
QUESTIONS = "v2_OpenEnded_mscoco_sample_questions.json"
ANNOTATIONS = "v2_mscoco_sample_annotations.json"
SAMPLE = {"train": "sample", "test": "sample", "height": 6, "width": 8}


def official(name):
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def image_ids():
    return sorted({x["image_id"] for x in official(QUESTIONS)["questions"]})


@pytest.fixture(scope="module")
def whole(tmp_path_factory, image_ids):
    """A folder as a user unpacks it, each picture in a grey of its own."""
    folder = tmp_path_factory.mktemp("vqa_v2")
    for name in (QUESTIONS, ANNOTATIONS):
        shutil.copy(GOLDEN / name, folder)
    (folder / "sample").mkdir()
    for image in image_ids:
        picture = Image.new("RGB", (16, 12), (image % 256,) * 3)
        picture.save(folder / "sample" / f"COCO_sample_{image:012}.jpg")
    return folder


@pytest.fixture
def few(tmp_path, whole):
    """The first three questions, which are about images 333 and 334."""
    for name, key in ((QUESTIONS, "questions"), (ANNOTATIONS, "annotations")):
        content = official(name)
        content[key] = content[key][:3]
        (tmp_path / name).write_text(json.dumps(content))
    shutil.copytree(whole / "sample", tmp_path / "sample")
    return tmp_path


def test_the_official_files_are_read_as_they_are(whole, image_ids):
    read = VqaV2Data(folder=whole, **SAMPLE).read("test", seed=0)
    assert len(read) == 622
    assert sorted(map(int, read.image_ids)) == image_ids
    assert read.images.shape == (len(image_ids), 6, 8, 3)
    questions = official(QUESTIONS)["questions"]
    annotations = official(ANNOTATIONS)["annotations"]
    for number in (0, 25, 621):
        example = read.example(number)
        asked, answered = questions[number], annotations[number]
        image = int(example["image/id"])
        assert image == asked["image_id"]
        # JPEG keeps a plain grey but for rounding.
        np.testing.assert_allclose(example["image"].astype(int), image % 256, atol=1)
        assert example["question_id"] == asked["question_id"]
        assert example["question_text"] == asked["question"]
        assert example["answers"] == tuple(x["answer"] for x in answered["answers"])
        assert example["top_answer"] == answered["multiple_choice_answer"]
        assert example["question_type"] == answered["question_type"]
        assert example["answer_type"] == answered["answer_type"]
        assert example["question_group"] == answered["answer_type"]
        assert "objects/bbox" not in example


def test_predictions_go_through_a_results_file_to_the_official_accuracy(whole):
    read = VqaV2Data(folder=whole, **SAMPLE).read("test", seed=0)
    path = GOLDEN / "v2_OpenEnded_mscoco_sample_results.json"
    predictions = vqa_metrics.read_results(path, read.question_ids)
    scores = vqa_metrics.official_scores(predictions, read.answers)
    assert round(vqa_metrics.accuracy(scores).value, 2) == 71.5


def test_validation_takes_whole_images_from_training(whole):
    data = VqaV2Data(folder=whole, **SAMPLE)
    train, held_out = (data.read(split, seed=0) for split in ("train", "validation"))
    assert not set(train.image_ids) & set(held_out.image_ids)
    assert len(train) + len(held_out) == 622
    assert 0 < len(held_out.image_ids) < 0.2 * len(train.image_ids)
    image = held_out.example(0)
    grey = int(image["image/id"]) % 256
    np.testing.assert_allclose(image["image"].astype(int), grey, atol=1)
    again = data.read("validation", seed=1)
    assert again.question_ids.tolist() == held_out.question_ids.tolist()


def test_the_order_of_annotations_does_not_matter(few):
    content = json.loads((few / ANNOTATIONS).read_text())
    expected = VqaV2Data(folder=few, **SAMPLE).read("test", seed=0)
    content["annotations"].reverse()
    (few / ANNOTATIONS).write_text(json.dumps(content))
    found = VqaV2Data(folder=few, **SAMPLE).read("test", seed=0)
    assert found.answers == expected.answers


def region_file(folder, image, boxes):
    path = folder / "sample" / f"COCO_sample_{image:012}.jpg.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez(path, x=boxes, bbox=np.zeros((2, 4)), num_bbox=2)
    return path


def test_features_of_regions_stand_in_for_pictures(few, tmp_path):
    shutil.rmtree(few / "sample")
    features = tmp_path / "features"
    features.mkdir()
    two = np.array([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]], np.float32)  # D = 3, 2 boxes
    region_file(features, 333, two)
    region_file(features, 334, np.ones((3, 9), np.float32))
    width = {"num_regions": 4, "region_dim": 3}
    data = VqaV2Data(folder=few, features=features, **width, **SAMPLE)
    read = data.read("test", seed=0)
    assert read.images.shape == (2, 4, 3)
    regions = read.example(0)["image"]
    assert regions.dtype == np.float32
    # A region is a row; a region that is not there is a row of zeros.
    assert regions.tolist() == [[1, 2, 3], [4, 5, 6], [0, 0, 0], [0, 0, 0]]
    assert (read.example(1)["image"] == 1).all(), "4 of 9 boxes"


@pytest.mark.parametrize(
    ("write", "claim"),
    [
        (lambda path: path.write_bytes(b"PK\x03\x04 no zip"), "no .npz, or a damaged"),
        (lambda path: path.write_bytes(b""), "no .npz, or a damaged"),
        (lambda path: np.savez(path, y=np.zeros((3, 2))), "no array x of [3, boxes]"),
        (
            lambda path: np.savez(path, x=np.zeros((2, 3))),
            "x has the shape (2, 3), but",
        ),
        (lambda path: np.savez(path, x=np.array([None])), "no .npz, or a damaged"),
        (lambda path: np.savez(path, x=np.array([["a"]] * 3)), "no .npz, or a damaged"),
        (lambda path: None, "cannot be read: No such file"),
    ],
)
def test_a_file_that_holds_no_features_is_refused(tmp_path, write, claim):
    path = tmp_path / "a.npz"
    write(path)
    with pytest.raises(InputError) as caught:
        RegionFiles([path], num_regions=4, region_dim=3)[0]
    assert str(caught.value).startswith(f"{path}: {claim}")


def changed(name, change):
    """Returns a change of one entry's list in an official file."""

    def write(folder):
        content = json.loads((folder / name).read_text())
        change(content.get("questions") or content["annotations"])
        (folder / name).write_text(json.dumps(content))

    return write


FAULTS = {
    "picture": (
        lambda folder: (folder / "sample/COCO_sample_000000000334.jpg").unlink(),
        "COCO_sample_000000000334.jpg: no such file, nor 0 others of 2 that questions",
    ),
    "pictures": (
        lambda folder: shutil.rmtree(folder / "sample"),
        "sample: cannot be read: No such file",
    ),
    "questions": (
        lambda folder: (folder / QUESTIONS).unlink(),
        f"{QUESTIONS}: cannot be read: No such file",
    ),
    "cut": (
        lambda folder: (folder / QUESTIONS).write_text('{"questions": ['),
        f"{QUESTIONS}: no JSON (",
    ),
    "other layout": (
        lambda folder: (folder / ANNOTATIONS).write_text("[]"),
        f"{ANNOTATIONS}: no list of annotations; want the official layout",
    ),
    "question twice": (
        changed(QUESTIONS, lambda rows: rows.append(rows[0])),
        f"{QUESTIONS}, question 4: question_id 1001 is there twice",
    ),
    "annotation twice": (
        changed(ANNOTATIONS, lambda rows: rows.append(rows[1])),
        f"{ANNOTATIONS}, annotation 4: question_id 1002 is there twice",
    ),
    "annotation without question": (
        changed(QUESTIONS, lambda rows: rows.pop(0)),
        f"{ANNOTATIONS}: an annotation of question_id 1001, which is not in",
    ),
    "question without annotation": (
        changed(ANNOTATIONS, lambda rows: rows.pop(2)),
        f"{QUESTIONS}: question_id 1003 has no annotation in {ANNOTATIONS}",
    ),
    "another image": (
        changed(ANNOTATIONS, lambda rows: rows[0].update(image_id=334)),
        f"{ANNOTATIONS}: question_id 1001 is about image_id 334, but about 333 in",
    ),
    "no question": (
        changed(QUESTIONS, lambda rows: rows[1].pop("question")),
        f"{QUESTIONS}, question 2: no question of type str",
    ),
    "no number": (
        changed(QUESTIONS, lambda rows: rows[1].update(question_id="1002")),
        f"{QUESTIONS}, question 2: no question_id of type int",
    ),
    "a truth for a number": (
        changed(QUESTIONS, lambda rows: rows[1].update(question_id=True)),
        f"{QUESTIONS}, question 2: no question_id of type int",
    ),
    "half a character": (
        changed(QUESTIONS, lambda rows: rows[1].update(question="is it \ud800?")),
        f"{QUESTIONS}, question 2: half a character",
    ),
    "no answers": (
        changed(ANNOTATIONS, lambda rows: rows[2].update(answers=[])),
        f"{ANNOTATIONS}, annotation 3: its answers are no texts, or there are none",
    ),
    "no texts": (
        changed(ANNOTATIONS, lambda rows: rows[2].update(answers=["net"])),
        f"{ANNOTATIONS}, annotation 3: its answers are no texts",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_files_is_one_line(few, fault):
    spoil, claim = FAULTS[fault]
    spoil(few)
    with pytest.raises(InputError) as caught:
        VqaV2Data(folder=few, **SAMPLE).read("test", seed=0)
    message = str(caught.value)
    assert message.startswith(f"{few}/")
    assert claim in message
    assert "\n" not in message


def test_a_damaged_picture_is_named_when_it_is_needed(few):
    path = few / "sample" / "COCO_sample_000000000333.jpg"
    path.write_bytes(path.read_bytes()[:300])
    read = VqaV2Data(folder=few, **SAMPLE).read("test", seed=0)
    with pytest.raises(InputError, match=r"000333\.jpg: .*; save it again as PNG"):
        read.example(0)


def test_too_few_images_to_validate_on_are_refused(few):
    with pytest.raises(InputError, match="none of the 2 images of sample falls to val"):
        VqaV2Data(folder=few, **SAMPLE).read("validation", seed=0)
