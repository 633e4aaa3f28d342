"""Banned words: an automaton over tokens against a plain search of the text."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.decoding.words import allows, ban_words, without_words

TEXTS = ["", "", "", "?", " a", " b", "a", "b", "ab", " ab", "ba", " ", "(", ")", "a)"]
TEXTS += [" a b", "b.a", " bab", "\ufffd", "\ufffd"]
NUMBER = {text: token for token, text in reversed(list(enumerate(TEXTS)))}
FIRST_BYTE, SECOND_BYTE = 18, 19


def tokens_of(*texts):
    return [NUMBER[text] for text in texts]


def closes_a_word(written, token, words):
    """Returns by a plain search whether a token ends a word that begins as one does."""
    text = written + TEXTS[token]
    return any(
        match.end() > len(written) and not re.match(r"\w", text[match.end() :])
        for word in words
        for start in range(len(text))
        for match in [re.compile(re.escape(word)).match(text, start)]
        if match and not (re.match(r"\w", word) and re.match(r"\w", text[:start][-1:]))
    )


@jax.jit
def allowed(banned, tokens, positions):
    """Returns what the rule allows at each position."""
    return jax.vmap(lambda position: without_words(banned)(tokens, position))(positions)


@pytest.mark.parametrize(
    "words",
    [
        {"a": tokens_of(" a")},
        {"ab": tokens_of(" ", "ab"), "b": tokens_of("b")},
        {"a b": tokens_of(" a b")},
        {"a a a b": tokens_of(" a", " a", " a", " b")},
        {"ab": tokens_of(" ab"), "ab ab": tokens_of(" ab", " ab"), "(": tokens_of("(")},
        {"b.a": tokens_of("b.a"), "bab": tokens_of(" bab")},
    ],
)
def test_what_ends_a_banned_word_is_forbidden_and_nothing_else(words):
    rng = np.random.default_rng(0)
    tokens = rng.choice([3, *range(4, 18)], (24, 1, 10))
    banned = ban_words(list(words.values()), TEXTS)
    may = allowed(banned, jnp.asarray(tokens), jnp.arange(10))
    seen = set()
    for position, row in np.ndindex(10, 24):
        written = "".join(TEXTS[token] for token in tokens[row, 0, :position])
        for token in range(18):
            expected = not closes_a_word(written, token, words)
            assert may[position, row, 0, token] == expected, (written, TEXTS[token])
            seen.add(expected)
    assert seen == {True, False}


def test_a_letter_that_is_spelled_as_bytes_is_told_by_them():
    banned = ban_words([[4, FIRST_BYTE, SECOND_BYTE]], TEXTS)
    assert not allows(banned, [4, FIRST_BYTE, SECOND_BYTE])
    assert not allows(banned, [*tokens_of(" ", "a"), FIRST_BYTE, SECOND_BYTE])
    assert allows(banned, [4, SECOND_BYTE, FIRST_BYTE])
    # A byte may be of a letter, so that no word ends before it.
    assert allows(ban_words([tokens_of("b")], TEXTS), [4, FIRST_BYTE, *tokens_of("b")])


def test_where_there_are_no_spaces_a_word_is_told_anywhere():
    texts = [" 東", "東", "京", "は", " 서울", "서울", "에"]
    banned = ban_words([[0, 2], [4]], texts)
    assert not allows(banned, [3, 1, 2])  # は東京
    assert allows(banned, [3, 2, 1])
    # Hangul has spaces: the word begins after one, or after another script.
    assert not allows(banned, [3, 4])
    assert not allows(banned, [3, 5])
    assert allows(banned, [6, 5])


def test_another_list_of_words_of_such_a_size_needs_no_other_compilation():
    lists = [tokens_of(" a")], [tokens_of(" ab"), tokens_of("b", "ab", "ba")]
    shapes = [ban_words(words, TEXTS).following.shape for words in lists]
    assert shapes == [(16, len(TEXTS))] * 2


def test_spaces_alone_ban_nothing():
    assert ban_words([tokens_of(" ")], TEXTS).may.all()
