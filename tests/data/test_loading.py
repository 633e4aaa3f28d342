"""The stream of batches is one, whoever makes its parts and wherever it begins."""

import subprocess
import sys

import numpy as np
import pytest

from tests.data.test_batching import corpus
from zoo.data.batching import BatchPlan, lengths_with_end, training_batches
from zoo.data.loading import Share
from zoo.data.packed_batching import PackedPlan
from zoo.data.vqa.batching import EncodedQuestions, GroupPlan
from zoo.data.vqa.batching import training_batches as visual_batches

STEPS = 12


def phrases(step, **options):
    ids = corpus()
    plan = BatchPlan(
        *map(lengths_with_end, ids),
        tokens_per_batch=400,
        num_buckets=2,
        num_steps=STEPS,
        seed=3,
    )
    return training_batches(plan, *ids, first_step=step, **options)


def packed(step, **options):
    ids = corpus()
    lengths = map(lengths_with_end, ids)
    limits = {"tokens_per_batch": 512, "num_steps": STEPS, "seed": 3}
    plan = PackedPlan(*lengths, length=64, **limits)
    return training_batches(plan, *ids, first_step=step, **options)


def noise(images, generator):
    return images + generator.integers(0, 99, images.shape, np.uint8)


def pictures(step, augment=noise, **options):
    rng = np.random.default_rng(0)
    questions = EncodedQuestions(
        images=rng.integers(0, 99, (30, 2, 2, 3)).astype(np.uint8),
        image_of=np.arange(60) // 2,
        words=rng.integers(1, 9, (60, 4)),
        labels=rng.integers(0, 5, 60),
        num_answers=5,
    )
    plan = GroupPlan(
        questions.image_of,
        images_per_batch=8,
        questions_per_image=1,
        num_steps=STEPS,
        seed=3,
    )
    return visual_batches(plan, questions, first_step=step, augment=augment, **options)


def plain_pictures(step, **options):
    return pictures(step, None, **options)


def global_batches(stream, num_hosts, step=0, **options):
    """Returns what all hosts have between them."""
    parts = [
        list(stream(step, share=Share(host, num_hosts), **options))
        for host in range(num_hosts)
    ]
    return [
        {name: np.concatenate([rows[name] for rows in hosts]) for name in hosts[0]}
        for hosts in zip(*parts, strict=True)
    ]


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.mark.parametrize("stream", [phrases, packed, pictures, plain_pictures])
@pytest.mark.parametrize("num_hosts", [1, 2, 4, 8])
def test_hosts_have_the_same_batches_between_them(stream, num_hosts):
    whole = list(stream(0))
    assert len(whole) == STEPS
    for step in range(0, STEPS + 1, 3):
        assert_same(global_batches(stream, num_hosts, step), whole[step:])


@pytest.mark.parametrize("stream", [packed, pictures])
def test_processes_that_make_batches_make_the_same(stream):
    found = global_batches(stream, 1, step=3, workers=2)
    assert_same(found, list(stream(3)))


def test_no_batch_of_another_process_lies_in_memory_that_is_left_behind():
    stream = phrases(0, workers=1)
    batch = next(stream)
    stream.close()
    assert {type(array) for array in batch.values()} == {np.ndarray}


def test_processes_that_make_batches_live_as_long_as_the_one_that_trains():
    # It ends without a word to them, and what it says ends when all have let go of it.
    lines = """import multiprocessing, os, signal
from tests.data.test_loading import STEPS, pictures
batches = pictures(0, workers=1)
next(batches)
(maker,) = multiprocessing.active_children()
os.kill(maker.pid, signal.SIGINT)
for _ in range(STEPS // 2):
    next(batches)
print("alive", flush=True)
os._exit(0)"""
    done = subprocess.run(
        [sys.executable, "-c", lines], capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "alive\n", done.stderr


def test_a_host_looks_at_no_row_of_another():
    class Seen(list):
        def __getitem__(self, index):
            if isinstance(index, np.integer):  # beartype looks at a row by chance
                seen.add(int(index))
            return super().__getitem__(index)

    ids = corpus()
    plan = BatchPlan(
        *map(lengths_with_end, ids),
        tokens_per_batch=400,
        num_buckets=1,
        num_steps=1,
        seed=3,
    )
    sides, looked = [Seen(side) for side in ids], []
    for host in range(2):
        seen = set()
        list(training_batches(plan, *sides, first_step=0, share=Share(host, 2)))
        looked.append(seen)
    assert looked[0]
    assert not looked[0] & looked[1]


def test_rows_that_do_not_divide_are_a_defect():
    with pytest.raises(ValueError, match="9 rows do not divide by 2 hosts"):
        Share(0, 2).rows(9)
