"""Ids that lie in files are the ids that the tokenizer gives, for whoever asks."""

import pickle
import tracemalloc

import numpy as np
import pytest

from tests.data.test_batching import assert_equal_batches
from tests.data.test_json_tokens import content
from zoo.data.batching import (
    OURS,
    BatchPlan,
    evaluation_batches,
    lengths_with_end,
    training_batches,
)
from zoo.data.json_tokens import JsonTokenizer
from zoo.data.text import ParallelText, sha256
from zoo.data.token_rows import TokenRows, token_rows
from zoo.data.tokenizer import Tokenizer

NUMBER = 2_100  # more than are encoded at once
TEXT = ParallelText(
    [" ".join(["a", "b b", "c"][n % 3] for n in range(m % 11)) for m in range(NUMBER)],
    [f"x {n % 40} y" for n in range(NUMBER)],
)
WORDS = Tokenizer.train([*TEXT.source, *TEXT.target], 60, tokens="words")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTENTION_ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def refuse(*_):
    raise AssertionError("encoded again")


def rows_of(text=TEXT, tokenizer=WORDS):
    return token_rows(text, sha256(text), tokenizer)


def lists_of(text=TEXT, tokenizer=WORDS):
    return tokenizer.encode(text.source), tokenizer.encode_targets(text.target)


def test_rows_are_what_the_tokenizer_gives(folder):
    for rows, lists in zip(rows_of(), lists_of(), strict=True):
        assert list(rows) == lists
        assert len(rows) == NUMBER
        assert [rows[np.int64(7)], rows[-1]] == [lists[7], lists[-1]]
        assert rows[3:9] == lists[3:9]
        assert rows[::-700] == lists[::-700]
        assert type(rows[5][0]) is int
        with pytest.raises(IndexError):
            rows[NUMBER]
        lengths = lengths_with_end(rows)
        np.testing.assert_array_equal(lengths, lengths_with_end(lists))
        assert lengths.dtype == lengths_with_end(lists).dtype
        flat = np.concatenate(list(rows.blocks()))
        np.testing.assert_array_equal(flat, np.concatenate(lists))
        assert flat.dtype == np.int32


def test_each_side_is_encoded_as_what_it_is(folder):
    pytest.importorskip("tokenizers")
    tokenizer = JsonTokenizer(content(), 9).starting([4], [0, 4])
    text = ParallelText(["a", "aa"], ["aa", "a"])
    source, target = rows_of(text, tokenizer)
    assert [*source, *target] == [[4, 5], [4, 6], [0, 4, 6], [0, 4, 5]]
    # The same model for other languages has ids of its own.
    source, _ = rows_of(text, tokenizer.starting([3], [0, 4]))
    assert list(source) == [[3, 5], [3, 6]]


def test_nothing_is_encoded_twice_and_nothing_is_mixed_up(folder, monkeypatch):
    first = rows_of()
    swapped = ParallelText(TEXT.target, TEXT.source)
    fewer = Tokenizer.train(TEXT.target, 20, tokens="words")
    others = [rows_of(swapped), rows_of(TEXT, fewer)]
    assert list(others[0][0]) == list(first[1])
    assert list(others[1][0]) != list(first[0])
    assert len(list(folder.glob("tokens-*"))) == 3
    monkeypatch.setattr(Tokenizer, "encode", refuse)
    assert list(rows_of()[0]) == list(first[0])


def test_ids_beyond_sixteen_bits_are_kept_whole(folder):
    words = [f"w{n}" for n in range(70_000)]
    tokenizer = Tokenizer.train(words, 70_004, tokens="words")
    text = ParallelText(words[-3:], words[:3])
    source, target = rows_of(text, tokenizer)
    assert (list(source), list(target)) == lists_of(text, tokenizer)
    assert max(map(max, source)) >= 2**16


@pytest.mark.parametrize("size", [0, 1, 3])
def test_a_text_without_a_token_has_empty_rows(folder, size):
    text = ParallelText([""] * size, [""] * size)
    for rows in rows_of(text):
        assert list(rows) == [[]] * size
        assert lengths_with_end(rows).tolist() == [1] * size
        assert list(rows.blocks()) == []


def test_a_damaged_entry_is_made_anew(folder, caplog):
    rows_of()
    (path,) = folder.glob("tokens-*/source.ids")
    content = bytearray(path.read_bytes())
    content[99] ^= 1
    path.write_bytes(content)
    assert list(rows_of()[0]) == lists_of()[0]
    (record,) = caplog.records
    assert "damaged; it is made anew" in record.getMessage()


def test_rows_go_to_another_process_as_a_place(folder):
    for rows, lists in zip(rows_of(), lists_of(), strict=True):
        pickled = pickle.dumps(rows)
        assert len(pickled) < 500
        again = pickle.loads(pickled)
        assert isinstance(again, TokenRows)
        assert list(again) == lists


@pytest.mark.parametrize("workers", [0, 1])
def test_the_batches_are_those_of_lists(folder, workers):
    def batches(*ids):
        plan = BatchPlan(
            *map(lengths_with_end, ids),
            tokens_per_batch=400,
            num_buckets=2,
            num_steps=12,
            seed=3,
        )
        return training_batches(plan, *ids, first_step=2, workers=workers)

    found, expected = batches(*rows_of()), batches(*lists_of())
    assert_equal_batches(found, expected)


def test_the_batches_of_an_evaluation_are_those_of_lists(folder):
    found, expected = (
        evaluation_batches(*ids, tokens_per_batch=400, num_buckets=2)
        for ids in (rows_of(), lists_of())
    )
    for (places, batch), (others, other) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(places, others)
        assert_equal_batches([batch], [other])


def test_memory_holds_neither_ids_nor_lists(folder):
    number = 10_000
    text = ParallelText(["a b c " * 80] * number, ["x y"] * number)
    digest = sha256(text)
    tracemalloc.start()
    ids = token_rows(text, digest, WORDS)
    made = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    token_rows(text, digest, WORDS)
    plan = BatchPlan(
        *map(lengths_with_end, ids),
        tokens_per_batch=4_096,
        num_buckets=2,
        num_steps=10,
        seed=0,
    )
    plan.fill(*ids, *plan[0], OURS)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (folder / next(folder.glob("tokens-*/source.ids"))).stat().st_size > 4e6
    assert made < 8_000_000 < 8 * number * 240  # what lists of places would take
    assert found < 4_000_000
