"""Beam search by hand, over a model whose probabilities stand in a table."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.decoding import beam_search, greedy_search


class Table:
    """A model that gives token v at position t the probability probabilities[t][v]."""

    pad_id, start_id, eos_id = 0, 1, 2

    def __init__(self, probabilities):
        self.log_probs = jnp.log(jnp.array(probabilities))

    def apply(self, variables, *arguments, method):
        return getattr(self, method)(*arguments)

    def encode(self, source):
        return source

    def start(self, memory, num_hypotheses, max_length):
        return jnp.zeros((memory.shape[0], num_hypotheses))

    def step(self, memory, carry, tokens, position):
        row = self.log_probs[position]
        return carry, jnp.broadcast_to(row, (*tokens.shape, row.shape[0]))

    def logits(self, features):
        return features

    def reorder(self, carry, parents):
        return carry


SOURCE = jnp.array([[3, 2]])
# The end is second best at first, and the sentence grows less likely as it grows.
RELUCTANT = Table([[0.0, 0.0, 0.4, 0.6, 0.0], *[[0.0, 0.0, 0.28, 0.4, 0.32]] * 5])


# The end is among the two best at every position.
WILLING = Table([[0.0, 0.0, 0.4, 0.6, 0.0], *[[0.0, 0.0, 0.35, 0.4, 0.25]] * 5])


def find(model, max_length, **options):
    return jax.jit(lambda: beam_search(model, {}, SOURCE, max_length, **options))()


def test_a_beam_of_one_does_not_end_where_the_end_is_second_best():
    greedy = jax.jit(lambda: greedy_search(RELUCTANT, {}, SOURCE, 5))()
    beam = find(RELUCTANT, 5, num_hypotheses=1)
    np.testing.assert_array_equal(greedy.tokens, [[[3, 3, 3, 3, 3]]])
    np.testing.assert_array_equal(beam.tokens, greedy.tokens)


def test_a_wider_beam_ranks_by_mean_log_probability():
    found = find(WILLING, 5, num_hypotheses=2)
    np.testing.assert_array_equal(found.tokens[0], [[3, 2, 0, 0, 0], [3, 3, 2, 0, 0]])
    expected = [math.log(0.6 * 0.35) / 2, math.log(0.6 * 0.4 * 0.35) / 3]
    np.testing.assert_allclose(found.scores[0], expected, rtol=1e-5)


def test_without_a_length_penalty_the_likelier_sentence_wins():
    found = find(WILLING, 5, num_hypotheses=2, length_penalty=0.0)
    np.testing.assert_array_equal(found.tokens[0], [[2, 0, 0, 0, 0], [3, 2, 0, 0, 0]])
    expected = [math.log(0.4), math.log(0.6 * 0.35)]
    np.testing.assert_allclose(found.scores[0], expected, rtol=1e-5)


@pytest.mark.parametrize(("max_length", "width"), [(0, 2), (4, 0)])
def test_a_search_without_room_is_refused(max_length, width):
    with pytest.raises(ValueError, match="is 0, but must be at least 1"):
        find(WILLING, max_length, num_hypotheses=width)
