"""Dropout: its rate, its mean, its randomness.

Bounds on counts are five standard deviations of the binomial distribution, which chance
alone would break once in a million keys; the keys are fixed, so no run differs.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers.dropout import Dropout, dropout, hashed_bits, scrambled

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


def test_survivors_are_scaled_to_keep_the_mean():
    inputs = jax.random.normal(jax.random.key(1), (50, 40))
    outputs = np.asarray(dropout(KEY, inputs, 0.1))
    expected = np.where(outputs == 0.0, 0.0, inputs / 0.9)
    np.testing.assert_allclose(outputs, expected, rtol=1e-6)
    assert (outputs == 0.0).any()


def correlations(first, second):
    """The correlation of two rows of coins, in standard deviations of chance."""
    signs = 2.0 * np.asarray(first, np.float64) - 1.0
    others = 2.0 * np.asarray(second, np.float64) - 1.0
    return (signs * others).sum() / np.sqrt(signs.size)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_steps_of_a_run_and_its_layers_draw_independently(rate):
    # 96 keys as a run makes them: folded in for the step, split for the layer.
    steps = [jax.random.fold_in(KEY, step) for step in range(24)]
    keys = jnp.stack([jax.random.split(key, 4) for key in steps]).reshape(-1)
    draw = jax.jit(jax.vmap(lambda key: dropout(key, jnp.ones((64, 64)), rate)))
    masks = (np.asarray(draw(keys)) != 0.0).reshape(len(keys), -1)
    centred = (masks - (1 - rate)) / np.sqrt(rate * (1 - rate))
    product = centred @ centred.T / np.sqrt(masks.shape[1])
    off_diagonal = product[~np.eye(len(keys), dtype=bool)]
    assert np.abs(off_diagonal).max() < 5
    assert abs(off_diagonal.std() - 1) < 0.1
    # Over the draws, no position is kept more often than another.
    kept_by_position = masks.sum(axis=0)
    deviation = np.sqrt(len(keys) * rate * (1 - rate))
    excess = (kept_by_position - len(keys) * (1 - rate)) / deviation
    assert np.abs(excess).max() < 5.5
    assert abs(excess.std() - 1) < 0.1


@pytest.mark.parametrize("lag", [1, 2, 3, 64, 255, 256, 257, 4096, 65536])
def test_elements_at_a_distance_are_independent(lag):
    flat = kept(0.5, (2, 256, 1024)).reshape(-1)
    assert abs(correlations(flat[:-lag], flat[lag:])) < 5


def test_every_bit_is_a_fair_coin_and_none_follows_another():
    words = np.asarray(hashed_bits(KEY, (1 << 16,)))
    bits = (words[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    signs = 2.0 * bits - 1.0
    assert np.abs(signs.sum(axis=0)).max() / 256 < 5
    product = signs.T @ signs / 256
    assert np.abs(product[~np.eye(32, dtype=bool)]).max() < 5


def test_numbers_fill_their_range_evenly():
    # Chi-squared of 1,024 cells with 128 numbers each: mean 1,023, deviation 45.
    numbers = np.asarray(hashed_bits(jax.random.key(5), (1 << 17,)))
    counts = np.bincount(numbers >> 22, minlength=1024)
    assert abs(((counts - 128) ** 2 / 128).sum() - 1023) < 5 * 45


def test_one_changed_bit_of_an_index_changes_half_of_the_number():
    index = jnp.arange(1 << 14, dtype=jnp.uint32)
    for bit in range(32):
        changed = scrambled(index) ^ scrambled(index ^ jnp.uint32(1 << bit))
        share = np.unpackbits(np.asarray(changed).view(np.uint8)).mean()
        assert abs(share - 0.5) < 0.02, bit


def test_a_shard_draws_what_the_whole_would():
    whole = kept(0.5, (8, 16, 6))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.NamedSharding(mesh, jax.P("data"))
    draw = jax.jit(partial(dropout, KEY, rate=0.5), out_shardings=rows)
    ones = jax.device_put(jnp.ones((8, 16, 6)), rows)
    np.testing.assert_array_equal(np.asarray(draw(ones)) != 0.0, whole)
    text = draw.lower(ones).compile().as_text()
    assert not any(word in text for word in ("all-gather", "all-to-all", "permute"))


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
