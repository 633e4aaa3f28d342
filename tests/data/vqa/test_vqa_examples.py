import dataclasses

import numpy as np
import pytest
from PIL import Image

from zoo.data.vqa.examples import (
    ImageFiles,
    VisualQuestions,
    decoded,
    select,
    sha256,
    train_or_validation,
)
from zoo.errors import InputError

IMAGES = np.arange(3, dtype=np.uint8).repeat(12).reshape(-1, 2, 2, 3)


def made(image_of=(0, 1, 1, 2), **changes):
    """Questions n = 0, 1, …; each pixel of image i is i."""
    count = len(image_of)
    num_images = max(image_of) + 1
    columns = {
        "images": np.arange(num_images, dtype=np.uint8).repeat(12).reshape(-1, 2, 2, 3),
        "image_ids": [f"image {n}" for n in range(num_images)],
        "image_of": np.array(image_of),
        "question_ids": 100 + np.arange(count),
        "questions": [f"question {n}?" for n in range(count)],
        "answers": [(f"answer {n}",) for n in range(count)],
        "top_answers": [f"answer {n}" for n in range(count)],
        "question_types": ["what"] * count,
        "answer_types": ["other"] * count,
        "groups": [f"group {n % 2}" for n in range(count)],
        "boxes": np.arange(4 * count, dtype=np.float32).reshape(count, 4),
    }
    return VisualQuestions(**columns | changes)


def test_an_example_has_the_fields_that_users_know():
    example = made().example(2)
    assert example.pop("image").tolist() == np.ones((2, 2, 3)).tolist()
    assert example.pop("objects/bbox").tolist() == [8, 9, 10, 11]
    assert example == {
        "image/id": "image 1",
        "question_id": 102,
        "question_type": "what",
        "question_text": "question 2?",
        "question_group": "group 0",
        "answer_type": "other",
        "answers": ("answer 2",),
        "top_answer": "answer 2",
    }
    assert "objects/bbox" not in made(boxes=None).example(0)


def test_selected_questions_keep_their_images_and_no_others():
    questions = select(made(), np.array([False, True, False, True]))
    assert questions.image_ids == ["image 1", "image 2"]
    assert questions.image_of.tolist() == [0, 1]
    assert questions.images[:, 0, 0, 0].tolist() == [1, 2]
    for number, old in enumerate([1, 3]):
        new, expected = questions.example(number), made().example(old)
        np.testing.assert_array_equal(new.pop("image"), expected.pop("image"))
        np.testing.assert_array_equal(
            new.pop("objects/bbox"), expected.pop("objects/bbox")
        )
        assert new == expected


@pytest.mark.parametrize(
    ("changes", "claim"),
    [
        ({"questions": ["one"]}, "different lengths.*'questions': 1"),
        ({"image_ids": ["a", "b"]}, "3 images, but 2 ids"),
        ({"image_ids": ["a", "a", "b"]}, "image_ids holds an id twice"),
        ({"question_ids": np.array([1, 2, 3, 1])}, "question_ids holds an id twice"),
        ({"images": IMAGES[:2], "image_ids": ["a", "b"]}, "none of the 2 images"),
        ({"image_of": np.array([0, 1, 2, -1])}, "none of the 3 images"),
    ],
)
def test_columns_that_do_not_fit_are_refused(changes, claim):
    with pytest.raises(ValueError, match=claim):
        made(**changes)


def test_the_fingerprint_sees_pixels_questions_and_answers_but_no_labels():
    questions = made()
    brighter = questions.images.copy()
    brighter[2, 1, 1, 0] += 1
    answers = [*questions.answers[:3], ("answer 3", "another")]
    changes = [
        {},
        {"images": brighter},
        {"questions": ["Question 0?", *questions.questions[1:]]},
        {"image_of": np.array([0, 1, 2, 2])},
        {"answers": answers},
        {"image_ids": ["image 0", "image 1", "image 3"]},
    ]
    digests = {sha256(dataclasses.replace(questions, **change)) for change in changes}
    assert len(digests) == len(changes)
    labels = made(groups=["x"] * 4, boxes=None, answer_types=["number"] * 4)
    assert sha256(labels) == sha256(questions)


def test_the_fingerprint_of_files_sees_their_sizes_and_reads_none(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        path.write_bytes(b"no picture")

    def digests():
        questions = made(images=ImageFiles(paths, (2, 2, 3)))
        last = select(questions, np.array([False, False, False, True]))
        return sha256(questions), sha256(last)

    before = digests()
    assert digests() == before
    paths[0].write_bytes(b"another one")
    whole, last = digests()
    assert whole != before[0]
    assert last == before[1]
    paths[2].write_bytes(b"another one")
    assert digests()[1] != before[1]
    paths[2].unlink()
    with pytest.raises(InputError, match=r"2\.png: cannot be read"):
        digests()


def test_a_tenth_of_the_images_is_held_out_with_all_their_questions():
    questions = made(tuple(np.arange(2_000) // 2))
    train = train_or_validation(questions, "train")
    validation = train_or_validation(questions, "validation")
    assert sorted(train.image_ids + validation.image_ids) == sorted(questions.image_ids)
    assert sorted(train.questions + validation.questions) == sorted(questions.questions)
    # 100 expected, with a standard deviation of 9.
    assert 60 < len(validation.image_ids) < 140
    # The same on every machine, and whatever other images there are.
    few = train_or_validation(made(tuple(range(40))), "validation")
    assert few.image_ids == ["image 24", "image 34", "image 37"]
    assert few.image_ids == [x for x in validation.image_ids if int(x.split()[1]) < 40]


def test_files_are_decoded_and_squashed_when_asked_for(tmp_path):
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for number, path in enumerate(paths[:2]):
        Image.new("RGB", (8, 4), (10 * number, 20, 30)).save(path)
    paths[2].write_text("no picture")
    files = ImageFiles(paths, (2, 2, 3))
    assert files.shape == (3, 2, 2, 3)
    assert files[1].tolist() == [[[10, 20, 30]] * 2] * 2
    questions = made(images=files)
    kept = select(questions, np.array([False, True, True, False]))
    assert kept.images.shape == (1, 2, 2, 3)
    assert decoded(kept.images).tolist() == [files[1].tolist()]
    with pytest.raises(InputError, match=r"2\.png: no picture"):
        questions.example(3)
