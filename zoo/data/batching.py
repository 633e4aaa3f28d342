"""Sentences of all lengths into batches of few shapes.

Each shape is one compilation, and each padded cell is work for nothing, so a small
dynamic programme chooses the few shapes that pad least under a budget of tokens. The
order of training is a random-access sequence, a pure function of (lengths, seed,
step): a resumed run asks for its next step, and nothing need be replayed or saved.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from zoo.data.loading import WHOLE, Recent, Share, made_ahead
from zoo.data.token_rows import TokenRows
from zoo.data.tokenizer import Tokenizer
from zoo.errors import InputError

Lengths = Sequence[int] | np.ndarray
LENGTH_MULTIPLE = 4  # 1 would save 1-2 % of the cells, 8 costs as much as two buckets


@dataclasses.dataclass(frozen=True, order=True)
class Bucket:
    """The fixed shape of a kind of batch; both lengths count the end token."""

    source_length: int
    target_length: int
    rows: int


class SpecialIds(NamedTuple):
    """The ids that stand for no text."""

    pad: int
    start: int
    eos: int


OURS = SpecialIds(Tokenizer.pad_id, Tokenizer.start_id, Tokenizer.eos_id)


def lengths_with_end(ids: Sequence[Sequence[int]]) -> np.ndarray:
    """Returns the number of tokens of each sentence, the end token counted."""
    if isinstance(ids, TokenRows):
        return ids.lengths() + 1
    return np.array([len(sentence) + 1 for sentence in ids], np.int64)


def check_lengths(
    lengths: Lengths,
    limit: int,
    where: str,
    remedy: str,
    line: Callable[[int], int] = lambda number: number + 1,
) -> None:
    """Returns if no sentence is longer than a model can take.

    Args:
        lengths: in tokens, the end counted.
        where: what stands before the number of a line: the file, as the user named it.
        remedy: what the user may do, say "shorten it or raise --max-length".
        line: gives the line of the sentence with an index.

    Raises:
        InputError: names the first sentence that is too long, and says how many are.
    """
    (too_long,) = np.nonzero(np.asarray(lengths) > limit)
    if len(too_long):
        first = int(too_long[0])
        others = f" (and {len(too_long) - 1} more)" if len(too_long) > 1 else ""
        raise InputError(
            f"{where} {line(first)}: {lengths[first]} tokens, more than "
            f"the limit of {limit}{others}; {remedy}"
        )


def plan_buckets(
    source_lengths: Lengths,
    target_lengths: Lengths,
    *,
    tokens_per_batch: int,
    num_buckets: int,
    rows_multiple: int = 8,
) -> list[Bucket]:
    """Returns the shapes that hold all pairs with the fewest cells, shortest first.

    Pairs are ordered by their longer side, and a bucket is a stretch of that order:
    on Multi30k four buckets fill 76 % of their cells so, and 55-61 % if ordered by
    one side or by the sum. Where to cut is found by dynamic programming over the
    lengths, rounded up to a multiple of 4.

    Args:
        source_lengths, target_lengths: in tokens, the end counted.
        tokens_per_batch: cells of the longer side of a batch, rows * max(lengths),
            padding included. The rows are reduced until all batches of a bucket are
            nearly full, so a batch may hold fewer.
        num_buckets: at most so many shapes, each of which is one compilation.
        rows_multiple: rows are a multiple of it, so that they divide over devices;
            it is also the least number of rows, even beyond the budget.

    Raises:
        InputError: no pairs, or a number that is not positive.
    """
    _check_positive(
        tokens_per_batch=tokens_per_batch,
        num_buckets=num_buckets,
        rows_multiple=rows_multiple,
    )
    if not len(source_lengths):
        raise InputError("no pairs to make batches of: the corpus is empty")
    source, target = _round_up(source_lengths), _round_up(target_lengths)
    sizes, group = np.unique(np.maximum(source, target), return_inverse=True)
    counts = np.bincount(group)
    widest = np.zeros((2, len(sizes)), np.int64)
    np.maximum.at(widest[0], group, source)
    np.maximum.at(widest[1], group, target)

    @functools.cache
    def stretch(first: int, last: int) -> tuple[int, Bucket]:
        """The cells and the bucket of the sizes from `first` on and before `last`."""
        here = slice(first, last)
        return _bucket(counts[here], widest[:, here], tokens_per_batch, rows_multiple)

    @functools.cache
    def cheapest(last: int, num_buckets: int) -> tuple[float, list[Bucket]]:
        """The cells and the buckets of all sizes before `last`."""
        best = (math.inf, []) if last else (0.0, [])
        for first in range(last) if num_buckets else ():
            cells, buckets = cheapest(first, num_buckets - 1)
            more_cells, bucket = stretch(first, last)
            if cells + more_cells < best[0]:
                best = cells + more_cells, [*buckets, bucket]
        return best

    return cheapest(len(sizes), min(num_buckets, len(sizes)))[1]


def balanced_bucket(
    count: int,
    source_length: int,
    target_length: int,
    tokens_per_batch: int,
    rows_multiple: int,
) -> Bucket:
    """Returns the shape of batches that hold so many rows and are nearly full.

    Args:
        count: rows of all batches.
        tokens_per_batch, rows_multiple: as for `plan_buckets`.
    """
    most_rows = tokens_per_batch // max(source_length, target_length)
    most_rows = most_rows // rows_multiple * rows_multiple
    num_batches = _ceil_divide(count, max(most_rows, rows_multiple))
    rows = _ceil_divide(count, num_batches * rows_multiple) * rows_multiple
    return Bucket(source_length, target_length, rows)


@runtime_checkable
class Plan(Protocol):
    """Which pairs the rows of each step hold, and what arrays they make.

    ``plan[step]`` is a shape and what each row holds, of which `fill` takes some.
    """

    buckets: list[Bucket]
    batches_per_epoch: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Bucket, Any]: ...

    def fill(
        self, source_ids: Any, target_ids: Any, bucket: Bucket, rows: Any, special: Any
    ) -> dict[str, np.ndarray]:
        """Returns the arrays of some rows of a step, padded to its bucket."""
        ...


class BatchPlan:
    """Which pairs each step of training sees: ``plan[step] -> (bucket, indices)``.

    Every epoch visits every pair exactly once, with buckets and pairs in a new order
    that depends on (seed, epoch) alone. All epochs have as many batches.

    >>> plan = BatchPlan([3, 9, 4], [3, 8, 4], tokens_per_batch=64, num_buckets=2,
    ...                  num_steps=10, seed=0)
    >>> bucket, indices = plan[0]
    >>> bucket
    Bucket(source_length=12, target_length=8, rows=8)
    >>> sorted(indices.tolist())
    [0, 1, 2]

    Args:
        source_lengths, target_lengths, tokens_per_batch, num_buckets, rows_multiple:
            as for `plan_buckets`.
        num_steps: of the whole training; the last epoch may end early.
        seed: any integer.
    """

    def __init__(
        self,
        source_lengths: Lengths,
        target_lengths: Lengths,
        *,
        tokens_per_batch: int,
        num_buckets: int,
        num_steps: int,
        seed: int,
        rows_multiple: int = 8,
    ):
        self.buckets = plan_buckets(
            source_lengths,
            target_lengths,
            tokens_per_batch=tokens_per_batch,
            num_buckets=num_buckets,
            rows_multiple=rows_multiple,
        )
        # The worker processes get a byte for a pair, and all else is found again.
        self._bucket_of = _bucket_of(source_lengths, target_lengths, self.buckets)
        counts = np.bincount(self._bucket_of, minlength=len(self.buckets))
        sizes = [
            _part_sizes(count, bucket.rows)
            for count, bucket in zip(counts.tolist(), self.buckets, strict=True)
        ]
        self._kinds = np.repeat(np.arange(len(sizes)), [*map(len, sizes)])
        self._ends = np.cumsum([0, *np.concatenate(sizes)])
        self._num_steps = num_steps
        self._seed = seed
        self._epoch = Recent(self._shuffled_epoch)
        self.batches_per_epoch = len(self._kinds)

    def __len__(self) -> int:
        return self._num_steps

    def fill(
        self,
        source_ids: Sequence[Sequence[int]],
        target_ids: Sequence[Sequence[int]],
        bucket: Bucket,
        rows: np.ndarray,
        special: SpecialIds,
    ) -> dict[str, np.ndarray]:
        """Returns the arrays of the pairs with these indices; see `pad_batch`."""
        return _batch_of(source_ids, target_ids, bucket, rows, special)

    def __getitem__(self, index: int) -> tuple[Bucket, np.ndarray]:
        step = range(self._num_steps)[operator.index(index)]
        epoch, position = divmod(step, self.batches_per_epoch)
        pairs, order = self._epoch(epoch)
        batch = order[position]
        indices = pairs[self._ends[batch] : self._ends[batch + 1]]
        return self.buckets[self._kinds[batch]], indices

    def _shuffled_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns all pairs, bucket by bucket, and the order of their batches."""
        generator = np.random.default_rng([self._seed % 2**64, epoch])
        pairs = [
            generator.permutation(np.flatnonzero(self._bucket_of == number))
            for number in range(len(self.buckets))
        ]
        return np.concatenate(pairs), generator.permutation(self.batches_per_epoch)


