import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.decoding.models import Trigrams, draw_tables, log_prob, written
from zoo.decoding import (
    IMPOSSIBLE,
    ban,
    beam_search,
    force_end,
    greedy_search,
    no_repeated_ngrams,
    require_length,
    whole_words,
)

ROWS = jnp.arange(16)[:, None]


@jax.jit
def search_without(tables, allowed):
    """Returns what searches find if tokens must be allowed and no pair comes twice."""
    rules = [lambda tokens, position: allowed, no_repeated_ngrams(2, 6)]
    return (
        beam_search(Trigrams(), tables, ROWS, 4, num_hypotheses=6, rules=rules),
        beam_search(Trigrams(), tables, ROWS, 4, num_hypotheses=1, rules=rules),
        greedy_search(Trigrams(), tables, ROWS, 4, rules=rules),
    )


def all_but(*token_ids):
    """Returns what a ban allows, wherever it is asked."""
    return ban(token_ids, 6)(jnp.zeros((16, 1, 4), jnp.int32), jnp.int32(0))


def test_a_banned_token_never_appears_and_the_rest_scores_as_without_a_rule():
    # By far the likeliest is 4. Without 4, 5 and a second 3 3 three sentences are left,
    # fewer than were asked for.
    tables = draw_tables(0, 16)
    tables[..., 4] += 8.0
    found = search_without(tables, all_but(4, 5))
    for row in range(16):
        sentences = [written(tokens) for tokens in found[0].tokens[row]]
        assert set(sentences[:3]) == {(2,), (3, 2), (3, 3, 2)}
        assert sentences[3:] == [(), (), ()]
        for sentence, score in zip(
            sentences[:3], found[0].scores[row, :3], strict=True
        ):
            expected = log_prob(tables[row], sentence) / len(sentence)
            np.testing.assert_allclose(score, expected, rtol=1e-5)
    assert (found[0].scores[:, 3:] == IMPOSSIBLE).all()


def test_where_no_token_may_follow_there_is_no_hypothesis():
    for hypotheses in search_without(draw_tables(0, 16), all_but(*range(6))):
        assert (hypotheses.scores == IMPOSSIBLE).all()
        assert (hypotheses.tokens == 0).all()


def test_under_rules_too_greedy_is_a_beam_of_one():
    _, beam, greedy = search_without(draw_tables(0, 16), all_but(4))
    np.testing.assert_array_equal(greedy.tokens, beam.tokens)
    np.testing.assert_allclose(greedy.scores, beam.scores, atol=1e-5)
    ways = {(np.array(row) == 2).any() for row in np.asarray(greedy.tokens)}
    assert ways == {True, False}, "some sentences end, some are cut"


def test_a_token_outside_the_vocabulary_cannot_be_banned():
    with pytest.raises(ValueError, match=r"tokens \[6\] are not in a vocabulary of 6"):
        ban([3, 6], vocab_size=6)


def test_no_hypothesis_is_shorter_than_it_must_be_and_its_prefix_counts():
    # The end is by far the likeliest token everywhere.
    tables = draw_tables(0, 16)
    tables[..., 2] += 20.0
    prefix = jnp.where(ROWS % 2 == 0, jnp.array([[3, 4]]), 0)
    rule = require_length(4, 2, 6)
    found = jax.jit(
        lambda: greedy_search(Trigrams(), tables, ROWS, 9, prefix=prefix, rules=[rule])
    )()
    for row in range(16):
        assert len(written(found.tokens[row, 0])) == 4


def allowed_after(history, n):
    """Returns by a plain search which of 6 tokens repeat no run of n."""
    runs = {tuple(history[i : i + n]) for i in range(len(history) - n + 1)}
    rest = tuple(history[len(history) - n + 1 :]) if n > 1 else ()
    return [len(history) < n - 1 or (*rest, token) not in runs for token in range(6)]


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_runs_are_repeated_exactly_where_a_plain_search_finds_them(n):
    tokens = np.random.default_rng(n).integers(3, 6, (8, 5, 8))
    rule = jax.jit(no_repeated_ngrams(n, 6))
    for position in range(9):
        may = rule(jnp.asarray(tokens), jnp.int32(position))
        for row, width in np.ndindex(8, 5):
            expected = allowed_after(tokens[row, width, :position].tolist(), n)
            np.testing.assert_array_equal(may[row, width], expected)


def test_a_run_has_at_least_one_token():
    with pytest.raises(ValueError, match="n is 0"):
        no_repeated_ngrams(0, 6)


def test_the_last_word_of_a_phrase_is_not_continued():
    # Phrases 3 4 and 5; 4 and 5 continue words, 2 and 3 end them.
    required = jnp.array([[[3, 4, 0], [5, 0, 0], [0, 0, 0]]])
    ends_word = jnp.array([False, False, True, True, False, False])
    rule = whole_words(required, ends_word, pad_id=0)
    history = jnp.array([[[3, 4, 4, 5, 0, 0], [4, 3, 4, 3, 0, 0]]])
    must_end = [
        [bool(~may[5]) for may in rule(history, jnp.int32(position))[0]]
        for position in range(5)
    ]
    # After 3 4 and after 5, but not after 3 4 4.
    assert must_end == [
        [False, False],
        [False, False],
        [True, False],
        [False, True],
        [True, False],
    ]
    for position, width in [(2, 0), (3, 1)]:
        may = rule(history, jnp.int32(position))[0, width]
        np.testing.assert_array_equal(may, ends_word)


def test_the_end_is_forced_onto_the_last_place_alone():
    rule = force_end(4, eos_id=2, vocab_size=3)
    tokens = jnp.zeros((1, 1, 4), jnp.int32)
    assert rule(tokens, jnp.int32(2)).tolist() == [[[True, True, True]]]
    assert rule(tokens, jnp.int32(3)).tolist() == [[[False, False, True]]]
