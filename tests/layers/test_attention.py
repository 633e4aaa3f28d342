"""Attention by hand, in loops, by its laws, and against Flax's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers.attention import (
    MultiHeadAttention,
    attention_weights,
    masked_softmax,
    weighted_sum,
)

# Sentence 0 ends in two padding tokens; query 1 of sentence 1 sees nothing at all.
MASK = np.ones((2, 1, 3, 5), bool)
MASK[0, :, :, 3:] = False
MASK[1, :, 1] = False
VALID = jnp.array([[True, True, True, False, False], [True] * 5])


def draw(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


def redrawn(module, *inputs):
    """Returns parameters for a module, none of which is zero, biases included."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 2, jnp.float32), shapes
    )


def multi_head(model_dim=12, num_heads=3, dropout_rate=0.0):
    attention = MultiHeadAttention(model_dim, num_heads, dropout_rate)
    inputs = jnp.zeros((1, 1, model_dim))
    return attention, redrawn(attention, inputs, inputs)


def test_two_keys_by_hand():
    # Width 4, so scores are q.k / 2 = [2, 0] and softmax([2, 0]) = [.8808, .1192].
    query = jnp.ones((1, 1, 1, 4))
    key = jnp.stack([jnp.ones(4), jnp.zeros(4)])[None, :, None]
    weights = attention_weights(query, key)
    np.testing.assert_allclose(weights[0, 0, 0], [0.8808, 0.1192], atol=1e-4)


def test_a_context_by_hand():
    weights = jnp.array([0.25, 0.75])[None, None, None]
    value = jnp.array([[4.0, 0.0], [0.0, 8.0]])[None, :, None]
    np.testing.assert_allclose(weighted_sum(weights, value)[0, 0, 0], [1.0, 6.0])


def test_rows_sum_to_one():
    weights = attention_weights(draw(2, 3, 4, 8), draw(2, 5, 4, 8, seed=1))
    assert weights.shape == (2, 4, 3, 5)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, atol=1e-5)


def test_masked_rows_sum_to_one_or_are_zero():
    weights = attention_weights(
        draw(2, 3, 4, 8), draw(2, 5, 4, 8, seed=1), jnp.asarray(MASK)
    )
    sums = np.where(MASK.any(axis=-1), 1.0, 0.0)
    np.testing.assert_allclose(
        weights.sum(axis=-1), np.broadcast_to(sums, (2, 4, 3)), atol=1e-5
    )
    assert (np.asarray(weights)[~np.broadcast_to(MASK, weights.shape)] == 0.0).all()


def test_a_mask_renormalises_the_keys_that_are_left():
    scores = jnp.log(jnp.array([[1.0, 3.0, 4.0]]))
    weights = masked_softmax(scores, jnp.array([True, True, False])[None])
    np.testing.assert_allclose(weights, [[0.25, 0.75, 0.0]], atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e30])
def test_a_query_that_sees_nothing_has_zeros_and_no_gradient(scale):
    scores = scale * draw(2, 4)
    mask = jnp.array([[False] * 4, [True, True, False, True]])
    np.testing.assert_array_equal(masked_softmax(scores, mask)[0], 0.0)
    gradient = jax.grad(lambda scores: (masked_softmax(scores, mask) ** 2).sum())(
        scores
    )
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[0], 0.0)
    assert scale > 1.0 or np.abs(gradient[1]).max() > 1e-3


def test_through_all_heads_a_query_that_sees_nothing_keeps_gradients_finite():
    attention, variables = multi_head()
    arguments = variables, draw(2, 3, 12), draw(2, 5, 12, seed=1)

    def apply(variables, queries, memory):
        return attention.apply(variables, queries, memory, jnp.asarray(MASK))

    outputs, pullback = jax.vjp(jax.jit(apply), *arguments)
    # Its context is zero, so the output is the bias of the output projection.
    bias = variables["params"]["out"]["bias"]
    np.testing.assert_allclose(outputs[1, 1], bias, atol=1e-5)
    assert np.abs(outputs[1, 0] - bias).max() > 1e-2
    gradients = pullback(draw(*outputs.shape, seed=2))
    for leaf in jax.tree.leaves(gradients):
        assert np.isfinite(leaf).all()
    np.testing.assert_array_equal(gradients[1][1, 1], 0.0)


