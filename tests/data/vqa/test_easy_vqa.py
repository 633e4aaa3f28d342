import collections
import importlib.util

import numpy as np
import pytest

from zoo.data.vqa.easy_vqa import (
    background_of,
    box_of,
    differs_from,
    names_the_shape,
    read_easy_vqa,
)
from zoo.data.vqa.sources import EasyVqaData
from zoo.data.vqa.words import words
from zoo.errors import InputError


@pytest.fixture(scope="module")
def questions():
    return read_easy_vqa("test")


def test_the_published_test_set_is_read_whole(questions):
    assert len(questions) == 9_673
    assert questions.images.shape == (1_000, 64, 64, 3)
    assert len(set(questions.top_answers)) == 13
    most = max(len(words(question)) for question in questions.questions)
    assert most < EasyVqaData().max_words
    assert collections.Counter(questions.groups) == {
        "color present": 5_201,
        "shape present": 1_935,
        "color": 1_280,
        "shape": 1_257,
    }


def test_questions_keep_the_image_that_they_were_asked_about(questions):
    # All answers about the colour of one image are the same.
    colors = collections.defaultdict(set)
    for number, group in enumerate(questions.groups):
        if group == "color":
            image = questions.image_of[number]
            colors[image].add(questions.top_answers[number])
    assert len(colors) > 500
    assert {len(answers) for answers in colors.values()} == {1}
    # And it is the colour at the middle of the box.
    rgb = {"red": (255, 0, 0), "blue": (0, 0, 255), "green": (0, 255, 0)}
    for number, answer in enumerate(questions.top_answers):
        if answer in rgb:
            top, left, bottom, right = questions.boxes[number] * 64
            place = int((top + bottom) / 2), int((left + right) / 2)
            image = questions.images[questions.image_of[number]]
            assert image[place].tolist() == list(rgb[answer])


def test_a_box_is_tight(questions):
    images = questions.images[:200]
    background = background_of(images)
    boxes = box_of(differs_from(background, images))
    for image, color, (top, left, bottom, right) in zip(
        images, background, boxes, strict=True
    ):
        plain = (image == color).all(axis=-1)
        outside = np.ones((64, 64), bool)
        outside[top:bottom, left:right] = False
        assert plain[outside].all()
        inside = ~plain[top:bottom, left:right]
        edges = [*inside[[0, -1]], *inside[:, [0, -1]].T]
        assert all(edge.any() for edge in edges)
    sizes = boxes[:, 2:] - boxes[:, :2]
    assert sizes.min() >= 8
    assert sizes.max() <= 34


@pytest.mark.parametrize("corner", [(0, 0), (0, 4), (4, 0), (4, 4)])
def test_a_shape_in_a_corner_by_hand(corner):
    image = np.full((1, 8, 8, 3), 240, np.uint8)
    top, left = corner
    image[0, top : top + 4, left : left + 4] = (0, 0, 240)
    box = box_of(differs_from(background_of(image), image))
    assert box.tolist() == [[top, left, top + 4, left + 4]]


@pytest.mark.parametrize(
    ("question", "answer", "named"),
    [
        ("what color is the shape?", "red", True),
        ("is there a circle?", "yes", True),
        ("is there a circle?", "no", False),
        ("does the image not contain a red shape?", "yes", False),
        ("is no red shape present?", "no", True),
    ],
)
def test_a_question_names_the_shape_if_its_answer_says_so(question, answer, named):
    assert names_the_shape(question, answer) is named


def test_only_a_question_that_names_the_shape_has_its_box(questions):
    named = [*map(names_the_shape, questions.questions, questions.top_answers)]
    assert np.isfinite(questions.boxes).all(axis=1).tolist() == named
    assert 0.3 < np.mean(named) < 0.5


def test_validation_holds_a_tenth_of_the_images_to_train_on():
    validation = read_easy_vqa("validation")
    assert len(validation) == 3_778
    assert len(validation.images) == 390
    assert {name.split("/")[0] for name in validation.image_ids} == {"train"}


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install easy-vqa"):
        read_easy_vqa("train")
