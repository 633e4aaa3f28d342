"""Attention in chunks of keys is attention, in less memory."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers.attention import attention_weights, weighted_sum
from zoo.layers.chunked_attention import chunked_attention
from zoo.layers.masks import causal_mask, padding_mask

QUERIES = KEYS = 7
# Sentence 1 ends in four padding tokens, so its last chunks are hidden.
VALID = jnp.arange(KEYS)[None] < jnp.array([[7], [3]])
CAUSAL = causal_mask(QUERIES) & padding_mask(VALID)


def draw(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


def arrays(scale=1.0):
    """Returns a query, a key and a value of 2 sentences and 3 heads of width 4."""
    shape = (2, KEYS, 3, 4)
    return scale * draw(*shape), draw(*shape, seed=1), draw(*shape, seed=2)


def whole(query, key, value, mask=None, bias=None):
    return weighted_sum(attention_weights(query, key, mask, bias), value)


@cache
def chunked(chunk_size):
    """Returns the same function for the same size, so that each is compiled once."""
    return partial(chunked_attention, chunk_size=chunk_size)


@partial(jax.jit, static_argnums=0)
def run(attend, inputs, mask, bias):
    """Returns the context, and its gradients in the inputs and the bias."""
    context, pullback = jax.vjp(
        lambda inputs, bias: attend(*inputs, mask, bias), inputs, bias
    )
    return context, pullback(draw(*context.shape, seed=9))


def assert_whole(*inputs, mask=None, bias=None, chunk_size, atol=1e-5):
    jax.tree.map(
        partial(np.testing.assert_allclose, atol=atol),
        run(chunked(chunk_size), inputs, mask, bias),
        run(whole, inputs, mask, bias),
    )


def test_two_keys_in_two_chunks_by_hand():
    # Width 4, so scores are q.k / 2 = [0, 2] and softmax([0, 2]) = [.1192, .8808].
    query = jnp.ones((1, 1, 1, 4))
    key = jnp.stack([jnp.zeros(4), jnp.ones(4)])[None, :, None]
    value = jnp.array([[1.0, 0, 0, 0], [0, 2.0, 0, 0]])[None, :, None]
    context = chunked(1)(query, key, value)
    np.testing.assert_allclose(context[0, 0, 0], [0.1192, 1.7616, 0, 0], atol=1e-4)


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 100])
def test_chunked_is_whole_with_its_gradients(chunk_size):
    assert_whole(*arrays(), mask=CAUSAL, chunk_size=chunk_size)


@pytest.mark.parametrize("mask", [None, padding_mask(VALID)], ids=["none", "padding"])
def test_without_causality_too_chunked_is_whole(mask):
    assert_whole(*arrays(), mask=mask, chunk_size=3)


@pytest.mark.parametrize("shape", [(2, 1, 7, 1), (1, 3, 1, 7), (2, 3, 7, 7)], ids=str)
def test_mask_and_bias_broadcast_over_any_axis(shape):
    mask, bias = draw(*shape, seed=3) > -0.5, draw(*shape, seed=4)
    assert_whole(*arrays(), mask=mask, bias=bias, chunk_size=3)


@pytest.mark.parametrize("order", [1, -1], ids=["rising", "falling"])
def test_scores_beyond_the_range_of_exp_are_no_trouble(order):
    # Scores are 0, 100, … 600, and exp(600) is infinite in float32.
    key = 100.0 * jnp.arange(KEYS)[::order]
    key = jnp.broadcast_to(key[None, :, None, None], (2, KEYS, 3, 4))
    query = jnp.full((2, QUERIES, 3, 4), 0.5)
    value = draw(2, KEYS, 3, 4)
    # A query's gradient is a difference of keys; those near 600 are 6e-5 apart.
    assert_whole(query, key, value, mask=CAUSAL, chunk_size=3, atol=2e-4)


@pytest.mark.parametrize("scale", [1.0, 1e15])
def test_a_query_that_sees_nothing_has_zeros_and_finite_gradients(scale):
    mask = CAUSAL.at[:, :, 2].set(False)
    context, (gradients, _) = run(chunked(3), arrays(scale), mask, None)
    np.testing.assert_array_equal(context[:, 2], 0.0)
    for leaf in gradients:
        assert np.isfinite(leaf).all()
    np.testing.assert_array_equal(gradients[0][:, 2], 0.0)
    assert np.abs(gradients[2][:, 0]).max() > 1e-3


def test_bfloat16_is_summed_in_float32():
    # A sum of ones in bfloat16 ends at 256.
    query = jnp.zeros((1, 1, 1, 2), jnp.bfloat16)
    value = (jnp.arange(1024) >= 512)[None, :, None, None]
    value = jnp.broadcast_to(value, (1, 1024, 1, 2)).astype(jnp.bfloat16)
    context = jax.jit(chunked(2))(query, value, value)
    assert context.dtype == jnp.bfloat16
    np.testing.assert_array_equal(context, 0.5)


def test_gradients_need_less_memory_than_one_matrix_of_scores():
    array = jax.ShapeDtypeStruct((1, 2048, 1, 64), jnp.float32)

    def memory(attend):
        gradient = jax.grad(lambda *inputs: (attend(*inputs) ** 2).sum(), (0, 1, 2))
        compiled = jax.jit(gradient).lower(array, array, array).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    scores = 2048 * 2048 * 4
    assert memory(whole) > 2 * scores
    # As wide as a chunk: sums kept for each chunk would take as much as the scores.
    assert memory(chunked(64)) < scores / 1.5


def test_a_chunk_of_nothing_is_refused():
    with pytest.raises(ValueError, match="chunk_size 0 is not positive"):
        chunked(0)(*arrays())
