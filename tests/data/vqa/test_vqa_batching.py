import dataclasses
import itertools
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data.vqa.answer_table import SoftScores
from zoo.data.vqa.batching import (
    EncodedQuestions,
    GroupPlan,
    batch_of,
    evaluation_batches,
    group_by_image,
    training_batches,
)
from zoo.errors import InputError

owners = st.lists(st.integers(0, 12), min_size=1, max_size=60).map(np.array)
sizes = st.fixed_dictionaries(
    {"images_per_batch": st.integers(1, 6), "questions_per_image": st.integers(1, 5)}
)


def shape_of(sizes):
    return sizes["images_per_batch"], sizes["questions_per_image"]


def encoded(image_of=None, seed=0):
    """Question n has the words n + 10, and image i is all i + 1."""
    if image_of is None:
        image_of = np.random.default_rng(seed).integers(20, size=100)
    count = len(image_of)
    images = np.arange(1, image_of.max() + 2, dtype=np.uint8)
    return EncodedQuestions(
        images=images.repeat(12).reshape(-1, 2, 2, 3),
        image_of=image_of,
        words=np.arange(10, 10 + count)[:, None].repeat(3, axis=1),
        labels=np.arange(count, dtype=np.int32) % 3,
        num_answers=3,
    )


def plan_of(image_of, **options):
    defaults = {
        "images_per_batch": 4,
        "questions_per_image": 3,
        "num_steps": 40,
        "seed": 1,
    }
    return GroupPlan(image_of, **defaults | options)


def epoch(plan, number):
    size = plan.batches_per_epoch
    return np.stack([plan[step] for step in range(number * size, (number + 1) * size)])


