import collections
import itertools

import numpy as np
import pytest

from zoo.data.vqa.sort_of_clevr import (
    ANSWERS,
    COLORS,
    QUESTIONS,
    Layouts,
    all_answers,
    draw,
    draw_layouts,
    has_tie,
    sort_of_clevr,
)


@pytest.fixture(scope="module")
def questions():
    return sort_of_clevr("test", 500, seed=0)


def one_layout():
    # Rows and columns of red, green, blue, orange, gray and yellow.
    centers = [(5, 5), (5, 20), (30, 37), (60, 38), (69, 69), (45, 10)]
    is_circle = [True, False, False, False, True, False]
    return Layouts(np.array([centers]), np.array([is_circle]))


def test_the_answers_of_a_layout_by_hand():
    answers = all_answers(one_layout())[0]
    told = {
        group: [ANSWERS[number] for number in row]
        for group, row in zip(QUESTIONS, answers, strict=True)
    }
    circle, square = "circle", "square"
    assert told["shape"] == [circle, square, square, square, circle, square]
    # The middle is at 37.5 pixels.
    assert told["left"] == ["yes", "yes", "yes", "no", "no", "yes"]
    assert told["top"] == ["yes", "yes", "yes", "no", "no", "no"]
    # The closest: green to red and red to green; yellow to blue (15 and 27 pixels);
    # blue to yellow; yellow to orange (15 and 28); orange to gray.
    assert told["closest"] == [square, circle, square, square, square, square]
    # The furthest: gray from all but orange and itself, and from these red.
    assert told["furthest"] == [circle, circle, circle, circle, circle, circle]
    assert told["count"] == ["1", "3", "3", "3", "1", "3"]


def test_answers_agree_with_a_slow_reference():
    layouts = draw_layouts(40, np.random.default_rng(3))
    answers = all_answers(layouts)
    for image, (centers, is_circle) in enumerate(zip(*layouts, strict=True)):
        for number, (row, column) in enumerate(centers.tolist()):
            others = [n for n in range(6) if n != number]
            away = {n: np.hypot(*(centers[n] - centers[number])) for n in others}
            shapes = ["circle" if circle else "square" for circle in is_circle]
            same = [n for n in others if shapes[n] == shapes[number]]
            expected = [
                shapes[number],
                "yes" if column < 37.5 else "no",
                "yes" if row < 37.5 else "no",
                shapes[min(others, key=away.get)],
                shapes[max(others, key=away.get)],
                str(len(same)),
            ]
            assert [ANSWERS[n] for n in answers[image, :, number]] == expected


def test_objects_are_whole_apart_and_without_ties():
    centers, is_circle = draw_layouts(500, np.random.default_rng(0))
    assert centers.min() == 5
    assert centers.max() == 69
    assert not has_tie(centers).any()
    for one, other in itertools.combinations(range(6), 2):
        gap = centers[:, one] - centers[:, other]
        assert (np.hypot(*gap.T) >= 10).all()
    assert 0.45 < is_circle.mean() < 0.55


def test_a_tie_by_hand():
    # The second is as far from the first as from the third.
    tie = [(5, 5), (5, 25), (5, 45), (40, 60), (68, 7), (60, 30)]
    assert has_tie(np.array([tie, one_layout().centers[0]])).tolist() == [True, False]


def test_a_picture_by_hand():
    (image,) = draw(one_layout())
    assert image.shape == (75, 75, 3)
    pixels = collections.Counter(map(tuple, image.reshape(-1, 3).tolist()))
    # A square has 11 by 11 pixels, a disc 11 + 2 (11 + 11 + 9 + 7 + 5).
    areas = [97, 121, 121, 121, 97, 121]
    assert [pixels[color] for color in COLORS.values()] == areas
    assert pixels[255, 255, 255] == 75 * 75 - sum(areas)
    assert image[69, 69].tolist() == [128, 128, 128]
    assert image[74, 74].tolist() == [255, 255, 255]


def test_the_box_is_that_of_the_named_object(questions):
    for number in range(0, len(questions), 97):
        image = questions.images[questions.image_of[number]]
        (name,) = set(COLORS) & {*questions.questions[number].split()}
        rows, columns = np.nonzero((image == COLORS[name]).all(axis=-1))
        top, left, bottom, right = np.rint(questions.boxes[number] * 75)
        assert bottom - top == right - left == 11
        # Another object may hide a part of it.
        assert top <= rows.min()
        assert rows.max() < bottom
        assert left <= columns.min()
        assert columns.max() < right


def test_each_image_has_ten_different_questions_of_either_type(questions):
    assert len(questions) == 500 * 20
    for image in range(0, 500, 50):
        of_image = np.flatnonzero(questions.image_of == image)
        assert len({questions.questions[n] for n in of_image}) == 20
        types = [questions.question_types[n] for n in of_image]
        assert types == ["non-relational"] * 10 + ["relational"] * 10
    assert {*questions.groups} == {*QUESTIONS}
    relational = {"closest", "furthest", "count"}
    for group, kind in zip(questions.groups, questions.question_types, strict=True):
        assert (group in relational) == (kind == "relational")
    number = questions.groups.index("furthest")
    assert "furthest from the" in questions.questions[number]


def test_questions_alone_tell_as_little_as_published():
    # 50.4 % of the non-relational and 43.9 % of the relational: with 10,000 of either,
    # the standard error is half a percent.
    train, test = sort_of_clevr("train", 1_500, 0), sort_of_clevr("test", 1_000, 0)
    counts = collections.defaultdict(collections.Counter)
    for question, answer in zip(train.questions, train.top_answers, strict=True):
        counts[question][answer] += 1
    right = collections.defaultdict(list)
    for question, answer, kind in zip(
        test.questions, test.top_answers, test.question_types, strict=True
    ):
        right[kind].append(counts[question].most_common(1)[0][0] == answer)
    assert 100 * np.mean(right["non-relational"]) == pytest.approx(50.4, abs=1.5)
    assert 100 * np.mean(right["relational"]) == pytest.approx(43.9, abs=1.5)


def test_only_training_depends_on_the_seed():
    def pixels(split, seed):
        return {image.tobytes() for image in sort_of_clevr(split, 50, seed).images}

    test, validation = pixels("test", 0), pixels("validation", 0)
    assert pixels("test", 7) == test
    assert pixels("validation", -7) == validation
    sets = [test, validation, *(pixels("train", seed) for seed in (0, 1, 2, 3))]
    assert len(set().union(*sets)) == 6 * 50
    assert pixels("train", 1) == sets[3]
