import gzip

import pytest

from zoo.data.tables import read_grouped_tsv, read_tsv, read_word_list
from zoo.data.text import ParallelText
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


@pytest.mark.parametrize("name", ["phrases.tsv", "phrases.tsv.gz"])
def test_columns_of_a_table_are_found_by_name(write, name):
    path = write(name, b'en\tnote\tko\r\n"a\tx\tb\r\n c \t\td"\r\n')
    text = read_tsv(path, source_column="ko", target_column="en")
    assert text == ParallelText(["b", 'd"'], ['"a', " c "])


@pytest.mark.parametrize(
    ("data", "claim"),
    [
        (b"en\tde\na\tb\n", ", line 1: no column 'ko'; the columns are en, de"),
        (b"en\tko\tko\na\tb\tc\n", ", line 1: two columns 'ko'"),
        (b"en\tko\na\tb\nc\n", ", line 3: 1 columns, but the header has 2"),
        (b"en\tko\na\tb\tc\n", ", line 2: 3 columns, but the header has 2"),
        (b"en\tko\na\tb\n\nc\td\n", ", line 3: 1 columns, but the header has 2"),
        (b"en\tko\na\tb\n \tc\n", ", line 3: column 'en' is empty"),
        (b"en\tko\na\tb\xc0\n", ", line 2: no valid UTF-8"),
        (b"en\tko\n", ": no lines below the header"),
        (b"", ": the file is empty"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(write, data, claim):
    path = write("phrases.tsv", data)
    assert refusal(read_tsv, path, "en", "ko").startswith(f"{path}{claim}")


def test_a_pair_knows_its_line(write):
    path = write("phrases.tsv", b"en\tko\na\tb\nc\td\n")
    text = read_tsv(path, "en", "ko")
    assert [text.line(0), text.line(1)] == [2, 3]


VERSES = """book\tko\ten
Ruth\t가\ta
Jonah\t나\t
Ruth\t 다\tc
""".encode()


def test_groups_and_empty_sentences_are_left_to_the_caller(write):
    text = read_grouped_tsv(write("verses.tsv", VERSES), "ko", "en", "book")
    assert text == ParallelText(
        ["가", "나", " 다"], ["a", "", "c"], ["Ruth", "Jonah", "Ruth"]
    )
    assert text.line(2) == 4


@pytest.mark.parametrize(
    ("line", "claim"),
    [
        (" \tx\ty", ", line 5: column 'book' is empty"),
        ("Ruth\tx", ", line 5: 2 columns, but the header has 3"),
    ],
)
def test_a_bad_row_of_a_group_is_named(write, line, claim):
    path = write("verses.tsv", VERSES + f"{line}\n".encode())
    message = refusal(read_grouped_tsv, path, "ko", "en", "book")
    assert message.startswith(f"{path}{claim}")


def test_words_are_read_without_comments_and_repeated_pairs(write):
    path = write(
        "words.txt", "# words\ngas\t가스\nguard\t가드\ngas\t가스\ngas\t개스\n".encode()
    )
    text = read_word_list(path)
    assert text == ParallelText(["gas", "guard", "gas"], ["가스", "가드", "개스"])
    assert [text.line(number) for number in range(3)] == [2, 3, 5]


@pytest.mark.parametrize(
    ("data", "claim"),
    [
        (b"a\tb\nc\n", ", line 2: 'c' is no word, tab and form"),
        (b"#\na\tb\tc\n", ", line 2: "),
        (b"a\t \n", ", line 1: "),
        (b"a\tb\n\n\nc\td\n", ", line 2: ''"),
        (b"a\tb\xff\n", ", line 1: no valid UTF-8"),
        (b"# a\tb\n", ": nothing but comments"),
        (b"", ": the file is empty"),
    ],
)
def test_a_line_that_is_no_pair_is_named(write, data, claim):
    path = write("words.txt", data)
    assert refusal(read_word_list, path).startswith(f"{path}{claim}")
