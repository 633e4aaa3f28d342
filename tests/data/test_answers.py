import json
import time
from pathlib import Path

import pytest

from zoo.data import answers

GOLDEN = Path(__file__).parents[1] / "golden" / "normalisation.json"
CASES = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]


def test_every_golden_vector_agrees_with_the_official_evaluator():
    assert len(CASES) == 1540
    for case in CASES:
        assert answers.without_punctuation(case["in"]) == case["punct"], case
        assert answers.in_common_words(case["punct"]) == case["out"], case


def test_normalising_is_punctuation_then_words_of_one_line():
    for case in CASES:
        if answers.stripped(case["in"]) == case["in"]:
            assert answers.normalise(case["in"]) == case["out"]
    assert answers.normalise("\tA hot\ndog. ") == "hot dog"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("black-and-white", "black and white"),  # no space beside it: a space
        ("a -b", "b"),  # beside a space: gone
        ("a-b -c", "ab c"),  # gone everywhere, for one beside a space
        ("10,000-20,000", "1000020000"),  # a number with a comma: all of it gone
        ("1, 2", "1 2"),
        ("3.5", "3.5"),
        ("p.m.", "pm"),
        ("8:30", "8:30"),
        ("dog's", "dog's"),
        ("none", "0"),
        ("Ten", "10"),
        ("eleven", "eleven"),
        ("an", ""),
    ],
)
def test_by_hand(answer, expected):
    assert answers.normalise(answer) == expected


def test_no_more_than_32_periods_are_cut():
    assert answers.without_punctuation("." * 40) == "." * 8


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("dont", "don't"),
        ("couldntve", "couldntve"),  # two are missing
        ("couldn'tve", "couldn't've"),
        ("couldnt've", "couldn't've"),
        ("ow's'at", "'ow's'at"),
        ("y'all'dve", "y'all'd've"),
        ("oclock", "o'clock"),
        ("lets", "lets"),
        ("shes", "shes"),
        ("im", "im"),  # the table has Im, but words come in lower case
        ("somebody'd", "somebodyd"),  # the table has it the wrong way round
        ("somebodyd", "somebodyd"),
    ],
)
def test_contractions_are_mended_as_the_official_table_does(wrong, right):
    assert answers.normalise(wrong) == right


def test_a_long_answer_costs_no_more_than_its_length():
    start = time.perf_counter()
    answers.normalise("a,.-' " * 20_000)
    assert time.perf_counter() - start < 1
