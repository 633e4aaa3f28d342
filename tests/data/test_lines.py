"""Text that stays in its file is the text that the file held when it was opened."""

import gc
import gzip
import os
import pickle
import resource
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.data import lines
from zoo.data.lines import read_lines, stored
from zoo.data.text import ParallelText, read_pair_of_files, sha256
from zoo.errors import InputError

letters = st.sampled_from(["a", "b", " ", "\n", "\r", "é", "가", "\u2028", "\x85"])


def open_files():
    return len(os.listdir("/proc/self/fd"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.lists(letters, min_size=1, max_size=200), mark=st.booleans())
def test_lines_are_those_of_a_file_that_is_read_at_once(
    content, mark, tmp_path, monkeypatch
):
    monkeypatch.setattr(lines, "_AT_ONCE", 3)
    path, text = tmp_path / "text", "".join(content)
    path.write_bytes(b"\xef\xbb\xbf" * mark + text.encode())
    expected = text.removesuffix("\n").split("\n")
    # As a file of many blocks, which end inside of characters.
    monkeypatch.setattr(lines, "MAX_LINE", max(len(x.encode()) for x in expected) + 2)
    expected = [line.removesuffix("\r") for line in expected]
    found = read_lines(path)
    assert list(found) == expected
    assert [found[n] for n in range(len(found))] == expected
    assert found == expected


def test_a_column_is_indexed_and_cut_as_a_list_is(tmp_path):
    path, expected = tmp_path / "text", [f"line {n}" for n in range(2_500)]
    path.write_text("\n".join(expected))
    found = read_lines(path)
    assert len(found) == 2_500
    assert found[-1] == "line 2499"
    for cut in (slice(3, 7), slice(None, 200), slice(2_490, 9_999), slice(-3, None)):
        assert found[cut] == expected[cut]
    assert found[::-500] == expected[::-500]
    assert found[9:3] == []
    with pytest.raises(IndexError):
        found[2_500]
    assert found == read_lines(path)
    assert found != expected[:-1]
    assert found != [*expected[:-1], "another"]
    assert found != "text"


def test_a_pack_is_unpacked_beside_the_cache_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTENTION_ZOO_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress(b"a\nb\n"))
    found = read_lines(path)
    path.unlink()
    assert found == ["a", "b"]
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_that_is_replaced_or_deleted_is_read_on(tmp_path):
    path = tmp_path / "text"
    path.write_text("a\nb\n")
    found = read_lines(path)
    (tmp_path / "new").write_text("c\nd\n")
    (tmp_path / "new").rename(path)
    assert found == ["a", "b"]
    path.unlink()
    assert found == ["a", "b"]


@pytest.mark.parametrize("content", ["c\nd\n", "c\n", ""])
def test_a_file_that_is_written_to_is_refused(tmp_path, content):
    path = tmp_path / "text"
    path.write_text("a\nb\n")
    os.utime(path, (1, 1))
    found = read_lines(path)
    path.write_text(content)
    with pytest.raises(InputError, match=f"{path}: written to while it was in use"):
        found[1]


def test_a_line_without_an_end_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "text"
    with path.open("wb") as file:
        file.write(b"a\n")
        file.truncate(10**12)  # of nothing, which takes no place
    tracemalloc.start()
    with pytest.raises(InputError, match=f"{path}, line 2: longer than 1,048,576 byt"):
        read_lines(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_fault_far_behind_is_named_by_its_line(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE", 16)
    path = tmp_path / "text"
    path.write_bytes(b"a line\n" * 10 + b"more\nof \xff\n")
    with pytest.raises(InputError, match=f"{path}, line 12: no valid UTF-8"):
        read_lines(path)
    path.write_bytes(b"a line\n" * 10 + b"x" * 99)
    with pytest.raises(InputError, match=f"{path}, line 11: longer than 16 bytes"):
        read_lines(path)


def test_what_is_stored_comes_back_with_every_end_of_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTENTION_ZOO_CACHE", str(tmp_path / "cache"))
    pairs = [("a\nb", ""), ("c\r", "\n"), ("\r\n", "d\n\r"), ("가", " e ")]
    source, target = stored(iter(pairs), ["source", "target"])
    assert list(zip(source, target, strict=True)) == pairs
    assert list((tmp_path / "cache").iterdir()) == []
    empty, _ = stored(iter([]), ["source", "target"])
    assert empty == []


@pytest.mark.parametrize("packed", [True, False])
def test_a_cache_that_is_full_is_one_line(tmp_path, monkeypatch, packed):
    monkeypatch.setenv("ATTENTION_ZOO_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress(b"a line\n" * 500))
    pairs, names = [("a line", "b")] * 500, ["source", "target"]
    claim = f"{tmp_path}/cache: the cache cannot be written .File too large"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    try:
        with pytest.raises(InputError, match=claim):
            read_lines(path) if packed else stored(pairs, names)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_memory_holds_where_lines_begin_and_not_the_lines(tmp_path):
    number, line = 20_000, f"{'a word and ' * 20}\n"
    for name in ("source", "target"):
        (tmp_path / name).write_text(line * number)
    tracemalloc.start()
    text = read_pair_of_files(tmp_path / "source", tmp_path / "target")
    assert sum(map(len, text.target)) == number * (len(line) - 1)
    sha256(text)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2 * 8 * number + 100_000
    assert peak < 4_000_000 < 2 * number * len(line)


def test_no_file_stays_open(tmp_path):
    path = tmp_path / "text"
    path.write_text("a\n")
    gc.collect()
    before = open_files()
    found, columns = read_lines(path), stored([("a", "b")], ["source", "target"])
    assert open_files() == before + 3
    path.write_text("a\n\xff\n", encoding="latin-1")
    with pytest.raises(InputError):
        read_lines(path)
    del found, columns
    assert open_files() == before


def test_an_open_file_goes_to_no_other_process(tmp_path):
    (tmp_path / "text").write_text("a\n")
    with pytest.raises(TypeError, match="stay with the process"):
        pickle.dumps(ParallelText(read_lines(tmp_path / "text"), ["b"]))