def assert_equal_batches(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_grouping_by_hand():
    # Image 7 has four questions, image 5 has one: with three slots two rows of two.
    image_of = np.array([7, 7, 5, 7, 7])
    rows = group_by_image(image_of, np.array([4, 2, 0, 1, 3]), 3)
    assert rows.tolist() == [[2, -1, -1], [4, 1, -1], [0, 3, -1]]


def test_a_batch_by_hand():
    questions = encoded(np.array([1, 0, 1]))
    questions = dataclasses.replace(questions, labels=np.array([2, 1, -1]))
    batch = batch_of(questions, np.array([[0, 2], [1, -1], [-1, -1]]))
    assert batch["image"][:, 0, 0, 0].tolist() == [2, 1, 0]
    assert batch["image"].dtype == np.uint8
    assert batch["questions"][..., 0].tolist() == [[10, 12], [11, 0], [0, 0]]
    assert batch["labels"].tolist() == [[2, -1], [1, -1], [-1, -1]]
    # The second question of image 1 has an answer that is no class.
    assert batch["valid"].tolist() == [[True, False], [True, False], [False, False]]
    assert batch.keys() == {"image", "questions", "labels", "valid"}


def test_soft_scores_keep_questions_that_have_no_class():
    soft = SoftScores(
        classes=np.array([[0, 2], [1, -1], [-1, -1]]),
        scores=np.array([[0.6, 0.3], [1, 0], [0, 0]], np.float32),
    )
    questions = dataclasses.replace(encoded(np.array([1, 0, 1])), soft_scores=soft)
    batch = batch_of(questions, np.array([[0, 2], [1, -1]]))
    np.testing.assert_allclose(
        batch["targets"], [[[0.6, 0, 0.3], [0, 0, 0]], [[0, 1, 0], [0, 0, 0]]]
    )
    assert batch["valid"].tolist() == [[True, True], [True, False]]


@given(image_of=owners, sizes=sizes, seed=st.integers(-(2**70), 2**70))
def test_each_epoch_visits_every_question_once(image_of, sizes, seed):
    plan = plan_of(image_of, **sizes, num_steps=10_000, seed=seed)
    for number in range(3):
        batches = epoch(plan, number)
        assert batches.shape[1:] == shape_of(sizes)
        assert sorted(batches[batches >= 0]) == list(range(len(image_of)))


@given(image_of=owners, sizes=sizes)
def test_a_row_is_about_one_image_and_images_have_no_row_too_many(image_of, sizes):
    rows = epoch(plan_of(image_of, **sizes, num_steps=10_000), 0)
    rows = rows.reshape(-1, sizes["questions_per_image"])
    rows = rows[(rows >= 0).any(axis=1)]
    for row in rows:
        assert len(set(image_of[row[row >= 0]])) == 1
        assert (np.diff((row >= 0).astype(int)) <= 0).all()  # empty slots come last
    for image, count in zip(*np.unique(image_of, return_counts=True), strict=True):
        filled = [(row >= 0).sum() for row in rows if image_of[row[0]] == image]
        assert len(filled) == -(-count // sizes["questions_per_image"])
        assert max(filled) - min(filled) <= 1


def test_one_question_an_image_is_no_grouping():
    image_of = np.repeat(np.arange(50), 8)
    sizes = {"images_per_batch": 8, "questions_per_image": 1}
    batches = epoch(plan_of(image_of, **sizes, num_steps=50), 0)
    assert batches.shape == (50, 8, 1)
    # Two of eight random questions share an image in 40 % of the batches; rows that
    # came in the order of the images would do so in all of them.
    shared = [len(set(image_of[batch.ravel()])) < 8 for batch in batches]
    assert 0.1 < np.mean(shared) < 0.8


def test_epochs_and_seeds_have_orders_of_their_own():
    image_of = encoded().image_of
    plan, other = plan_of(image_of, num_steps=10_000), plan_of(image_of, seed=2)
    batches = [epoch(plan, 0), epoch(plan, 1), epoch(other, 0)]
    for one, another in itertools.combinations(batches, 2):
        assert not (one == another).all()
        # Not merely the same rows in another order.
        first, second = ({*map(tuple, x.reshape(-1, 3))} for x in (one, another))
        assert len(first & second) < len(first) / 2


def test_a_plan_is_a_sequence_in_any_order():
    image_of = encoded().image_of
    plan = plan_of(image_of)
    assert len(plan) == 40
    in_order = list(plan)
    for step in (39, 3, 20, 0, -1):
        np.testing.assert_array_equal(plan_of(image_of)[step], in_order[step])
    with pytest.raises(IndexError):
        plan[40]


@pytest.mark.parametrize("first_step", [0, 1, 17, 40])
def test_a_resumed_stream_is_the_tail_of_the_whole_one(first_step):
    def noise(images, generator):
        return images + generator.integers(100, size=images.shape, dtype=np.uint8)

    questions = encoded()
    plan = plan_of(questions.image_of)
    whole = list(training_batches(plan, questions, first_step=0, augment=noise))
    assert len(whole) == 40
    tail = training_batches(plan, questions, first_step=first_step, augment=noise)
    assert_equal_batches(tail, whole[first_step:])
    # Each step has changes of its own.
    changes = [
        batch["image"] - batch_of(questions, rows)["image"]
        for batch, rows in zip(whole, plan, strict=True)
    ]
    assert len({change.tobytes() for change in changes}) == 40


def test_the_stream_follows_the_plan_in_one_shape():
    questions = encoded()
    plan = plan_of(questions.image_of)
    expected = [batch_of(questions, rows) for rows in plan]
    assert_equal_batches(training_batches(plan, questions, first_step=0), expected)
    assert len({batch["questions"].shape for batch in expected}) == 1


def test_a_closed_stream_leaves_no_thread():
    questions = encoded()
    before = set(threading.enumerate())
    batches = training_batches(plan_of(questions.image_of), questions, first_step=0)
    next(batches)
    started = set(threading.enumerate()) - before
    assert started
    batches.close()
    for thread in started:
        thread.join(5)
        assert not thread.is_alive()


@settings(max_examples=30)
@given(image_of=owners, sizes=sizes)
def test_evaluation_sees_every_question_once_with_its_image(image_of, sizes):
    questions = encoded(image_of)
    seen = []
    for places, batch in evaluation_batches(questions, **sizes):
        assert batch["questions"].shape == (*shape_of(sizes), 3)
        assert ((places >= 0) == batch["valid"]).all()
        for row, slot in zip(*np.nonzero(places >= 0), strict=True):
            number = places[row, slot]
            assert batch["questions"][row, slot, 0] == number + 10
            assert batch["labels"][row, slot] == number % 3
            assert (batch["image"][row] == image_of[number] + 1).all()
            seen.append(number)
        assert not batch["questions"][places < 0].any()
    assert sorted(seen) == list(range(len(image_of)))


def test_features_of_regions_are_batched_like_pixels():
    features = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    questions = dataclasses.replace(encoded(np.array([1, 0])), images=features)
    batch = batch_of(questions, np.array([[0], [-1]]))
    assert batch["image"].dtype == np.float32
    np.testing.assert_array_equal(batch["image"], [features[1], np.zeros((4, 3))])


@pytest.mark.parametrize("name", ["images_per_batch", "questions_per_image"])
def test_a_number_below_one_is_refused(name):
    with pytest.raises(InputError, match=f"{name} is 0, but must be at least 1"):
        plan_of(np.array([0]), **{name: 0})


def test_no_questions_are_refused():
    with pytest.raises(InputError, match="empty"):
        plan_of(np.array([], int))
