import numpy as np
import pytest

from zoo.data.vqa.words import encode_questions, train_words, unseen_words, words
from zoo.errors import InputError

QUESTIONS = ["What's the color?", "is the  color RED ?", "what's the color"]


def test_words_are_lower_case_without_punctuation():
    assert words("Is the 'garbage_bin', near (2) T-shirts?!") == [
        *("is", "the", "garbage_bin", "near", "2", "t", "shirts")
    ]
    assert words("what’s café 의자?") == ["what’s", "café", "의자"]
    assert words(" ?! ") == []


def test_questions_become_padded_ids_by_hand():
    tokenizer = train_words(QUESTIONS)
    # the and color are there three times, what's twice, is and red once.
    assert tokenizer.vocab_size == 4 + 5
    ids = encode_questions(tokenizer, [*QUESTIONS, "the big color", QUESTIONS[1]], 5)
    assert ids.dtype == np.int32
    assert ids.tolist() == [
        [6, 4, 5, 0, 0],
        [7, 4, 5, 8, 0],
        [6, 4, 5, 0, 0],
        [4, 5, 0, 0, 0],  # without "big", which training did not have
        [7, 4, 5, 8, 0],
    ]
    # Nothing is left of it but what is unknown, so that it is a question still.
    assert encode_questions(tokenizer, ["big house"], 3).tolist() == [[3, 3, 0]]


def test_unseen_words_are_told_once():
    tokenizer = train_words(QUESTIONS)
    told = unseen_words(tokenizer, "Is the teal color, teal or Mauve?")
    assert told == ["teal", "or", "mauve"]
    assert unseen_words(tokenizer, QUESTIONS[1]) == []


def test_a_question_without_words_or_with_too_many_is_refused():
    tokenizer = train_words(QUESTIONS)
    for empty in ("", " ?"):
        with pytest.raises(InputError, match="no word; ask"):
            encode_questions(tokenizer, [QUESTIONS[0], empty], 8)
    with pytest.raises(InputError, match=r"RED \?' has 4 words, more than .* of 3"):
        encode_questions(tokenizer, QUESTIONS, 3)
