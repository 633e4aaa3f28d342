import gzip
import hashlib
import re

import pytest

from zoo.data.text import ParallelText, read_pair_of_files, select, sha256
from zoo.errors import InputError


@pytest.fixture
def write(tmp_path):
    """Writes bytes to a file of the test's folder and returns its path."""

    def write(name, data):
        path = tmp_path / name
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


def refusal(read, *arguments):
    with pytest.raises(InputError) as caught:
        read(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_lines_of_two_files_are_paired(write):
    source = write("train.de", "guten Tag\nschönen Abend\n".encode())
    target = write("train.en", b"good day\ngood evening\n")
    text = read_pair_of_files(source, target)
    assert text == ParallelText(
        ["guten Tag", "schönen Abend"], ["good day", "good evening"]
    )
    assert len(text) == 2


def test_the_last_line_may_lack_its_end(write):
    source, target = write("a", b"a\nb"), write("b", b"c\nd\n")
    assert read_pair_of_files(source, target).source == ["a", "b"]


@pytest.mark.parametrize(
    "inside", ["\u2028", "\u2029", "\x85", "\v", "\f", "\x1c", "a\rb", "\u00a0"]
)
def test_only_line_feeds_end_a_line(write, inside):
    source = write("a", f"x{inside}y\r\nz\r\n".encode())
    text = read_pair_of_files(source, write("b", b"1\n2\n"))
    assert text.source == [f"x{inside}y", "z"]


def test_gzip_and_plain_files_mix_and_a_byte_order_mark_is_dropped(write):
    source = write("a.gz", b"\xef\xbb\xbfa\nb\n")
    target = write("b", b"\xef\xbb\xbfc\nd\n")
    assert read_pair_of_files(source, target) == ParallelText(["a", "b"], ["c", "d"])


def test_files_of_different_lengths_are_named_with_their_counts(write):
    source, target = write("a.de", b"a\nb\nc\n"), write("a.en", b"a\n")
    message = refusal(read_pair_of_files, source, target)
    assert f"{source} has 3 lines" in message
    assert f"{target} has 1;" in message


@pytest.mark.parametrize(
    ("data", "claim"),
    [
        (b"a\nb\xff\n", "line 2: no valid UTF-8"),
        (b"\xef\xbb\xbfa\n\n\nb\n\xe2\x82", "line 5: no valid UTF-8"),
        ("a\n".encode("utf-16"), "line 1: no valid UTF-8"),
        (b"a\n\nb\n", "line 2: empty"),
        (b"a\nb\n \t\r\n", "line 3: empty"),
        ("a\n\u3000\n".encode(), "line 2: empty"),
        (b"", ": the file is empty"),
        (b"\xef\xbb\xbf", ": the file is empty"),
    ],
)
@pytest.mark.parametrize("name", ["bad.de", "bad.de.gz"])
def test_a_bad_line_is_named(write, name, data, claim):
    bad, good = write(name, data), write("good.en", b"a\nb\nc\nd\ne\n")
    for pair in ((bad, good), (good, bad)):
        message = refusal(read_pair_of_files, *pair)
        assert message.startswith(str(bad))
        assert claim in message


def test_a_missing_file_and_a_folder_are_named(write, tmp_path):
    good = write("good", b"a\n")
    missing = tmp_path / "missing.de"
    assert refusal(read_pair_of_files, missing, good) == f"{missing}: no such file"
    assert str(tmp_path) in refusal(read_pair_of_files, good, tmp_path)


def test_a_damaged_gzip_file_is_refused(write):
    good = write("good", b"a\n")
    whole = gzip.compress(b"".join(b"line %d\n" % n for n in range(1000)), mtime=0)
    flipped = bytearray(whole)
    flipped[-6] ^= 1  # inside the checksum
    garbled = whole[:20] + bytes(100) + whole[120:]
    for cut in (5, 11, 100, len(whole) - 1):
        path = write("cut", whole[:cut]).rename(good.parent / "cut.gz")
        assert "cut.gz: the gzip file ends too early" in refusal(
            read_pair_of_files, path, good
        )
    for data in (bytes(flipped), garbled, b"plain text\n"):
        path = write("bad", data).rename(good.parent / "bad.gz")
        assert "bad.gz: damaged, or no gzip file" in refusal(
            read_pair_of_files, good, path
        )


def test_columns_of_unequal_length_are_refused():
    assert "2, 1" in refusal(ParallelText, ["a", "b"], ["a"])
    assert "1, 1, 2" in refusal(ParallelText, ["a"], ["a"], ["x", "y"])


def test_what_is_selected_keeps_its_category_and_its_line():
    text = ParallelText(list("abc"), list("xyz"), list("ijk"))
    part = select(text, [True, False, True])
    assert part == ParallelText(["a", "c"], ["x", "z"], ["i", "k"])
    assert [part.line(0), part.line(1)] == [1, 3]
    assert select(part, [False, True]).line(0) == 3
    assert select(ParallelText(["a"], ["x"]), [True]).category is None


def test_the_fingerprint_depends_on_the_pairs_alone():
    text = ParallelText(["ä", "b"], ["c", "d"])
    assert sha256(ParallelText(text.source, text.target, ["x", "y"])) == sha256(text)
    moved = ParallelText(text.source, text.target, lines=[7, 9])
    assert sha256(moved) == sha256(text)
    assert moved == text
    assert re.fullmatch("[0-9a-f]{64}", sha256(text))


def test_moving_a_character_over_any_border_changes_the_fingerprint():
    texts = [
        ParallelText(["ab", "c"], ["d", "e"]),
        ParallelText(["a", "c"], ["bd", "e"]),
        ParallelText(["ab"], ["cde"]),
        ParallelText(["d", "e"], ["ab", "c"]),
        ParallelText(["c", "ab"], ["e", "d"]),
        ParallelText(["ab\nc"], ["d\ne"]),
        ParallelText(["ab", "d"], ["c", "e"]),
    ]
    assert len({sha256(text) for text in texts}) == len(texts)


def test_the_fingerprint_by_hand():
    # Each sentence is preceded by its number of bytes in 8 bytes: 1, "a", 2, "ä".
    expected = hashlib.sha256(
        b"\0\0\0\0\0\0\0\x01a" + b"\0\0\0\0\0\0\0\x02\xc3\xa4"
    ).hexdigest()
    assert sha256(ParallelText(["a"], ["ä"])) == expected
