"""Prefixes that are forced: of different lengths in one batch, and not scored."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.decoding.models import Trigrams, draw_tables, log_prob, make, written
from zoo.decoding import ban, beam_search, greedy_search, sample
from zoo.decoding.rules import pad_prefix

SOURCE = jnp.array([[3, 4, 5, 2, 0, 0], [0, 7, 8, 9, 10, 2], [5, 2, 0, 0, 0, 0]])
PREFIX = jnp.array([[4, 3, 5], [0, 0, 0], [5, 0, 0]])
LENGTHS = [3, 0, 1]
KEYS = jax.random.split(jax.random.key(0), 3)
TABLES = draw_tables(0, 11)


@functools.cache
def search(kind, name):
    """Returns a jitted search that does not generate 5, which prefixes hold."""
    model, params = (Trigrams(), TABLES) if name == "trigrams" else make(name)
    rules = [ban([5], 6 if name == "trigrams" else 11)]

    def find(source, prefix, keys):
        task = model, params, source, 8
        options = {"prefix": prefix, "rules": rules}
        if kind == "greedy":
            return greedy_search(*task, **options)
        if kind == "beam":
            return beam_search(*task, num_hypotheses=3, **options)
        return sample(*task, keys=keys, num_hypotheses=3, **options)

    return jax.jit(find)


every_search = pytest.mark.parametrize("kind", ["greedy", "beam", "sample"])


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("greedy", "trigrams"),
        ("beam", "trigrams"),
        ("sample", "trigrams"),
        ("beam", "transformer-tiny"),
    ],
)
def test_prefixes_of_different_lengths_in_a_batch_are_one_at_a_time(kind, name):
    together = search(kind, name)(SOURCE, PREFIX, KEYS)
    for row in range(3):
        # Three times the same sentence; another shape would be another compilation.
        same = jnp.array([row] * 3)
        alone = search(kind, name)(SOURCE[same], PREFIX[same], KEYS[same])
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[row])
        np.testing.assert_allclose(alone.scores[0], together.scores[row], atol=1e-4)


@every_search
def test_a_hypothesis_begins_with_its_prefix_which_no_rule_forbids(kind):
    found = search(kind, "trigrams")(SOURCE, PREFIX, KEYS)
    for row, length in enumerate(LENGTHS):
        tokens = np.asarray(found.tokens[row])
        assert (tokens[:, :length] == PREFIX[row, :length]).all()
        assert (tokens[:, length:] != 5).all()


@every_search
def test_a_score_counts_what_was_generated_alone(kind):
    found = search(kind, "trigrams")(SOURCE, PREFIX, KEYS)
    for row, length in enumerate(LENGTHS):
        for tokens, score in zip(found.tokens[row], found.scores[row], strict=True):
            sentence = written(tokens)
            total = log_prob(TABLES[SOURCE[row, 0]], sentence, start=length)
            expected = total / (len(sentence) - length)
            np.testing.assert_allclose(score, expected, atol=1e-5)


def test_padding_after_a_prefix_cannot_matter():
    narrow = pad_prefix(jnp.array([[4, 5]]), 8, 0)
    wide = pad_prefix(jnp.array([[4, 5, 0, 0]]), 8, 0)
    for one, other in zip(narrow, wide, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_prefix_that_leaves_no_room_is_refused():
    with pytest.raises(ValueError, match="prefix of 3 tokens leaves no room"):
        greedy_search(Trigrams(), TABLES, SOURCE, 3, prefix=PREFIX)
