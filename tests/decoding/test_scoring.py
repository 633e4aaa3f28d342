import jax
import jax.numpy as jnp
import numpy as np

from tests.decoding.models import Trigrams, draw_tables, log_prob, make
from zoo.decoding import greedy_search, score_pairs


def test_labels_score_their_log_probability_and_padding_zero():
    tables = draw_tables(0, 2)
    labels = jnp.array([[3, 4, 2, 0], [5, 2, 0, 0]])
    inputs = jnp.array([[1, 3, 4, 2], [1, 5, 2, 0]])
    scores = jax.jit(
        lambda: score_pairs(Trigrams(), tables, jnp.array([[0], [1]]), inputs, labels)
    )()
    for row, length in enumerate([3, 2]):
        sentence = labels[row, :length].tolist()
        for end in range(1, length + 1):
            expected = log_prob(tables[row], sentence[:end])
            np.testing.assert_allclose(scores[row, :end].sum(), expected, rtol=1e-5)
    np.testing.assert_array_equal(scores == 0, labels == 0)


def test_a_found_hypothesis_scores_as_a_given_pair():
    model, params = make("rnn-gru")
    source = jnp.array([[3, 4, 5, 2, 0, 0], [6, 7, 8, 9, 10, 2]])

    @jax.jit
    def search_and_score():
        found = greedy_search(model, params, source, 6, length_penalty=0.0)
        labels = found.tokens[:, 0]
        inputs = jnp.pad(labels[:, :-1], ((0, 0), (1, 0)), constant_values=1)
        return found.scores[:, 0], score_pairs(model, params, source, inputs, labels)

    found, given = search_and_score()
    np.testing.assert_allclose(given.sum(axis=1), found, atol=1e-4)
