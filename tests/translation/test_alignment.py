import numpy as np
import pytest

from zoo.translation.alignment import align_words, mean_words, sum_words, word_numbers


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        ([" New", " Y", "ork", "!"], [0, 1, 1, 1]),
        (["a", "b", " ", "c"], [0, 0, 1, 1]),  # letters as tokens
        ([" ", "\ufffd", "\ufffd", " b"], [0, 0, 0, 1]),  # a letter as bytes
        ([" a", " ", " b", " ", " "], [0, 1, 1, 1, 1]),  # spaces too many
        ([" a", "\t", "b", "\u00a0", "c"], [0, 1, 1, 1, 1]),
        ([" ", " "], [-1, -1]),
        ([], []),
    ],
)
def test_words_stand_between_spaces(texts, numbers):
    assert word_numbers(texts) == numbers


def test_a_word_that_is_read_has_the_sum_and_one_that_is_written_the_mean():
    weights = np.array([[0.1, 0.2, 0.7], [0.3, 0.4, 0.3]], np.float32)
    summed = sum_words(weights, [0, 0, 1])
    np.testing.assert_allclose(summed, [[0.3, 0.7], [0.7, 0.3]], atol=1e-6)
    np.testing.assert_allclose(mean_words(summed, [0, 0]), [[0.5, 0.5]], atol=1e-6)
    np.testing.assert_allclose(mean_words(summed, [0, 1]), summed, atol=1e-6)


def test_links_by_hand():
    # Written: "ab c"; read: "x yz" and the end, which gets the most and counts nothing.
    weights = np.array(
        [
            [0.3, 0.1, 0.0, 0.6],  # a: x
            [0.0, 0.3, 0.3, 0.4],  # b: yz. Mean of a and b: x 0.15, yz 0.35
            [0.4, 0.3, 0.3, 0.0],  # c: x is the most of a token, yz of a word
            [0.9, 0.1, 0.0, 0.0],  # the end
        ],
        np.float32,
    )
    links = align_words(weights, [" x", " y", "z"], [" a", "b", " c"])
    assert links == [(1, 0), (1, 1)]
    assert align_words(weights, [" x", " y", "z"], [" a", " b", " c"]) == [
        (0, 0),
        (1, 1),
        (1, 2),
    ]


def test_without_words_there_are_no_links():
    weights = np.ones((2, 2), np.float32)
    assert align_words(weights, [" "], [" a"]) == []
    assert align_words(weights, [" a"], [" "]) == []


def test_what_stands_before_the_text_is_no_word():
    # Read: <fra> x y; written: <deu> a b, each after a look at the language.
    weights = np.array([[0, 0.9, 0.1], [0.6, 0.1, 0.3], [0.6, 0.3, 0.1]], np.float32)
    links = align_words(weights, ["", " x", " y"], ["", " a", " b"])
    assert links == [(1, 0), (0, 1)]
