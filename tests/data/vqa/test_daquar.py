import numpy as np
import pytest
from PIL import Image

from zoo.data.vqa.daquar import group_of, read_daquar, read_pairs
from zoo.errors import InputError

PAIRS = """what is on the table in the image1 ?
lamp, book
what color is the wall in this image2 ?
white
how many chairs are on the right side of the image2 ?
3
what is the table in the image38 on the floor in the image38 ?
chair
what is behind the door in the image40 ?
sofa
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "all_qa_pairs.txt").write_text(PAIRS)
    # By the hash of its name, image 38 is held out of the images to train on.
    (tmp_path / "train_images_list.txt").write_text("image2\nimage38\n")
    (tmp_path / "test_images_list.txt").write_text("image1\nimage40\n")
    for number in (1, 2, 38, 40):
        picture = Image.new("RGB", (16, 12), (number, 2 * number, 100))
        picture.save(tmp_path / "images" / f"image{number}.png")
    return tmp_path


def refusal(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_official_lists_decide_and_validation_is_held_out(folder):
    ids = {
        split: read_daquar(folder, split, 6, 8).image_ids
        for split in ("train", "validation", "test")
    }
    assert ids == {
        "train": ["image2"],
        "validation": ["image38"],
        "test": ["image1", "image40"],
    }


def test_questions_go_with_their_pictures(folder):
    questions = read_daquar(folder, "test", 6, 8)
    assert questions.images.shape == (2, 6, 8, 3)
    assert questions.question_ids.tolist() == [0, 4]
    for number, (image, text, answer) in enumerate(
        [(1, "what is on the table ?", "lamp, book"), (40, "what is behind", "sofa")]
    ):
        example = questions.example(number)
        assert example["image/id"] == f"image{image}"
        assert example["image"][0, 0].tolist() == [image, 2 * image, 100]
        assert example["question_text"].startswith(text)
        assert example["answers"] == (answer,)
    train = read_daquar(folder, "train", 6, 8)
    assert train.groups == ["color", "number"]
    assert train.question_types == ["what color", "how many"]
    assert train.answer_types == ["other", "number"]


def test_questions_no_longer_name_their_image(folder):
    assert [text for _, text, _ in read_pairs(folder / "all_qa_pairs.txt")] == [
        "what is on the table ?",
        "what color is the wall ?",
        "how many chairs are on the right side of the image ?",
        "what is the table in the image on the floor ?",
        "what is behind the door ?",
    ]


@pytest.mark.parametrize(
    ("question", "group"),
    [
        ("what are the colours of the clothes ?", "color"),
        ("what color is the wall ?", "color"),
        ("how many coloured chairs are there ?", "number"),
        ("what is the colorful object ?", "object"),
    ],
)
def test_groups(question, group):
    assert group_of(question) == group


def test_damaged_files_are_named_with_the_line(folder):
    path = folder / "all_qa_pairs.txt"
    path.write_text(PAIRS + "what is this in the image1 ?\n")
    assert "txt, line 11: a question without" in refusal(read_pairs, path)
    path.write_text("what is this ?\nlamp\n")
    assert "txt, line 1: a question that names no" in refusal(read_pairs, path)
    path.write_text("what is this in the image1 ?\n \n")
    assert "txt, line 1: " in refusal(read_pairs, path)
    path.write_text("what is this in the image7 ?\nlamp\n")
    message = refusal(read_daquar, folder, "test", 6, 8)
    assert "no question about an image of test_images_list.txt" in message


def test_a_missing_picture_is_named(folder):
    (folder / "images" / "image1.png").unlink()
    message = refusal(read_daquar, folder, "test", 6, 8)
    assert message.startswith(f"{folder / 'images' / 'image1.'}")


def test_pictures_are_squashed_to_the_size_asked_for(folder):
    halves = np.zeros((12, 16, 3), np.uint8)
    halves[:, 8:] = 255
    Image.fromarray(halves).save(folder / "images" / "image1.png")
    image = read_daquar(folder, "test", 4, 4).images[0]
    assert (image[:, 0] == 0).all()
    assert (image[:, 3] == 255).all()


def test_an_image_that_is_listed_twice_is_named_with_both_lines(folder):
    train, test = (folder / f"{name}_images_list.txt" for name in ("train", "test"))
    train.write_text("image2\nimage38\nimage2\n")
    message = refusal(read_daquar, folder, "train", 6, 8)
    assert message.startswith(f"{train}, line 3: image2 is listed before, in {train}, ")
    # Trained on and tested on.
    train.write_text("image2\nimage38\nimage40\n")
    for split in ("train", "validation", "test"):
        message = refusal(read_daquar, folder, split, 6, 8)
        assert message.startswith(f"{test}, line 2: image40 is listed before")
        assert f"{train}, line 3; keep one" in message


@pytest.mark.parametrize(("image", "split"), [(2, "validation"), (38, "train")])
def test_a_split_without_an_image_is_refused(folder, image, split):
    path = folder / "train_images_list.txt"
    path.write_text(f"image{image}\n")
    message = refusal(read_daquar, folder, split, 6, 8)
    assert (
        message == f"{path}: none of its 1 images falls to {split}; give more of them"
    )
