import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.decoding.models import Trigrams, draw_tables, make
from zoo.decoding import Ensemble, beam_search, greedy_search, score_pairs

SOURCE = jnp.array([[3, 4, 5, 2, 0, 0], [6, 7, 8, 9, 10, 2]])
INPUTS = jnp.array([[1, 5, 4, 3], [1, 10, 9, 2]])
LABELS = jnp.array([[5, 4, 3, 2], [10, 9, 2, 0]])


def score(model, params):
    return score_pairs(model, params, SOURCE, INPUTS, LABELS)


@pytest.mark.parametrize("name", ["rnn-bahdanau", "transformer-tiny"])
def test_an_ensemble_of_one_is_the_model(name):
    model, params = make(name)
    ensemble = Ensemble((model,))
    found = jax.jit(
        lambda: (
            greedy_search(model, params, SOURCE, 6),
            greedy_search(ensemble, (params,), SOURCE, 6),
            score(model, params),
            score(ensemble, (params,)),
        )
    )()
    np.testing.assert_array_equal(found[1].tokens, found[0].tokens)
    np.testing.assert_allclose(found[1].scores, found[0].scores, atol=1e-4)
    np.testing.assert_allclose(found[3], found[2], atol=1e-4)


def test_an_ensemble_takes_the_mean_of_the_probabilities():
    members = [make("rnn-gru"), make("transformer-tiny"), make("rnn-gru", seed=5)]
    models, params = zip(*members, strict=True)
    each, joint = jax.jit(
        lambda: (
            [score(*member) for member in members],
            score(Ensemble(models), params),
        )
    )()
    np.testing.assert_allclose(joint, np.log(np.mean(np.exp(each), axis=0)), atol=1e-4)


def test_two_tables_decode_as_the_table_of_their_mean():
    rows = jnp.arange(8)[:, None]
    tables = draw_tables(0, 8), draw_tables(1, 8)
    first, second = (np.exp(table) for table in tables)
    mean = first / first.sum(-1, keepdims=True) + second / second.sum(-1, keepdims=True)
    both = Ensemble((Trigrams(), Trigrams()))
    one, two = jax.jit(
        lambda: (
            beam_search(Trigrams(), jnp.log(mean / 2), rows, 6, num_hypotheses=3),
            beam_search(both, tables, rows, 6, num_hypotheses=3),
        )
    )()
    logits = both.apply(
        {"params": tables}, jax.tree.map(jnp.asarray, tables), method="logits"
    )
    np.testing.assert_allclose(np.exp(logits), mean / 2, atol=1e-6)
    np.testing.assert_array_equal(one.tokens, two.tokens)
    np.testing.assert_allclose(one.scores, two.scores, atol=1e-5)


def test_equal_ensembles_are_one_key_of_a_cache():
    model, _ = make("rnn-gru")
    assert {Ensemble((model,)): 1}[Ensemble((model,))] == 1


def test_members_that_do_not_fit_are_refused():
    model, params = make("rnn-gru")
    other = model.clone(eos_id=3)
    with pytest.raises(ValueError, match="these 2 have"):
        Ensemble((model, other))
    with pytest.raises(ValueError, match="these 0 have"):
        Ensemble(())
    both = Ensemble((model, Trigrams()))
    with pytest.raises(ValueError, match=r"vocabularies of \[6, 11\] tokens"):
        jax.eval_shape(lambda: score(both, (params, draw_tables(0, 11))))
    with pytest.raises(ValueError, match="as many trees of params, not 1"):
        jax.eval_shape(lambda: score(both, (params,)))
