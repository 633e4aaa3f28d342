import json
import re

import numpy as np
import pytest

from tests.viewer.hostile import HOSTILE
from zoo.errors import InputError
from zoo.viewer.page import data_block, direction, packed, page, save, table, visible


@pytest.mark.parametrize("words", HOSTILE)
def test_no_words_end_the_block_of_data_or_change_in_it(words):
    block = data_block({words: [words]})
    assert not re.search("[<>&\x00-\x1f\x7f-\uffff]", block)
    assert json.loads(block) == {words: [words]}


@pytest.mark.parametrize("words", HOSTILE)
def test_words_in_the_table_and_the_title_are_no_markup(words):
    html = page(words, [], script="sentences.js", fallback=table(["a"], [[words]]))
    plain = page("x", [], script="sentences.js", fallback=table(["a"], [["x"]]))
    assert re.findall("<[^>]*>", html) == re.findall("<[^>]*>", plain)
    html.encode()  # no surrogate is left


def test_what_nobody_sees_is_written_out_and_all_else_stays():
    assert visible("a\u202eb\x00\ud800") == "a[U+202E]b[U+0000][U+D800]"
    # Space of no width, mark of the byte order, soft hyphen, joiner of words, a tag;
    # what fills the place of a letter of Hangul.
    for number in (
        0x200B,
        0xFEFF,
        0xAD,
        0x2060,
        0xE0041,
        0x115F,
        0x1160,
        0x3164,
        0xFFA0,
    ):
        assert visible(f"a{chr(number)}b") == f"a[U+{number:04X}]b"
    # Joiners shape Persian and Indic words; the end of an ayah is a sign that is drawn.
    words = "نمی\u200cخواهم क्\u200dष 한국어 日本語 é e\u0301 \u06dd\u0661 ☺\ufe0f"
    assert visible(words) == words


@pytest.mark.parametrize(
    ("words", "expected"),
    [("3 كتب", "rtl"), ("שלום", "rtl"), ("A كتب", "ltr"), ("가", "ltr"), ("12", "ltr")],
)
def test_the_first_letter_with_a_direction_decides(words, expected):
    assert direction(words) == expected


def test_packed_weights_are_whole_numbers_of_65535ths():
    # 0, 1, and 1/5 = 13107 / 65535 = 0x3333; base64 of 00 00 ff ff 33 33.
    assert packed(np.array([[0.0, 1.0, 0.2]])) == "AAD//zMz"


@pytest.mark.parametrize("weight", [-0.1, 1.5, np.nan])
def test_what_is_no_weight_is_refused(weight):
    with pytest.raises(ValueError, match="from 0 to 1"):
        packed(np.array([weight]))


def test_a_page_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match=r"missing/a\.html: cannot be written"):
        save("x", tmp_path / "missing" / "a.html")
