import itertools
import pathlib
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data import batching
from zoo.data.batching import (
    BatchPlan,
    Bucket,
    check_lengths,
    evaluation_batches,
    lengths_with_end,
    pad_batch,
    plan_buckets,
    training_batches,
)
from zoo.errors import InputError

ROOT = pathlib.Path(__file__).parents[2]

lengths_of_pairs = st.lists(
    st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=80
)
limits = st.fixed_dictionaries(
    {
        "tokens_per_batch": st.integers(1, 400),
        "num_buckets": st.integers(1, 6),
        "rows_multiple": st.sampled_from([1, 2, 8]),
    }
)


def corpus(number=200, seed=0):
    """Ids of `number` pairs in which every id of pair n is n + 10."""
    draw = np.random.default_rng(seed).integers
    source = [[n + 10] * draw(0, 30) for n in range(number)]
    return source, [[n + 10] * (len(x) + draw(0, 5)) for n, x in enumerate(source)]


def plan_of(source, target, **options):
    defaults = {"tokens_per_batch": 256, "num_buckets": 3, "num_steps": 60, "seed": 1}
    return BatchPlan(
        lengths_with_end(source), lengths_with_end(target), **defaults | options
    )


def assert_equal_batches(actual, expected):
    actual, expected = list(actual), list(expected)
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_a_batch_by_hand():
    batch = pad_batch([[7, 8], [9]], [[4], [5, 6]], Bucket(4, 3, 3))
    assert {array.dtype for array in batch.values()} == {np.dtype(np.int32)}
    assert batch["source"].tolist() == [[7, 8, 2, 0], [9, 2, 0, 0], [0, 0, 0, 0]]
    assert batch["inputs"].tolist() == [[1, 4, 0], [1, 5, 6], [0, 0, 0]]
    assert batch["labels"].tolist() == [[4, 2, 0], [5, 6, 2], [0, 0, 0]]


def test_lengths_count_the_end():
    assert lengths_with_end([[5, 6], []]).tolist() == [3, 1]


def test_buckets_by_hand():
    # 16 pairs of 4 and 8 pairs of 20 tokens. Two shapes: 16 * (4 + 4) + 8 * (20 + 20)
    # = 448 cells without any padding, in batches of 64 / 4 = 16 and 8 (the least) rows.
    lengths = [4] * 16 + [20] * 8
    buckets = plan_buckets(lengths, lengths, tokens_per_batch=64, num_buckets=2)
    assert buckets == [Bucket(4, 4, 16), Bucket(20, 20, 8)]
    # One shape: three batches of 8 rows.
    one = plan_buckets(lengths, lengths, tokens_per_batch=64, num_buckets=1)
    assert one == [Bucket(20, 20, 8)]


def test_lengths_are_rounded_up_to_multiples_of_four():
    (bucket,) = plan_buckets([5, 3], [2, 9], tokens_per_batch=99, num_buckets=1)
    assert (bucket.source_length, bucket.target_length) == (8, 12)


def test_rows_are_balanced_so_that_no_batch_is_nearly_empty():
    # The budget allows 16 rows, 17 pairs need two batches: 9 and 8 of 9 rows.
    (bucket,) = plan_buckets(
        [4] * 17, [4] * 17, tokens_per_batch=64, num_buckets=1, rows_multiple=1
    )
    assert bucket == Bucket(4, 4, 9)


def test_rounding_rows_up_does_not_break_the_budget():
    # 60 / 4 = 15 rows are allowed and wanted, but only 8 and 16 are multiples of 8.
    (bucket,) = plan_buckets([4] * 15, [4] * 15, tokens_per_batch=60, num_buckets=1)
    assert bucket.rows == 8


@given(pairs=lengths_of_pairs, limits=limits)
def test_every_pair_fits_and_the_limits_are_kept(pairs, limits):
    source, target = map(list, zip(*pairs, strict=True))
    buckets = plan_buckets(source, target, **limits)
    assert 1 <= len(buckets) <= limits["num_buckets"]
    for bucket in buckets:
        longer = max(bucket.source_length, bucket.target_length)
        assert bucket.rows % limits["rows_multiple"] == 0
        assert (
            bucket.rows * longer <= limits["tokens_per_batch"]
            or bucket.rows == limits["rows_multiple"]
        )
    plan = BatchPlan(source, target, **limits, num_steps=1000, seed=0)
    for bucket, indices in itertools.islice(plan, plan.batches_per_epoch):
        assert 1 <= len(indices) <= bucket.rows
        assert max(source[n] for n in indices) <= bucket.source_length
        assert max(target[n] for n in indices) <= bucket.target_length