def pad_batch(
    source: Sequence[Sequence[int]],
    target: Sequence[Sequence[int]],
    bucket: Bucket,
    special: SpecialIds = OURS,
) -> dict[str, np.ndarray]:
    """Returns int32 arrays in the shape of the bucket, filled up with padding.

    Fewer pairs than the bucket has rows leave rows of nothing but padding.

    Args:
        source, target: ids of each sentence, without start and end.
        special: of the model, whose start is not the tokenizer's to say.

    Returns:
        ``source`` = x + end, ``inputs`` = start + y, ``labels`` = y + end.
    """
    source_shape = bucket.rows, bucket.source_length
    target_shape = bucket.rows, bucket.target_length
    batch = {
        "source": np.full(source_shape, special.pad, np.int32),
        "inputs": np.full(target_shape, special.pad, np.int32),
        "labels": np.full(target_shape, special.pad, np.int32),
    }
    for row, (x, y) in enumerate(zip(source, target, strict=True)):
        batch["source"][row, : len(x) + 1] = [*x, special.eos]
        batch["inputs"][row, : len(y) + 1] = [special.start, *y]
        batch["labels"][row, : len(y) + 1] = [*y, special.eos]
    return batch


def training_batches(
    plan: Plan,
    source_ids: Sequence[Sequence[int]],
    target_ids: Sequence[Sequence[int]],
    *,
    first_step: int,
    special: SpecialIds = OURS,
    share: Share = WHOLE,
    workers: int = 0,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields this host's rows of the batches of a plan, from `first_step` on.

    Args:
        workers: as for `zoo.data.loading.made_ahead`.
    """
    make = _Rows(plan, source_ids, target_ids, special, share)
    return made_ahead(make, len(plan), first_step=first_step, workers=workers)


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Makes a host's rows of a batch; an object, so that it can go to a worker."""

    plan: Plan
    source_ids: Sequence[Sequence[int]]
    target_ids: Sequence[Sequence[int]]
    special: SpecialIds
    share: Share

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        bucket, content = self.plan[step]
        rows = self.share.rows(bucket.rows)
        bucket = dataclasses.replace(bucket, rows=rows.stop - rows.start)
        sides = self.source_ids, self.target_ids
        return self.plan.fill(*sides, bucket, content[rows], self.special)


def evaluation_batches(
    source_ids: Sequence[Sequence[int]],
    target_ids: Sequence[Sequence[int]],
    *,
    tokens_per_batch: int,
    num_buckets: int,
    rows_multiple: int = 8,
    special: SpecialIds = OURS,
) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Returns (indices, batch) in an order of its own, every pair exactly once.

    Row r of a batch is pair ``indices[r]``; rows beyond them are padding. The other
    arguments are as for `plan_buckets`.
    """
    lengths = lengths_with_end(source_ids), lengths_with_end(target_ids)
    buckets = plan_buckets(
        *lengths,
        tokens_per_batch=tokens_per_batch,
        num_buckets=num_buckets,
        rows_multiple=rows_multiple,
    )
    return [
        (indices, _batch_of(source_ids, target_ids, bucket, indices, special))
        for bucket, members in zip(buckets, _members(*lengths, buckets), strict=True)
        for indices in _split(members, bucket.rows)
    ]


def _batch_of(
    source_ids: Sequence[Sequence[int]],
    target_ids: Sequence[Sequence[int]],
    bucket: Bucket,
    indices: np.ndarray,
    special: SpecialIds,
) -> dict[str, np.ndarray]:
    source = [source_ids[index] for index in indices]
    target = [target_ids[index] for index in indices]
    return pad_batch(source, target, bucket, special)


def _bucket_of(
    source_lengths: Lengths, target_lengths: Lengths, buckets: list[Bucket]
) -> np.ndarray:
    """Returns the number of the bucket of each pair, in the smallest dtype."""
    longer = np.maximum(_round_up(source_lengths), _round_up(target_lengths))
    ends = [max(bucket.source_length, bucket.target_length) for bucket in buckets]
    return np.searchsorted(ends, longer).astype(np.min_scalar_type(len(buckets)))


def _bucket(
    counts: np.ndarray, widest: np.ndarray, tokens_per_batch: int, rows_multiple: int
) -> tuple[int, Bucket]:
    """Returns the cells of all batches of these sizes, and their common shape."""
    count = int(counts.sum())
    source, target = widest.max(axis=1).tolist()
    bucket = balanced_bucket(count, source, target, tokens_per_batch, rows_multiple)
    num_batches = _ceil_divide(count, bucket.rows)
    return num_batches * bucket.rows * (source + target), bucket


def _members(
    source_lengths: Lengths, target_lengths: Lengths, buckets: list[Bucket]
) -> list[np.ndarray]:
    """Returns, for each bucket, the indices of the pairs that go there."""
    place = _bucket_of(source_lengths, target_lengths, buckets)
    return [np.flatnonzero(place == number) for number in range(len(buckets))]


def _split(indices: np.ndarray, rows: int) -> list[np.ndarray]:
    """Returns the fewest parts of at most `rows`, as equal as can be."""
    return np.split(indices, np.cumsum(_part_sizes(len(indices), rows))[:-1])


def _part_sizes(number: int, rows: int) -> np.ndarray:
    """Returns how many of a number go to each part; see `_split`."""
    count = _ceil_divide(number, rows)
    return number // count + (np.arange(count) < number % count)


def _round_up(lengths: Lengths) -> np.ndarray:
    return -(-np.asarray(lengths) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE


def _ceil_divide(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def _check_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise InputError(f"{name} is {number}, but must be at least 1")