def test_a_masked_key_has_no_influence():
    attention, variables = multi_head()
    queries, memory = draw(2, 3, 12), draw(2, 5, 12, seed=1)

    @jax.jit
    def apply(memory):
        return attention.apply(variables, queries, memory, jnp.asarray(MASK))

    changed = memory.at[0, 3:].set(1e3)
    np.testing.assert_array_equal(apply(memory), apply(changed))
    seen = memory.at[0, 2].set(1.0)
    assert np.abs(apply(memory) - apply(seen))[0].max() > 1e-2
    gradient = jax.grad(lambda memory: (apply(memory) ** 2).sum())(memory)
    np.testing.assert_array_equal(gradient[0, 3:], 0.0)


def slow_multi_head(params, queries, memory, mask):
    """Vaswani et al. (2017), 3.2.2, one query, one head and one key at a time."""
    params, queries, memory = jax.tree.map(np.float64, (params, queries, memory))

    def project(name, vector, head):
        part = params[name]
        return vector @ part["kernel"][:, head] + part["bias"][head]

    num_heads, head_dim = params["query"]["bias"].shape
    outputs = np.zeros(queries.shape)
    for row, place in np.ndindex(*queries.shape[:2]):
        outputs[row, place] = params["out"]["bias"]
        seen = memory[row][mask[row, 0, place]]
        for head in range(num_heads) if len(seen) else ():
            query = project("query", queries[row, place], head)
            scores = [query @ project("key", vector, head) for vector in seen]
            exponentials = np.exp(np.array(scores) / np.sqrt(head_dim))
            context = sum(
                weight * project("value", vector, head)
                for weight, vector in zip(exponentials, seen, strict=True)
            )
            context = context / exponentials.sum()
            outputs[row, place] += context @ params["out"]["kernel"][head]
    return outputs


def test_several_heads_are_a_slow_loop():
    attention, variables = multi_head()
    queries, memory = draw(2, 3, 12), draw(2, 5, 12, seed=1)
    outputs = attention.apply(variables, queries, memory, jnp.asarray(MASK))
    expected = slow_multi_head(variables["params"], queries, memory, MASK)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("memory_length", [None, 5], ids=["self", "cross"])
def test_multi_head_attention_is_flax_with_the_same_parameters(memory_length, masked):
    attention, variables = multi_head()
    theirs = nn.MultiHeadDotProductAttention(num_heads=3)
    queries = draw(2, 3, 12)
    memory = draw(2, memory_length, 12, seed=1) if memory_length else queries
    shapes = jax.eval_shape(theirs.init, jax.random.key(0), queries, memory)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes)
    # Every query sees a key: Flax gives the others the mean of the values.
    seen = draw(2, 1, 3, memory.shape[1], seed=2) > 0
    mask = seen.at[..., 0].set(True) if masked else None
    np.testing.assert_allclose(
        attention.apply(variables, queries, memory, mask),
        theirs.apply(variables, queries, memory, mask=mask),
        atol=1e-5,
    )


def test_heads_may_have_masks_of_their_own():
    attention, variables = multi_head()
    queries, memory = draw(2, 3, 12), draw(2, 5, 12, seed=1)
    mask = (draw(2, 3, 3, 5, seed=2) > 0).at[..., 0].set(True)
    theirs = nn.MultiHeadDotProductAttention(num_heads=3)
    np.testing.assert_allclose(
        attention.apply(variables, queries, memory, mask),
        theirs.apply(variables, queries, memory, mask=mask),
        atol=1e-5,
    )


def test_without_positions_attention_commutes_with_permutation():
    attention, variables = multi_head()
    states, order = draw(2, 5, 12), jnp.array([3, 0, 4, 1, 2])
    np.testing.assert_allclose(
        attention.apply(variables, states[:, order], states[:, order]),
        attention.apply(variables, states, states)[:, order],
        atol=1e-5,
    )