@settings(max_examples=30)
@given(
    pairs=st.lists(
        st.tuples(st.integers(1, 24), st.integers(1, 24)), min_size=1, max_size=40
    ),
    num_buckets=st.integers(1, 3),
)
def test_no_other_cuts_need_fewer_cells(pairs, num_buckets):
    source, target = map(list, zip(*pairs, strict=True))
    limits = {"tokens_per_batch": 50, "rows_multiple": 2}

    def cells(buckets, sizes):
        return sum(
            -(-size // bucket.rows)
            * bucket.rows
            * (bucket.source_length + bucket.target_length)
            for bucket, size in zip(buckets, sizes, strict=True)
        )

    def cells_of_cuts(cuts):
        parts = [
            [(x, y) for x, y in pairs if low < max(x, y) <= high]
            for low, high in itertools.pairwise([0, *cuts, 24])
        ]
        parts = [part for part in parts if part]
        buckets = [
            plan_buckets(*zip(*part, strict=True), **limits, num_buckets=1)[0]
            for part in parts
        ]
        return cells(buckets, map(len, parts))

    fewest = min(
        cells_of_cuts(cuts)
        for number in range(num_buckets)
        for cuts in itertools.combinations(range(4, 24, 4), number)
    )
    buckets = plan_buckets(source, target, **limits, num_buckets=num_buckets)
    members = batching._members(source, target, buckets)
    assert cells(buckets, map(len, members)) == fewest


def test_more_buckets_never_need_more_cells():
    source, target = corpus(500)
    lengths = lengths_with_end(source), lengths_with_end(target)
    cells = []
    for num_buckets in (1, 2, 3, 4, 6, 100):
        batches = evaluation_batches(
            source, target, tokens_per_batch=256, num_buckets=num_buckets
        )
        cells.append(sum(b["source"].size + b["labels"].size for _, b in batches))
    assert cells == sorted(cells, reverse=True)
    assert cells[-1] < 0.7 * cells[0]
    assert sum(map(sum, lengths)) <= cells[-1]


@given(pairs=lengths_of_pairs, limits=limits, seed=st.integers(-(2**70), 2**70))
def test_each_epoch_visits_every_pair_once(pairs, limits, seed):
    source, target = zip(*pairs, strict=True)
    plan = BatchPlan(source, target, **limits, num_steps=10_000, seed=seed)
    size = plan.batches_per_epoch
    for epoch in range(3):
        steps = range(epoch * size, (epoch + 1) * size)
        seen = [index for step in steps for index in plan[step][1].tolist()]
        assert sorted(seen) == list(range(len(pairs)))


def test_epochs_and_seeds_have_orders_of_their_own():
    plan, other = plan_of(*corpus()), plan_of(*corpus(), seed=2)
    size = plan.batches_per_epoch

    def order(plan, epoch):
        steps = range(epoch * size, (epoch + 1) * size)
        return [index for step in steps for index in plan[step][1].tolist()]

    orders = [order(plan, 0), order(plan, 1), order(other, 0), order(other, 1)]
    assert len({tuple(indices) for indices in orders}) == 4
    # Not merely the same batches in another order.
    first = {frozenset(plan[step][1].tolist()) for step in range(size)}
    second = {frozenset(plan[step][1].tolist()) for step in range(size, 2 * size)}
    assert not first & second


def test_buckets_are_interleaved():
    plan = plan_of(*corpus(2000), tokens_per_batch=128, num_steps=10_000)
    kinds = [plan.buckets.index(plan[n][0]) for n in range(plan.batches_per_epoch)]
    changes = sum(one != other for one, other in itertools.pairwise(kinds))
    shares = np.bincount(kinds) / len(kinds)
    assert changes / len(kinds) == pytest.approx(1 - (shares**2).sum(), abs=0.1)


def test_a_plan_is_a_sequence_in_any_order():
    plan = plan_of(*corpus())
    assert len(plan) == 60
    in_order = list(plan)
    for step in (59, 3, 40, 0, -1):
        bucket, indices = plan_of(*corpus())[step]
        assert bucket == in_order[step][0]
        np.testing.assert_array_equal(indices, in_order[step][1])
    with pytest.raises(IndexError):
        plan[60]


def test_a_plan_is_the_same_in_a_new_process():
    program = (
        "from zoo.data.batching import BatchPlan\n"
        "lengths = [n * n % 37 + 1 for n in range(300)]\n"
        "plan = BatchPlan(lengths, lengths[::-1], tokens_per_batch=128, num_buckets=3,"
        " num_steps=90, seed=5)\n"
        "text = repr([(bucket, indices.tolist()) for bucket, indices in plan])"
    )
    child = subprocess.run(
        [sys.executable, "-c", f"{program}\nprint(text)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    here = {}
    exec(program, here)
    assert child.stdout.strip() == here["text"]


def test_a_plan_goes_to_another_process_as_a_byte_a_pair():
    lengths = np.arange(100_000) % 50 + 1
    plan = BatchPlan(
        lengths,
        lengths[::-1],
        tokens_per_batch=4_096,
        num_buckets=3,
        num_steps=10,
        seed=0,
    )
    bucket, indices = plan[7]
    pickled = pickle.dumps(plan)
    assert len(pickled) < 150_000
    again = pickle.loads(pickled)[7]
    assert again[0] == bucket
    np.testing.assert_array_equal(again[1], indices)


def test_the_stream_follows_the_plan():
    source, target = corpus()
    plan = plan_of(source, target)
    expected = (
        pad_batch([source[n] for n in rows], [target[n] for n in rows], bucket)
        for bucket, rows in plan
    )
    assert_equal_batches(training_batches(plan, source, target, first_step=0), expected)


@pytest.mark.parametrize("first_step", [1, 7, 31, 59, 60])
def test_a_resumed_stream_is_the_tail_of_the_whole_one(first_step):
    source, target = corpus()
    whole = list(
        training_batches(plan_of(source, target), source, target, first_step=0)
    )
    tail = training_batches(
        plan_of(source, target), source, target, first_step=first_step
    )
    assert_equal_batches(tail, whole[first_step:])


def test_the_shapes_of_a_training_are_few():
    source, target = corpus(1000)
    plan = plan_of(source, target, num_steps=300)
    batches = training_batches(plan, source, target, first_step=0)
    shapes = {(batch["source"].shape, batch["labels"].shape) for batch in batches}
    assert len(shapes) == len(plan.buckets) == 3


def test_a_closed_stream_leaves_no_thread():
    source, target = corpus()
    before = set(threading.enumerate())
    batches = training_batches(plan_of(source, target), source, target, first_step=0)
    next(batches)
    started = set(threading.enumerate()) - before
    assert started
    batches.close()
    for thread in started:
        thread.join(5)
        assert not thread.is_alive()


@given(pairs=lengths_of_pairs, limits=limits)
def test_evaluation_sees_every_pair_once(pairs, limits):
    source = [[n + 10] * (length - 1) for n, (length, _) in enumerate(pairs)]
    target = [[n + 10] * (length - 1) for n, (_, length) in enumerate(pairs)]
    batches = evaluation_batches(source, target, **limits)
    seen = []
    for indices, batch in batches:
        rows = len(indices)
        assert len(batch["source"]) % limits["rows_multiple"] == 0
        assert not batch["source"][rows:].any()
        assert not batch["labels"][rows:].any()
        for index, x, y in zip(indices, batch["source"], batch["labels"], strict=False):
            assert x[x > 0].tolist() == [*source[index], 2]
            assert y[y > 0].tolist() == [*target[index], 2]
        seen += indices.tolist()
    assert sorted(seen) == list(range(len(pairs)))
    shapes = {(b["source"].shape, b["labels"].shape) for _, b in batches}
    assert len(shapes) <= limits["num_buckets"]


def test_a_sentence_beyond_the_limit_is_named():
    check_lengths(np.array([256, 3]), 256, "train.de, line", "shorten it")
    with pytest.raises(InputError) as caught:
        check_lengths([3, 612, 3, 257], 256, "train.de, line", "raise --max-length")
    assert str(caught.value) == (
        "train.de, line 2: 612 tokens, more than the limit of 256 (and 1 more); "
        "raise --max-length"
    )
    with pytest.raises(InputError, match=r"line 3: 9 tokens, .* of 8; shorten it"):
        check_lengths([1, 9], 8, "a.tsv, line", "shorten it", [2, 3].__getitem__)


@pytest.mark.parametrize("name", ["tokens_per_batch", "num_buckets", "rows_multiple"])
def test_a_number_below_one_is_refused(name):
    numbers = {"tokens_per_batch": 64, "num_buckets": 2, "rows_multiple": 8, name: 0}
    with pytest.raises(InputError, match=f"{name} is 0, but must be at least 1"):
        plan_buckets([3], [3], **numbers)


def test_an_empty_corpus_is_refused():
    with pytest.raises(InputError, match="empty"):
        plan_of([], [])
