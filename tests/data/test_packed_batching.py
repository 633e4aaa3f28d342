"""Rows of several pairs: what they hold, in which order, and how full they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_batching import assert_equal_batches, corpus
from zoo.data.batching import (
    BatchPlan,
    Bucket,
    SpecialIds,
    lengths_with_end,
    pad_batch,
    training_batches,
)
from zoo.data.packed_batching import PackedPlan, pack, pack_batch, row_lengths
from zoo.errors import InputError

lengths_of_pairs = st.lists(
    st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=80
)


def plan_of(source, target, **options):
    defaults = {"length": 64, "tokens_per_batch": 512, "num_steps": 60, "seed": 1}
    return PackedPlan(
        lengths_with_end(source), lengths_with_end(target), **defaults | options
    )


def pairs_of(plan, epoch=0):
    """Returns the pairs of each row of an epoch, in the order of the steps."""
    steps = range(epoch * plan.batches_per_epoch, (epoch + 1) * plan.batches_per_epoch)
    return [row.tolist() for step in steps for row in plan[step][1]]


def test_a_row_of_two_pairs_by_hand():
    batch = pack_batch([[[7, 8], [9]]], [[[4], [5, 6]]], Bucket(6, 6, 2))
    assert {array.dtype for array in batch.values()} == {np.dtype(np.int32)}
    assert {name: array[0].tolist() for name, array in batch.items()} == {
        "source": [7, 8, 2, 9, 2, 0],
        "source_segments": [1, 1, 1, 2, 2, 0],
        "source_positions": [0, 1, 2, 0, 1, 0],
        "inputs": [1, 4, 1, 5, 6, 0],
        "labels": [4, 2, 5, 6, 2, 0],
        "target_segments": [1, 1, 2, 2, 2, 0],
        "target_positions": [0, 1, 0, 1, 2, 0],
    }
    assert not any(array[1].any() for array in batch.values())


def test_the_special_ids_are_those_of_the_model():
    batch = pack_batch([[[7], [8]]], [[[4], [5]]], Bucket(5, 5, 1), SpecialIds(9, 3, 1))
    assert batch["source"].tolist() == [[7, 1, 8, 1, 9]]
    assert batch["inputs"].tolist() == [[3, 4, 3, 5, 9]]
    assert batch["labels"].tolist() == [[4, 1, 5, 1, 9]]


@given(pairs=lengths_of_pairs)
def test_one_pair_a_row_is_the_batch_of_buckets(pairs):
    source, target = (
        [[n + 5] * (side[n] - 1) for n in range(len(pairs))]
        for side in zip(*pairs, strict=True)
    )
    bucket = Bucket(30, 30, len(pairs))
    packed = pack_batch([[x] for x in source], [[y] for y in target], bucket)
    padded = pad_batch(source, target, bucket)
    assert_equal_batches([{name: packed[name] for name in padded}], [padded])


def test_a_pair_goes_where_least_is_left():
    # 3 would fit beside 4 too, but fills up the row of 7; 9 fits nowhere.
    sizes = [4, 7, 3, 5, 9]
    assert list(pack(zip(sizes, sizes, strict=True), (10, 10))) == [0, 1, 1, 0, 2]
    # The source of the third is too long for the first row, its target is not.
    assert list(pack([(8, 2), (2, 3), (3, 5)], (10, 10))) == [0, 0, 1]


def test_of_too_many_open_rows_the_fullest_is_closed():
    # Eight rows are open, the third is the fullest; 1 would have fitted there too.
    sizes = [6, 6, 9, 6, 6, 6, 6, 6, 6, 1]
    rows = list(pack(zip(sizes, sizes, strict=True), (10, 10)))
    assert rows == [0, 1, 2, 3, 4, 5, 6, 7, 8, 0]


@given(pairs=lengths_of_pairs, length=st.integers(30, 100))
def test_no_row_holds_more_than_it_can(pairs, length):
    source, target = map(np.array, zip(*pairs, strict=True))
    plan = PackedPlan(
        source, target, length=length, tokens_per_batch=200, num_steps=99, seed=0
    )
    bucket, _ = plan[0]
    assert max(bucket.source_length, bucket.target_length) == length
    assert bucket.rows % 8 == 0
    assert bucket.rows * length <= 200 or bucket.rows == 8
    for step in range(plan.batches_per_epoch):
        assert plan[step][0] == bucket
        assert 1 <= len(plan[step][1]) <= bucket.rows
    for row in pairs_of(plan):
        assert source[row].sum() <= bucket.source_length
        assert target[row].sum() <= bucket.target_length


@settings(max_examples=50)
@given(pairs=lengths_of_pairs, seed=st.integers(-(2**70), 2**70))
def test_each_epoch_visits_every_pair_once(pairs, seed):
    source, target = zip(*pairs, strict=True)
    plan = PackedPlan(
        source, target, length=40, tokens_per_batch=400, num_steps=10_000, seed=seed
    )
    for epoch in range(3):
        seen = [pair for row in pairs_of(plan, epoch) for pair in row]
        assert sorted(seen) == list(range(len(pairs)))


def test_rows_are_fuller_than_those_of_buckets():
    source, target = corpus(2000)
    tokens = lengths_with_end(source).sum() + lengths_with_end(target).sum()
    limits = {"tokens_per_batch": 512, "num_steps": 1000, "seed": 1}
    lengths = lengths_with_end(source), lengths_with_end(target)
    plans = (
        PackedPlan(*lengths, length=64, **limits),
        BatchPlan(*lengths, num_buckets=4, **limits),
    )
    packed, padded = (
        tokens
        / sum(
            bucket.rows * (bucket.source_length + bucket.target_length)
            for bucket, _ in (plan[n] for n in range(plan.batches_per_epoch))
        )
        for plan in plans
    )
    assert padded < 0.9 < packed


def test_both_sides_are_full_at_once():
    # Targets are half as long as sources, so rows are of 64 + 32 cells.
    lengths = np.arange(4, 20, 2)
    assert row_lengths(lengths, lengths // 2, 64) == (64, 32)
    assert row_lengths(lengths // 2, lengths, 64) == (32, 64)
    # But a row holds the longest sentence.
    assert row_lengths([4] * 9, [1] * 8 + [9], 12) == (12, 9)


def test_epochs_and_seeds_have_orders_of_their_own():
    plan, other = plan_of(*corpus()), plan_of(*corpus(), seed=2)
    orders = [pairs_of(plan), pairs_of(plan, 1), pairs_of(other), pairs_of(other, 1)]
    assert len({str(order) for order in orders}) == 4
    # The rows of a run stay, those of another seed are others.
    rows = [{tuple(row) for row in order} for order in orders]
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]
    # Not merely the same batches in another order.
    first, second = (
        {str(sorted(map(str, plan[step][1]))) for step in range(begin, begin + size)}
        for size in [plan.batches_per_epoch]
        for begin in (0, size)
    )
    assert not first & second


def test_a_plan_is_a_sequence_in_any_order():
    plan = plan_of(*corpus())
    assert len(plan) == 60
    in_order = list(plan)
    for step in (59, 3, 40, 0, -1):
        bucket, rows = plan_of(*corpus())[step]
        assert bucket == in_order[step][0]
        assert str(rows) == str(in_order[step][1])
    with pytest.raises(IndexError):
        plan[60]


def test_the_stream_follows_the_plan():
    source, target = corpus()
    plan = plan_of(source, target)
    expected = (
        pack_batch(
            [[source[n] for n in row] for row in rows],
            [[target[n] for n in row] for row in rows],
            bucket,
        )
        for bucket, rows in plan
    )
    assert_equal_batches(training_batches(plan, source, target, first_step=0), expected)


@pytest.mark.parametrize("first_step", [1, 31, 60])
def test_a_resumed_stream_is_the_tail_of_the_whole_one(first_step):
    ids = corpus()
    whole = list(training_batches(plan_of(*ids), *ids, first_step=0))
    tail = training_batches(plan_of(*ids), *ids, first_step=first_step)
    assert_equal_batches(tail, whole[first_step:])


def test_a_sentence_longer_than_a_row_is_a_defect():
    with pytest.raises(ValueError, match="65 tokens does not fit into a row of 64"):
        plan_of([[5] * 3], [[5] * 64])


def test_an_empty_corpus_is_refused():
    with pytest.raises(InputError, match="empty"):
        plan_of([], [])
