"""Several pairs to a row, so that few cells of a batch are padding.

A row holds sources one after the other, and on its other side the targets of the same
pairs; which cells belong together is said by segments, and where each sentence begins
by positions (see `zoo.layers.masks.Packing`). Rows are packed once for a run, so that
every epoch has as many batches, and all batches have one shape. What the rows of a step
hold is a random-access sequence, as it is in `zoo.data.batching`.
"""

import operator
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from zoo.data.batching import (
    LENGTH_MULTIPLE,
    OURS,
    Bucket,
    Lengths,
    SpecialIds,
    balanced_bucket,
    pad_batch,
)
from zoo.data.loading import Recent
from zoo.errors import InputError

OPEN_ROWS = 8  # 16 fill 0.3 % more of the cells in twice the time


def row_lengths(
    source_lengths: Lengths, target_lengths: Lengths, length: int
) -> tuple[int, int]:
    """Returns the lengths of both sides of a row, the longer of which is `length`.

    They are to each other as the tokens of the two sides of the corpus, so that both
    sides of a row are full at once, but no shorter than the longest sentence.

    >>> row_lengths([2, 3, 3], [4, 6, 6], 32)
    (16, 32)

    Raises:
        ValueError: a sentence is longer than `length`.
    """
    totals = np.array([np.sum(source_lengths), np.sum(target_lengths)])
    longest = np.array([np.max(source_lengths), np.max(target_lengths)])
    if longest.max() > length:
        raise ValueError(
            f"a sentence of {longest.max()} tokens does not fit into a row of {length}"
        )
    in_proportion = -(-length * totals // (totals.max() * LENGTH_MULTIPLE))
    lengths = np.maximum(in_proportion * LENGTH_MULTIPLE, longest)
    source, target = np.minimum(lengths, length).tolist()
    return source, target


def pack(pairs: Iterable[tuple[int, int]], room: tuple[int, int]) -> Iterator[int]:
    """Yields the row of each pair, by best fit with few open rows.

    A pair goes into the open row that it leaves with the least room; where it fits into
    none, the fullest is closed and a new one opened.

    >>> list(pack([(5, 6), (6, 6), (4, 3), (3, 4)], room=(10, 10)))
    [0, 1, 1, 0]

    Args:
        pairs: lengths of source and target.
        room: of an empty row, which is enough for each pair.
    """
    rows: list[list[int]] = []  # what is left of both sides, and the number of the row
    num_rows = 0
    for source, target in pairs:
        best, least = None, sum(room)
        for row in rows:
            source_left, target_left = row[0] - source, row[1] - target
            if source_left >= 0 and target_left >= 0:
                left = source_left + target_left
                if left < least:
                    best, least = row, left
        if best is None:
            if len(rows) == OPEN_ROWS:
                rows.remove(min(rows, key=lambda row: min(row[0], row[1])))
            best = [*room, num_rows]
            rows.append(best)
            num_rows += 1
        best[0] -= source
        best[1] -= target
        yield best[2]


class PackedPlan:
    """Which pairs each step of training sees: ``plan[step] -> (bucket, rows)``.

    A row is the indices of its pairs. Every epoch visits every pair exactly once, with
    the rows in a new order that depends on (seed, epoch) alone. All epochs have as many
    batches, and all batches have one shape.

    >>> plan = PackedPlan([3, 9, 4], [3, 8, 5], length=16, tokens_per_batch=32,
    ...                   num_steps=10, seed=0, rows_multiple=1)
    >>> bucket, rows = plan[0]
    >>> bucket
    Bucket(source_length=16, target_length=16, rows=1)
    >>> sorted(rows[0].tolist())
    [0, 1, 2]

    Args:
        source_lengths, target_lengths: in tokens, the end counted.
        length: cells of a row on its longer side; see `row_lengths`.
        tokens_per_batch, rows_multiple: as for `zoo.data.batching.plan_buckets`.
        num_steps: of the whole training; the last epoch may end early.
        seed: any integer.

    Raises:
        InputError: there are no pairs.
        ValueError: a sentence is longer than a row.
    """

    def __init__(
        self,
        source_lengths: Lengths,
        target_lengths: Lengths,
        *,
        length: int,
        tokens_per_batch: int,
        num_steps: int,
        seed: int,
        rows_multiple: int = 8,
    ):
        if not len(source_lengths):
            raise InputError("no pairs to make batches of: the corpus is empty")
        room = row_lengths(source_lengths, target_lengths, length)
        # A corpus may be sorted, and long sentences need short ones beside them.
        generator = np.random.default_rng([seed % 2**64, 0, 1])
        order = generator.permutation(len(source_lengths))
        sides = [np.asarray(side)[order] for side in (source_lengths, target_lengths)]
        pairs = zip(*(side.tolist() for side in sides), strict=True)
        row_of = np.fromiter(pack(pairs, room), np.int32, len(order))
        in_rows = order[np.argsort(row_of, kind="stable")]
        # No larger than it must be, for what makes batches gets a copy.
        self._pairs = in_rows.astype(np.min_scalar_type(len(order)))
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(row_of))])
        num_rows = len(self._starts) - 1
        bucket = balanced_bucket(num_rows, *room, tokens_per_batch, rows_multiple)
        self.buckets = [bucket]
        self.batches_per_epoch = -(-num_rows // bucket.rows)
        self._num_steps = num_steps
        self._seed = seed
        self._epoch = Recent(self._shuffled_epoch)

    def __len__(self) -> int:
        return self._num_steps

    def __getitem__(self, index: int) -> tuple[Bucket, list[np.ndarray]]:
        step = range(self._num_steps)[operator.index(index)]
        epoch, position = divmod(step, self.batches_per_epoch)
        rows = self._epoch(epoch)[position]
        ends = zip(self._starts[rows], self._starts[rows + 1], strict=True)
        return self.buckets[0], [self._pairs[start:end] for start, end in ends]

    def fill(
        self,
        source_ids: Sequence[Sequence[int]],
        target_ids: Sequence[Sequence[int]],
        bucket: Bucket,
        rows: list[np.ndarray],
        special: SpecialIds,
    ) -> dict[str, np.ndarray]:
        """Returns the arrays of rows that hold these pairs; see `pack_batch`."""
        source = [[source_ids[index] for index in row] for row in rows]
        target = [[target_ids[index] for index in row] for row in rows]
        return pack_batch(source, target, bucket, special)

    def _shuffled_epoch(self, epoch: int) -> list[np.ndarray]:
        """Returns the rows of each batch."""
        generator = np.random.default_rng([self._seed % 2**64, epoch])
        rows = generator.permutation(len(self._starts) - 1)
        return np.array_split(rows, self.batches_per_epoch)


def pack_batch(
    source: Sequence[Sequence[Sequence[int]]],
    target: Sequence[Sequence[Sequence[int]]],
    bucket: Bucket,
    special: SpecialIds = OURS,
) -> dict[str, np.ndarray]:
    """Returns what `pad_batch` does, of several pairs a row, and where each lies.

    Args:
        source, target: of each row the ids of its sentences, without start and end.

    Returns:
        ``source``, ``inputs`` and ``labels``, in which each sentence has a start and an
        end of its own, and the fields of a `zoo.layers.masks.Packing`.
    """
    batch = pad_batch([], [], bucket, special)
    for side, like in (("source", "source"), ("target", "labels")):
        for name in (f"{side}_segments", f"{side}_positions"):
            batch[name] = np.zeros_like(batch[like])
    for row, (xs, ys) in enumerate(zip(source, target, strict=True)):
        here = there = slice(0, 0)
        for segment, (x, y) in enumerate(zip(xs, ys, strict=True), start=1):
            here = slice(here.stop, here.stop + len(x) + 1)
            there = slice(there.stop, there.stop + len(y) + 1)
            batch["source"][row, here] = [*x, special.eos]
            batch["inputs"][row, there] = [special.start, *y]
            batch["labels"][row, there] = [*y, special.eos]
            for side, cells, ids in (("source", here, x), ("target", there, y)):
                batch[f"{side}_segments"][row, cells] = segment
                batch[f"{side}_positions"][row, cells] = np.arange(len(ids) + 1)
    return batch
