"""Attention of recurrent states by hand, in loops, and by its laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers.state_attention import (
    AdditiveAttention,
    DotAttention,
    GeneralAttention,
    additive_attention,
    additive_scores,
    dot_attention,
)

# Sentence 0 ends in two padding tokens.
VALID = jnp.array([[True, True, True, False, False], [True] * 5])


def draw(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


def redrawn(module, query_dim):
    """Returns a module and parameters, none of which is zero, biases included."""
    inputs = jnp.zeros((1, 1, query_dim)), jnp.zeros((1, 1, 4)), jnp.ones((1, 1), bool)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    rng = np.random.default_rng(0)
    return module, jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 2, jnp.float32), shapes
    )


def additive():
    return redrawn(AdditiveAttention(query_dim=4, attention_dim=6), 4)


def general():
    return redrawn(GeneralAttention(query_dim=4), 4)


def dot():
    return redrawn(DotAttention(), 4)


every_module = pytest.mark.parametrize("make", [dot, general, additive])


def test_a_dot_score_by_hand():
    # Scores 2 and 0 without scaling: e² / (e² + 1) = 0.8808.
    query = jnp.ones((1, 1, 2))
    key = jnp.array([[[1.0, 1.0], [0.0, 0.0]]])
    value = jnp.array([[[10.0], [0.0]]])
    context, weights = dot_attention(query, key, value, jnp.ones((1, 2), bool))
    np.testing.assert_allclose(weights, [[[0.8808, 0.1192]]], atol=1e-4)
    np.testing.assert_allclose(context, [[[8.808]]], atol=1e-3)


def test_general_is_dot_after_its_matrix():
    attention, variables = general()
    query, value = draw(2, 3, 4), draw(2, 5, 4, seed=1)
    context, weights = attention.apply(variables, query, value, VALID)
    kernel = variables["params"]["key"]["kernel"]  # [D, A]
    turned = jnp.einsum("BQA,DA->BQD", query, kernel)
    expected = dot_attention(turned, value, value, VALID)
    np.testing.assert_allclose(context, expected[0], atol=1e-5)
    np.testing.assert_allclose(weights, expected[1], atol=1e-5)


def test_concat_is_one_matrix_over_both_states_side_by_side():
    # Luong et al. (2015), section 3.1: v tanh(W[query; value]), here plus U's bias.
    attention, variables = additive()
    params = variables["params"]
    query, value = draw(1, 1, 4), draw(1, 3, 4, seed=1)
    both = jnp.concatenate([jnp.repeat(query, 3, axis=1), value], axis=-1)
    kernel = jnp.concatenate([params["query_kernel"], params["key"]["kernel"]])
    scores = jnp.tanh(both @ kernel + params["key"]["bias"]) @ params["vector"]
    _, weights = attention.apply(variables, query, value, jnp.ones((1, 3), bool))
    np.testing.assert_allclose(weights[0, 0], jax.nn.softmax(scores[0]), atol=1e-5)


def slow_additive(query, key, value, vector, valid):
    """Bahdanau et al. (2015), equations 5 and 6, one pair at a time."""
    contexts = np.zeros((*query.shape[:2], value.shape[-1]))
    weights = np.zeros((*query.shape[:2], key.shape[1]))
    for row, place in np.ndindex(*query.shape[:2]):
        for position in range(key.shape[1]):
            if valid[row, position]:
                energy = vector @ np.tanh(query[row, place] + key[row, position])
                weights[row, place, position] = np.exp(energy)
        weights[row, place] /= weights[row, place].sum()
        for position in range(key.shape[1]):
            contexts[row, place] += weights[row, place, position] * value[row, position]
    return contexts, weights


def test_an_additive_score_by_hand():
    # tanh(log 2) = (4 - 1) / (4 + 1) = 0.6 and tanh(0) = 0.
    query = jnp.log(jnp.array([[[1.0, 2.0]]]))
    key = jnp.log(jnp.array([[[2.0, 0.5]]]))
    scores = additive_scores(query, key, jnp.array([10.0, 7.0]))
    np.testing.assert_allclose(scores, [[[6.0]]], atol=1e-5)


def test_additive_attention_is_a_slow_loop_over_tokens():
    arrays = (
        draw(2, 3, 6),
        draw(2, 5, 6, seed=1),
        draw(2, 5, 4, seed=2),
        draw(6, seed=3),
    )
    contexts, weights = additive_attention(*arrays, VALID)
    expected = slow_additive(*map(np.float64, arrays), np.asarray(VALID))
    np.testing.assert_allclose(contexts, expected[0], atol=1e-5)
    np.testing.assert_allclose(weights, expected[1], atol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(weights[0, :, 3:], 0.0)


def test_additive_attention_to_padding_alone_is_zero_with_finite_gradients():
    @jax.jit
    def contexts(query, key, value, vector):
        valid = jnp.array([[False] * 5, [True] * 5])
        return additive_attention(query, key, value, vector, valid)[0]

    arrays = (
        draw(2, 3, 6),
        draw(2, 5, 6, seed=1),
        draw(2, 5, 4, seed=2),
        draw(6, seed=3),
    )
    outputs, pullback = jax.vjp(contexts, *arrays)
    np.testing.assert_array_equal(outputs[0], 0.0)
    for gradient in pullback(jnp.ones_like(outputs)):
        assert np.isfinite(gradient).all()


def test_the_additive_module_projects_queries_and_keys():
    attention, variables = additive()
    query, value = draw(2, 3, 4), draw(2, 5, 4, seed=1)
    outputs, weights = jax.jit(attention.apply)(variables, query, value, VALID)
    params = jax.tree.map(np.float64, variables["params"])
    keys = np.float64(value) @ params["key"]["kernel"] + params["key"]["bias"]
    contexts, expected = slow_additive(
        np.float64(query) @ params["query_kernel"],
        keys,
        np.float64(value),
        params["vector"],
        np.asarray(VALID),
    )
    np.testing.assert_allclose(outputs, contexts, atol=1e-5)
    np.testing.assert_allclose(weights, expected, atol=1e-5)


@every_module
def test_a_masked_key_has_no_influence(make):
    attention, variables = make()
    query, value = draw(2, 3, 4), draw(2, 5, 4, seed=1)
    apply = jax.jit(attention.apply)
    before, _ = apply(variables, query, value, VALID)
    after, _ = apply(variables, query, value.at[0, 3:].set(1e3), VALID)
    np.testing.assert_array_equal(before, after)


@every_module
def test_a_looker_inside_a_scan_is_one_outside(make):
    attention, variables = make()
    query, value = draw(2, 3, 4), draw(2, 5, 4, seed=1)

    def scanned(attention, query, value):
        keys, look = attention.keys(value), attention.looker()

        def one(carry, query):
            return carry, look(query[:, None], keys, value, VALID)

        return jax.lax.scan(one, None, query.swapaxes(0, 1))[1]

    contexts, weights = attention.apply(variables, query, value, method=scanned)
    outputs, expected = attention.apply(variables, query, value, VALID)
    np.testing.assert_allclose(contexts[:, :, 0].swapaxes(0, 1), outputs, atol=1e-5)
    np.testing.assert_allclose(weights[:, :, 0].swapaxes(0, 1), expected, atol=1e-5)
