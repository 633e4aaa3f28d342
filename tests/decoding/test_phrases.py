"""Phrases that must appear: by hand, in many cases, and by exhaustive search."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.decoding.models import WORDS, Trigrams, draw_tables, log_prob, written
from zoo.decoding import IMPOSSIBLE, beam_search
from zoo.decoding.phrases import Phrases, allocate, shared_continuations

NUMBER = 48


def contains(sentence, phrase):
    places = range(len(sentence) - len(phrase) + 1)
    return any(sentence[i : i + len(phrase)] == phrase for i in places)


def sentences_of(max_length):
    """Returns every sentence of WORDS that ends within `max_length`."""
    return [
        (*words, 2)
        for length in range(max_length)
        for words in itertools.product(WORDS, repeat=length)
    ]


def draw_phrases(seed, longest):
    """Returns two phrases for each of NUMBER sentences, and the same as tuples."""
    rng = np.random.default_rng(seed)
    required = np.zeros((NUMBER, 2, 3), np.int32)
    for row, number in np.ndindex(NUMBER, 2):
        length = rng.integers(number == 0, longest[number] + 1)
        required[row, number, :length] = rng.choice(WORDS, length)
    return required, [[written(p) for p in phrases if p.any()] for phrases in required]


@functools.cache
def jitted(width, max_length):
    def find(params, required, prefix, allowed):
        return beam_search(
            Trigrams(),
            params,
            jnp.arange(NUMBER)[:, None],
            max_length,
            num_hypotheses=width,
            required=required,
            prefix=prefix,
            rules=[lambda tokens, position: allowed],
        )

    return jax.jit(find)


NO_PREFIX = np.zeros((NUMBER, 3), np.int32)


def search(tables, required, prefix=NO_PREFIX, *, banned=(), width=2, max_length=8):
    """Returns what is found; all tests share two compilations."""
    allowed = ~np.isin(np.arange(6), banned)[None, None]
    return jax.device_get(jitted(width, max_length)(tables, required, prefix, allowed))


def wide_search(tables, required):
    """Returns every sentence of at most 5 tokens that holds the phrases."""
    return search(tables, required, width=400, max_length=5)


def progress_of(phrases, tokens):
    progress = phrases.start(1)
    for token in tokens:
        progress = phrases.advance(progress, jnp.array([[0]]), jnp.array([[token]]))
    return progress


@pytest.mark.parametrize(
    ("tokens", "missing", "next_tokens"),
    [
        ([], 6, {3, 5}),
        ([3, 4, 3], 3, {5}),
        ([3, 4, 3, 4], 4, {3, 5}),  # falls back to 3 4, not to nothing
        ([3, 4, 4], 6, {3, 5}),
        ([3, 4, 3, 5], 1, {3}),  # the first is met, and its last begins the second
        ([3, 4, 3, 5, 3], 0, set()),
        ([5, 3, 4], 2, {3}),  # the second is met, and its last began the first
        ([5, 3, 4, 3, 5], 0, set()),
        ([5, 3, 4, 3, 5, 4, 4], 0, set()),
    ],
)
def test_what_is_missing_by_hand(tokens, missing, next_tokens):
    # 3 4 3 5 and 5 3, and a third phrase that asks for nothing.
    phrases = Phrases.of(jnp.array([[[3, 4, 3, 5], [5, 3, 0, 0], [0] * 4]]), 0)
    progress = progress_of(phrases, tokens)
    assert int(phrases.missing(progress)[0, 0]) == missing
    wanted = np.asarray(phrases.wanted(progress, 6))[0, 0]
    assert set(np.flatnonzero(wanted)) == next_tokens


def test_of_two_phrases_that_begin_alike_only_one_has_been_begun():
    phrases = Phrases.of(jnp.array([[[3, 4], [3, 5]]]), 0)
    assert int(phrases.missing(progress_of(phrases, [3]))[0, 0]) == 3


@jax.jit
def candidates_of_one(room):
    """Returns what may follow nothing where 3 4 must come and 3 is least likely."""
    return shared_continuations(
        jnp.tile(jnp.arange(10.0).at[3].set(-5.0), (1, 2, 1)),
        jnp.zeros((1, 2, 1)),
        jnp.array([[0.0, IMPOSSIBLE]]),
        phrases := Phrases.of(jnp.array([[[3, 4]]]), 0),
        phrases.start(2),
        room[None, None],
        eos_id=2,
    )


@pytest.mark.parametrize(("room", "possible"), [(2, {9, 8, 7, 3}), (1, {3}), (0, {3})])
def test_a_candidate_must_leave_room_or_lower_what_is_missing(room, possible):
    log_probs, _, tokens = candidates_of_one(jnp.int32(room))
    assert set(tokens[log_probs > IMPOSSIBLE].tolist()) == possible


def test_banks_take_turns_and_leave_what_they_do_not_need():
    # The bank that misses 0 has one candidate, 1 has two, 2 three, one impossible.
    missing = jnp.array([[2, 1, 2, 0, 2, 1]])
    log_probs = jnp.array([[-1.0, -5.0, -2.0, -9.0, IMPOSSIBLE, -4.0]])
    assert allocate(log_probs, missing, 6).tolist() == [[3, 5, 0, 1, 2, 4]]


def test_a_wide_beam_finds_the_best_sentences_that_hold_the_phrase():
    max_length = 5
    required, phrases = draw_phrases(0, (3, 0))
    tables = draw_tables(0, NUMBER)
    found = wide_search(tables, required)
    for row, (phrase,) in enumerate(phrases):
        scores = {
            sentence: log_prob(tables[row], sentence) / len(sentence)
            for sentence in sentences_of(max_length)
            if contains(sentence, phrase)
        }
        order = sorted(scores, key=scores.get, reverse=True)
        for rank, sentence in enumerate(order):
            assert written(found.tokens[row, rank]) == sentence
            assert abs(found.scores[row, rank] - scores[sentence]) < 1e-4
        # The others are cut, but have kept a place for the end.
        for tokens in found.tokens[row, len(order) :]:
            sentence = written(tokens)
            assert not sentence or contains(sentence[:-1], phrase)


def overlap(one, other):
    """Says whether the end of one phrase begins the other, or holds it whole."""
    ends = any(one[-n:] == other[:n] for n in range(1, min(len(one), len(other)) + 1))
    return ends or contains(one, other)


def test_a_wide_beam_finds_the_best_sentence_that_holds_both_phrases():
    max_length = 5
    required, phrases = draw_phrases(2, (2, 2))
    tables = draw_tables(2, NUMBER)
    found = wide_search(tables, required)
    compared = 0
    for row, given in enumerate(phrases):
        if any(overlap(*pair) for pair in itertools.permutations(given, 2)):
            continue  # it may then miss those that have room for an overlap alone
        scores = [
            log_prob(tables[row], sentence) / len(sentence)
            for sentence in sentences_of(max_length)
            if all(contains(sentence, phrase) for phrase in given)
        ]
        assert abs(found.scores[row, 0] - max(scores)) < 1e-4
        compared += len(given) == 2
    assert compared > 5


def test_all_phrases_appear_wherever_there_is_room():
    # Random phrases: repeated, overlapping, one within another, begun and abandoned. At
    # most two tokens of a prefix, five of phrases and the end are just what fits.
    for seed in range(3):
        required, phrases = draw_phrases(seed, (3, 2))
        lengths = np.random.default_rng(seed).integers(3, size=(NUMBER, 1))
        prefix = np.where(np.arange(3) < lengths, [[5, 3, 4]], 0)
        tables = draw_tables(seed, NUMBER)
        found = search(tables, required, prefix)
        for row, given in enumerate(phrases):
            real = found.scores[row] > IMPOSSIBLE
            assert real.any()
            for tokens, score in zip(
                found.tokens[row][real], found.scores[row][real], strict=True
            ):
                sentence, begin = written(tokens), written(prefix[row])
                assert all(contains(sentence, phrase) for phrase in given)
                assert sentence[: len(begin)] == begin
                total = log_prob(tables[row], sentence, start=len(begin))
                expected = total / (len(sentence) - len(begin))
                np.testing.assert_allclose(score, expected, atol=1e-4)


def test_a_phrase_that_the_prefix_holds_asks_for_nothing_more():
    tables = draw_tables(3, NUMBER)
    prefix = np.tile([3, 4, 0], (NUMBER, 1))
    met, none = np.zeros((2, NUMBER, 2, 3), np.int32)
    met[:, 0, :2] = 3, 4
    with_phrase, without = (search(tables, given, prefix) for given in (met, none))
    np.testing.assert_array_equal(with_phrase.tokens, without.tokens)


def test_a_prefix_is_forced_however_much_is_missing():
    # Five tokens seem to be missing at first, and then the prefix begins both phrases.
    required = np.tile([[3, 4, 0], [3, 4, 5]], (NUMBER, 1, 1))
    prefix = np.tile([5, 3, 4], (NUMBER, 1))
    found = search(draw_tables(0, NUMBER), required, prefix, width=400, max_length=5)
    np.testing.assert_array_equal(found.tokens[:, 0], [[5, 3, 4, 5, 2]] * NUMBER)


def test_phrases_that_do_not_fit_or_are_forbidden_leave_no_hypothesis():
    tables = draw_tables(4, NUMBER)
    required = np.tile([[3, 3, 4], [5, 5, 4]], (NUMBER, 1, 1))
    prefix = np.where(np.arange(NUMBER)[:, None] % 2, 0, [[4, 4, 4]])
    found = search(tables, required, prefix)
    fits = np.arange(NUMBER) % 2 == 1
    assert (found.scores[fits, 0] > IMPOSSIBLE).all()
    assert (found.scores[~fits] == IMPOSSIBLE).all()
    assert (found.tokens[~fits] == 0).all()
    assert (search(tables, required, banned=[5]).scores == IMPOSSIBLE).all()
