import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.data.tokenizer import Tokenizer
from zoo.errors import InputError

# As subword-nmt writes it, and what else may stand in a line.
LINES = [
    "ein mann in einem blau@@ en hemd .",
    "a man in a blue sh@@ ir@@ t .",
    "&apos; a  doubled space ",
    "</s> <unk> @@ \u2581 \u2047",
    "narrow\u202fspace tab\tfeed\u2028line",
]


def pieces(tokenizer, sentence):
    return tokenizer.labels(tokenizer.encode([sentence])[0])


@pytest.fixture(scope="module")
def words():
    return Tokenizer.train(LINES, 100, tokens="words")


@pytest.fixture(scope="module")
def characters():
    return Tokenizer.train(LINES, 100, tokens="characters")


def test_words_are_what_stands_between_spaces(words):
    assert pieces(words, LINES[0]) == LINES[0].split(" ")
    assert words.vocab_size == 4 + len({word for x in LINES for word in x.split(" ")})


@pytest.mark.parametrize("line", LINES)
def test_every_line_that_was_trained_on_comes_back(words, characters, line):
    for tokenizer in (words, characters):
        (ids,) = tokenizer.encode([line])
        assert min(ids) >= 4
        assert tokenizer.decode([ids]) == [line]


def test_a_token_that_was_never_seen_is_unknown_and_its_neighbours_are_not(
    words, characters
):
    assert words.encode(["two new shirts ."])[0][:3] == [3, 3, 3]
    assert words.decode(words.encode(["a new old mann"])) == ["a ⁇ ⁇ mann"]
    assert characters.decode(characters.encode(["a QX z e"])) == ["a ⁇⁇ ⁇ e"]


@given(lines=st.lists(st.text(), min_size=1), text=st.text())
def test_any_text_of_known_characters_comes_back(lines, text):
    tokenizer = Tokenizer.train([*lines, text, "x"], 10_000, tokens="characters")
    assert tokenizer.decode(tokenizer.encode([text, *lines])) == [text, *lines]
    assert len(tokenizer.encode([text])[0]) == len(text)


@given(lines=st.lists(st.text(alphabet=" ab@"), min_size=1))
def test_any_line_of_known_words_comes_back(lines):
    tokenizer = Tokenizer.train([*lines, "x"], 10_000, tokens="words")
    assert tokenizer.decode(tokenizer.encode(lines)) == lines


def test_the_commonest_tokens_are_kept_and_rarer_ones_unknown():
    tokenizer = Tokenizer.train(["b a a c", "b a"], 6, tokens="words")
    assert tokenizer.vocab_size == 6
    assert tokenizer.encode(["a b c"]) == [[4, 5, 3]]


def test_lower_case_is_made_by_the_table():
    tokenizer = Tokenizer.train(["Gas GUARD"], 50, tokens="words", lowercase=True)
    assert tokenizer.vocab_size == 4 + 2
    assert tokenizer.decode(tokenizer.encode(["GAS guard"])) == ["gas guard"]


def test_decoding_stops_at_the_end_and_skips_start_and_padding(words):
    (ids,) = words.encode(["ein mann"])
    rows = [[1, *ids, 2, *ids], [0, 1, *ids, 0], [2, *ids], []]
    assert words.decode(rows) == ["ein mann", "ein mann", "", ""]


def test_a_sentence_of_nothing_has_no_tokens(words, characters):
    for tokenizer in (words, characters):
        assert tokenizer.encode([""]) == [[]]
        assert tokenizer.decode([[]]) == [""]


def test_there_is_a_label_for_each_id(words, characters):
    assert pieces(words, "a  new mann") == ["a", "_", "⁇", "mann"]
    assert pieces(characters, "a b") == ["a", "_", "b"]


@pytest.mark.parametrize("tokens", ["words", "characters"])
def test_a_saved_table_is_the_same(tmp_path, tokens):
    tokenizer = Tokenizer.train(LINES, 100, tokens=tokens)
    path = tmp_path / "tokenizer.model"
    tokenizer.save(path)
    again = Tokenizer.load(path)
    assert again.encode(LINES) == tokenizer.encode(LINES)
    assert again.decode(again.encode(LINES)) == LINES
    assert again.vocab_size == tokenizer.vocab_size
    whole = path.read_bytes()
    for place in (0, 30, len(whole) - hashlib.sha256().digest_size):
        path.write_bytes(whole[:place] + b"\0" + whole[place + 1 :])
        with pytest.raises(InputError, match="damaged"):
            Tokenizer.load(path)


def test_a_vocabulary_without_room_and_a_corpus_without_text_are_refused():
    with pytest.raises(InputError, match="vocabulary of 4 has no room"):
        Tokenizer.train(LINES, 4, tokens="words")
    for nothing in ([], ["", "  "]):
        with pytest.raises(InputError, match="the corpus is empty"):
            Tokenizer.train(nothing, 100, tokens="characters")
