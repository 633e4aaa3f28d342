"""Dropout: its rate, its mean, its randomness.

Bounds on counts are five standard deviations of the binomial distribution, which chance
alone would break once in a million keys; the keys are fixed, so no run differs.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers.dropout import Dropout, dropout

KEY = jax.random.key(0)


def kept(rate, shape, key=KEY):
    return np.asarray(dropout(key, jnp.ones(shape), rate)) != 0.0


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
def test_the_rate_is_right(rate):
    count = 200 * 500
    survivors = kept(rate, (200, 500)).sum()
    deviation = np.sqrt(count * rate * (1 - rate))
    assert abs(survivors - count * (1 - rate)) < 5 * deviation


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_mean_is_kept(rate):
    outputs = dropout(KEY, jnp.full((200, 500), 3.0), rate)
    # A survivor is 3 / (1 - rate), so the mean of 100,000 has this deviation.
    deviation = 3.0 * np.sqrt(rate / (1 - rate) / 100_000)
    assert abs(float(outputs.mean()) - 3.0) < 5 * deviation


def test_survivors_are_scaled_by_the_rate_that_is_drawn():
    # 0.9 · 65,536 = 58,982.4, of which 58,982 sixteen-bit numbers keep an element.
    inputs = jax.random.normal(jax.random.key(1), (50, 40))
    outputs = np.asarray(dropout(KEY, inputs, 0.1))
    expected = np.where(outputs == 0.0, 0.0, inputs * (65_536 / 58_982))
    np.testing.assert_allclose(outputs, expected, rtol=1e-6)
    assert (outputs == 0.0).any()


def test_neighbours_that_share_a_word_are_independent():
    pairs = kept(0.5, (200, 500)).reshape(-1, 2)
    deviation = np.sqrt(len(pairs) * 0.25 * 0.75)
    for first in (False, True):
        for second in (False, True):
            count = (pairs == [first, second]).all(axis=1).sum()
            assert abs(count - len(pairs) / 4) < 5 * deviation


@pytest.mark.parametrize("shape", [(7,), (1,), (3, 5), (2, 3, 1)])
def test_an_odd_last_axis_keeps_its_shape_and_loses_no_element(shape):
    assert kept(0.5, shape).shape == shape
    # Of 40 draws of each element, some drop it and others keep it.
    drawn = kept(0.5, (40, *shape))
    assert drawn.any(axis=0).all()
    assert not drawn.all(axis=0).any()


def test_the_same_key_drops_the_same_elements_and_another_key_others():
    first, again = kept(0.5, (50, 41)), kept(0.5, (50, 41))
    np.testing.assert_array_equal(first, again)
    other = kept(0.5, (50, 41), jax.random.key(1))
    # Two draws at ½ differ in half of 2,050 elements, up to five deviations of 23.
    assert abs((first != other).sum() - 1_025) < 113


def test_a_rate_of_zero_is_the_identity():
    inputs = jax.random.normal(KEY, (20, 11))
    np.testing.assert_array_equal(dropout(KEY, inputs, 0.0), inputs)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_a_rate_that_is_no_rate_is_refused(rate):
    with pytest.raises(ValueError, match=f"{rate} is not in"):
        dropout(KEY, jnp.ones((2, 2)), rate)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_the_dtype_is_kept(dtype):
    outputs = dropout(KEY, jnp.ones((4, 5), dtype), 0.5)
    assert outputs.dtype == dtype
    assert set(np.unique(outputs.astype(jnp.float32))) == {0.0, 2.0}


def test_what_is_dropped_has_no_gradient():
    inputs = jnp.ones((20, 11))
    gradient = jax.grad(lambda inputs: dropout(KEY, inputs, 0.5).sum())(inputs)
    np.testing.assert_array_equal(gradient, dropout(KEY, inputs, 0.5))


@pytest.mark.parametrize(
    ("rate", "deterministic"), [(0.5, True), (0.0, False), (0.0, True)]
)
def test_the_module_is_the_identity_without_a_random_stream(rate, deterministic):
    inputs = jax.random.normal(KEY, (20, 11))
    outputs = Dropout(rate).apply({}, inputs, deterministic=deterministic)
    np.testing.assert_array_equal(outputs, inputs)


def test_the_module_draws_from_its_stream():
    inputs = jnp.ones((20, 11))

    def apply(key):
        rngs = {"dropout": key}
        return Dropout(0.5).apply({}, inputs, deterministic=False, rngs=rngs)

    np.testing.assert_array_equal(apply(KEY), apply(KEY))
    assert (apply(KEY) != apply(jax.random.key(1))).any()
    assert set(np.unique(apply(KEY))) == {0.0, 2.0}