def test_keys_and_values_may_be_kept():
    attention, variables = multi_head()
    queries, memory = draw(2, 3, 12), draw(2, 5, 12, seed=1)
    key, value = attention.apply(variables, memory, method="keys_values")
    assert key.shape == value.shape == (2, 5, 3, 4)
    mask = jnp.asarray(MASK)
    np.testing.assert_allclose(
        attention.apply(variables, queries, key, value, mask, method="attend"),
        attention.apply(variables, queries, memory, mask),
        atol=1e-6,
    )


def test_weights_are_there_for_those_who_ask():
    attention, variables = multi_head()
    queries, memory = draw(2, 3, 12), draw(2, 5, 12, seed=1)
    mask = jnp.asarray(MASK)
    silent = attention.apply(variables, queries, memory, mask)
    outputs, collections = attention.apply(
        variables, queries, memory, mask, mutable="intermediates"
    )
    np.testing.assert_array_equal(outputs, silent)
    (weights,) = collections["intermediates"]["weights"]
    params = variables["params"]
    query, key = (
        jnp.einsum("BQD,DHE->BQHE", states, params[name]["kernel"])
        + params[name]["bias"]
        for name, states in (("query", queries), ("key", memory))
    )
    np.testing.assert_allclose(weights, attention_weights(query, key, mask), atol=1e-5)


def test_dropout_takes_weights_and_leaves_those_that_are_shown():
    # At this rate one weight in 65,536 survives, so every context is zero.
    attention, variables = multi_head(dropout_rate=0.99998)
    queries, memory = draw(2, 3, 12), draw(2, 5, 12, seed=1)
    outputs, collections = attention.apply(
        variables,
        queries,
        memory,
        deterministic=False,
        mutable="intermediates",
        rngs={"dropout": jax.random.key(0)},
    )
    bias = variables["params"]["out"]["bias"]
    np.testing.assert_allclose(outputs, jnp.broadcast_to(bias, outputs.shape))
    (weights,) = collections["intermediates"]["weights"]
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, atol=1e-5)


def test_a_width_that_the_heads_cannot_share_is_refused():
    attention, inputs = MultiHeadAttention(10, 3), jnp.zeros((1, 1, 10))
    with pytest.raises(ValueError, match=r"model_dim 10 is not a multiple .* 3"):
        attention.init(jax.random.key(0), inputs, inputs)


@pytest.mark.parametrize("masked", [False, True])
def test_the_softmax_of_bfloat16_scores_is_computed_in_float32(masked):
    scores = (3 * draw(4, 300)).astype(jnp.bfloat16)
    mask = draw(4, 300, seed=1) > 0 if masked else jnp.ones((4, 300), bool)
    weights = masked_softmax(scores, mask if masked else None)
    assert weights.dtype == jnp.bfloat16
    exponentials = np.where(mask, np.exp(np.asarray(scores, np.float64)), 0.0)
    expected = exponentials / exponentials.sum(axis=-1, keepdims=True)
    # Half a unit in the last of 8 bits: all that one rounding at the end may cost.
    np.testing.assert_allclose(
        np.asarray(weights, np.float64), expected, rtol=1.001 * 2**-8
    )


def test_attention_of_bfloat16_is_that_of_float32_to_its_precision():
    query, key = draw(2, 3, 4, 8), draw(2, 5, 4, 8, seed=1)
    query, key = query.astype(jnp.bfloat16), key.astype(jnp.bfloat16)
    weights = attention_weights(query, key, jnp.asarray(MASK))
    assert weights.dtype == jnp.bfloat16
    expected = attention_weights(
        query.astype(jnp.float32), key.astype(jnp.float32), jnp.asarray(MASK)
    )
    # Scores below 4 in size are rounded by up to 4 * 2^-9, twice: query and product.
    np.testing.assert_allclose(
        weights.astype(jnp.float32), expected, rtol=4 * 2**-7, atol=0
    )
