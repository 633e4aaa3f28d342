"""Rules about words, for models that write tokens.

A word may be cut into tokens in many ways, and a model whose first way is forbidden
takes the next one: so a banned word is recognised by its letters, however they are cut.
A finite automaton reads them (Aho and Corasick 1975, "Efficient String Matching"); its
table over tokens is made once on the host, and a step of decoding looks up the state of
each hypothesis.

Between a letter, digit or underscore and anything else is a boundary of words, and a
banned word counts where it begins at one; a letter of a script without spaces is a word
of its own. Where it would end at the end of a token, that token is forbidden, although
the next one might have made another word of it: to wait and see would leave the search
in the middle of a word that it must not finish.
"""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from zoo.decoding.rules import Rule

# A symbol is the code point of a character; BOUNDARY stands after each character that
# is no part of a word, and where the text begins. Bytes are symbols beyond these.
BOUNDARY = -1
BYTES = 0x110000
ONE_BYTE = "\ufffd"  # what a token writes that is one byte of a character
# How the names of letters begin whose scripts have no spaces between words.
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
FEWEST = 16  # states, padded to powers of two, so that few lists of words compile anew
_Symbols = tuple[int, ...]


class Banned(NamedTuple):
    """The automaton that forbids words.

    Attributes:
        following: the state after a state and a token. State 0 has read nothing of a
            banned word, state 1 stands where a word may begin.
        may: which tokens may come in a state.
        depth: how many tokens tell the state.
    """

    following: Int[Array, "N V"]
    may: Bool[Array, "N V"]
    depth: Int[Array, ""]


def ban_words(words: Sequence[Sequence[int]], texts: Sequence[str]) -> Banned:
    """Returns the automaton for some words.

    A letter is recognised in every token that holds it, but not where it is spelled by
    its bytes although the vocabulary holds it.

    Args:
        words: tokens that write each one, or several words with spaces between.
        texts: what each token of the vocabulary writes, spaces included; nothing for
            a token that is no text.
    """
    streams = [_symbols(text, token) for token, text in enumerate(texts)]
    patterns = {_pattern([streams[token] for token in word]) for word in words} - {()}
    return _over_tokens(streams, *_automaton(patterns))


def without_words(banned: Banned) -> Rule:
    """Returns the rule that no banned word appears."""

    def rule(tokens, position):
        first = jnp.maximum(position - banned.depth, 0)
        state = jnp.where(first == 0, 1, 0)
        return banned.may[
            jax.lax.fori_loop(
                first,
                position,
                lambda place, state: banned.following[state, tokens[:, :, place]],
                jnp.full(tokens.shape[:2], state, jnp.int32),
            )
        ]

    return rule


def allows(banned: Banned, tokens: Sequence[int]) -> bool:
    """Returns whether tokens may be written in a row, wherever that is."""
    following, may = np.asarray(banned.following), np.asarray(banned.may)
    state = 0
    for token in tokens:
        if not may[state, token]:
            return False
        state = following[state, token]
    return True


def _symbols(text: str, token: int) -> _Symbols:
    if text == ONE_BYTE:
        return (BYTES + token,)
    symbols = []
    for character in text:
        symbols.append(ord(character))
        if not _in_word(ord(character)):
            symbols.append(BOUNDARY)
    return tuple(symbols)


def _in_word(symbol: int) -> bool:
    if symbol >= BYTES or symbol == BOUNDARY:
        return symbol >= BYTES
    character = chr(symbol)
    if unicodedata.category(character)[0] not in "LMN":
        return character == "_"
    return not unicodedata.name(character, "").startswith(UNSPACED)


def _pattern(streams: Sequence[_Symbols]) -> _Symbols:
    """Returns the symbols by which a word is recognised; nothing for spaces alone."""
    symbols = [symbol for stream in streams for symbol in stream]
    for end in (0, -1):
        while symbols and symbols[end] in (BOUNDARY, ord(" ")):
            symbols.pop(end)
    begin = (BOUNDARY,) if symbols and _in_word(symbols[0]) else ()
    return (*begin, *symbols)


def _automaton(
    patterns: set[_Symbols],
) -> tuple[list[int], Int[np.ndarray, "N C"], Bool[np.ndarray, "N C"], int]:
    """Returns (alphabet, next state, whether a pattern ends there, longest state).

    A state is the longest end of what was read that begins a pattern. The last column
    is for all symbols outside the alphabet.
    """
    beginnings = {pattern[:end] for pattern in patterns for end in range(len(pattern))}
    states = sorted(beginnings | {(), (BOUNDARY,)}, key=lambda x: (len(x), x))
    number = {state: place for place, state in enumerate(states)}
    alphabet = sorted({BOUNDARY}.union(*patterns))
    step = np.zeros((len(states), len(alphabet) + 1), np.int32)
    ends = np.zeros(step.shape, bool)
    for row, state in enumerate(states):
        for column, symbol in enumerate(alphabet):
            read = (*state, symbol)
            tails = [read[start:] for start in range(len(read) + 1)]
            step[row, column] = next(number[tail] for tail in tails if tail in number)
            ends[row, column] = any(tail in patterns for tail in tails)
    return alphabet, step, ends, len(states[-1])


def _over_tokens(
    streams: Sequence[_Symbols],
    alphabet: list[int],
    step: Int[np.ndarray, "N C"],
    ends: Bool[np.ndarray, "N C"],
    depth: int,
) -> Banned:
    """Returns the automaton that reads a whole token at once."""
    size = FEWEST
    while size < len(step):
        size *= 2
    shape = (size, len(streams))
    code = {symbol: column for column, symbol in enumerate(alphabet)}
    state = np.broadcast_to(np.arange(size)[:, None] % len(step), shape)
    may = np.ones(shape, bool)
    for place in range(max(map(len, streams))):
        longer = np.array([len(stream) > place for stream in streams])
        column = np.array(
            [
                code.get(x[place], len(alphabet)) if len(x) > place else 0
                for x in streams
            ]
        )
        # A word may end before what is no part of one, and where the token ends.
        closes = np.array([not any(map(_in_word, x[place + 1 :][:1])) for x in streams])
        may &= ~(ends[state, column] & longer & closes)
        state = np.where(longer, step[state, column], state)
    return Banned(
        jnp.asarray(state, jnp.int32), jnp.asarray(may), jnp.asarray(depth, jnp.int32)
    )
