"""Grouped keys and values: by hand, as ordinary attention, and against JAX's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers.attention import attention_weights, weighted_sum
from zoo.layers.grouped_attention import grouped_attention

attend = jax.jit(grouped_attention)

BATCH, QUERIES, KEYS, HEADS, WIDTH = 2, 3, 5, 4, 8


def draw(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


def arrays(num_key_heads):
    """Returns a query, a key and a value."""
    key_shape = (BATCH, KEYS, num_key_heads, WIDTH)
    return (
        draw(BATCH, QUERIES, HEADS, WIDTH),
        draw(*key_shape, seed=1),
        draw(*key_shape, seed=2),
    )


@jax.jit
def repeated(query, key, value, mask=None, bias=None):
    """Ordinary attention to keys and values that are repeated for every head."""
    times = query.shape[2] // key.shape[2]
    key, value = (jnp.repeat(array, times, axis=2) for array in (key, value))
    return weighted_sum(attention_weights(query, key, mask, bias), value)


def test_heads_that_follow_each_other_form_a_group():
    # With one key, the context is its value, of the head that the query looks at.
    query, key = draw(1, 1, 4, 2), draw(1, 1, 2, 2)
    value = jnp.array([[1.0, 2.0], [3.0, 4.0]])[None, None]
    context = attend(query, key, value)
    np.testing.assert_allclose(context[0, 0], [[1, 2], [1, 2], [3, 4], [3, 4]])


def test_with_as_many_heads_of_keys_it_is_ordinary_attention():
    query, key, value = arrays(num_key_heads=HEADS)
    mask = draw(BATCH, 1, QUERIES, KEYS, seed=3) > 0.0
    np.testing.assert_allclose(
        attend(query, key, value, mask),
        weighted_sum(attention_weights(query, key, mask), value),
        atol=1e-6,
    )


@pytest.mark.parametrize("shape", [(2, 1, 1, 5), (1, 4, 3, 5), (2, 4, 1, 1)], ids=str)
def test_it_is_ordinary_attention_to_repeated_keys(shape):
    inputs = arrays(num_key_heads=2)
    mask, bias = draw(*shape, seed=3) > 0.0, draw(*shape, seed=4)
    np.testing.assert_allclose(
        attend(*inputs, mask, bias),
        repeated(*inputs, mask, bias),
        atol=1e-5,
    )


@pytest.mark.parametrize("num_key_heads", [1, 2])
def test_it_is_the_attention_of_jax(num_key_heads):
    inputs = arrays(num_key_heads)
    mask = (draw(BATCH, HEADS, QUERIES, KEYS, seed=3) > 0.0).at[..., 0].set(True)
    bias = draw(1, HEADS, QUERIES, KEYS, seed=4)
    np.testing.assert_allclose(
        attend(*inputs, mask, bias),
        jax.jit(jax.nn.dot_product_attention)(*inputs, bias=bias, mask=mask),
        atol=1e-5,
    )


def test_a_query_that_sees_nothing_has_zeros_and_finite_gradients():
    mask = jnp.ones((1, 1, QUERIES, KEYS), bool).at[:, :, 1].set(False)

    @jax.jit
    def run(inputs):
        context, pullback = jax.vjp(lambda *inputs: attend(*inputs, mask), *inputs)
        return context, pullback(jnp.ones_like(context))

    context, gradients = run(arrays(num_key_heads=2))
    np.testing.assert_array_equal(context[:, 1], 0.0)
    for leaf in gradients:
        assert np.isfinite(leaf).all()
    np.testing.assert_array_equal(gradients[0][:, 1], 0.0)
    assert np.abs(gradients[0][:, 0]).max() > 1e-3


def test_bfloat16_stays_bfloat16():
    inputs = arrays(num_key_heads=2)
    context = attend(*(array.astype(jnp.bfloat16) for array in inputs))
    assert context.dtype == jnp.bfloat16
    np.testing.assert_allclose(context.astype(jnp.float32), attend(*inputs), atol=0.03)


def test_no_key_is_repeated_in_memory():
    query, key = (
        jax.ShapeDtypeStruct(shape, jnp.float32)
        for shape in [(1, 1, 16, 64), (1, 2048, 1, 64)]
    )
    grouped, plain = (
        attention.lower(query, key, key).compile().memory_analysis()
        for attention in (attend, repeated)
    )
    keys_for_every_head = 16 * 2048 * 64 * 4
    assert plain.temp_size_in_bytes > keys_for_every_head
    assert grouped.temp_size_in_bytes < keys_for_every_head / 4


def test_heads_that_cannot_share_are_refused():
    query, key = draw(1, 1, 4, 2), draw(1, 1, 3, 2)
    with pytest.raises(ValueError, match="4 heads of queries cannot share 3 heads"):
        attend(query, key, key)
