"""The feed-forward networks in loops."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers.attention import MultiHeadAttention
from zoo.layers.blocks import EncoderBlock
from zoo.layers.feedforward import FeedForward, GatedFeedForward
from zoo.layers.norms import RMSNorm


def make(kind=FeedForward, **fields):
    network = kind(model_dim=3, mlp_dim=5, **fields)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 3)))
    rng = np.random.default_rng(0)
    return network, jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shapes
    )


def gelu(x):
    """Hendrycks and Gimpel (2016), section 2: x times P(X <= x) of a normal X."""
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def gelu_by_tanh(x):
    """Their approximation, in the same section."""
    return x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("activation", "slow"),
    [
        (nn.relu, lambda x: max(x, 0.0)),
        (nn.tanh, np.tanh),
        (partial(nn.gelu, approximate=False), gelu),
        (partial(nn.gelu, approximate=True), gelu_by_tanh),
    ],
    ids=["relu", "tanh", "exact GELU", "GELU by tanh"],
)
def test_it_is_two_linear_maps_with_a_nonlinearity_between(activation, slow):
    network, variables = make(activation=activation)
    inputs = jax.random.normal(jax.random.key(1), (2, 4, 3))
    outputs = network.apply(variables, inputs)
    up, down = (
        jax.tree.map(np.float64, variables["params"][name]) for name in ("up", "down")
    )
    for row, place in np.ndindex(2, 4):
        expected = down["bias"].copy()
        for unit in range(5):
            before = up["bias"][unit] + sum(
                inputs[row, place, feature] * up["kernel"][feature, unit]
                for feature in range(3)
            )
            expected += slow(before) * down["kernel"][unit]
        np.testing.assert_allclose(outputs[row, place], expected, atol=1e-5)


def test_it_is_relu_unless_another_is_passed_in():
    network, variables = make()
    other, _ = make(activation=nn.relu)
    inputs = jax.random.normal(jax.random.key(1), (6, 3))
    np.testing.assert_array_equal(
        network.apply(variables, inputs), other.apply(variables, inputs)
    )


def test_dropout_takes_hidden_units():
    # At this rate one unit in 65,536 survives, so only the last bias is left.
    network, variables = make(dropout_rate=0.99998)
    inputs = jax.random.normal(jax.random.key(1), (6, 3))
    outputs = network.apply(
        variables, inputs, deterministic=False, rngs={"dropout": jax.random.key(0)}
    )
    bias = variables["params"]["down"]["bias"]
    np.testing.assert_array_equal(outputs, jnp.broadcast_to(bias, outputs.shape))
    sure, plain = make()[0], network.apply(variables, inputs)
    np.testing.assert_array_equal(plain, sure.apply(variables, inputs))


@pytest.mark.parametrize(
    ("activation", "slow"),
    [(nn.sigmoid, sigmoid), (nn.silu, lambda x: x * sigmoid(x))],
    ids=["GLU", "SwiGLU"],
)
def test_gated_it_is_a_product_of_two_maps_and_a_third_on_top(activation, slow):
    network, variables = make(GatedFeedForward, activation=activation)
    inputs = jax.random.normal(jax.random.key(1), (2, 4, 3))
    outputs = network.apply(variables, inputs)
    gate, up, down = (
        np.float64(variables["params"][name].pop("kernel"))
        for name in ("gate", "up", "down")
    )
    assert not jax.tree.leaves(variables)  # no biases
    for row, place in np.ndindex(2, 4):
        expected = np.zeros(3)
        for unit in range(5):
            opened, before = (
                sum(
                    inputs[row, place, feature] * kernel[feature, unit]
                    for feature in range(3)
                )
                for kernel in (gate, up)
            )
            expected += slow(opened) * before * down[unit]
        np.testing.assert_allclose(outputs[row, place], expected, atol=1e-5)


def test_dropout_takes_hidden_units_of_the_gated_network():
    network, variables = make(
        GatedFeedForward, activation=nn.silu, dropout_rate=0.99998
    )
    inputs = jax.random.normal(jax.random.key(1), (6, 3))
    outputs = network.apply(
        variables, inputs, deterministic=False, rngs={"dropout": jax.random.key(0)}
    )
    np.testing.assert_array_equal(outputs, 0.0)
    assert np.abs(network.apply(variables, inputs)).min() > 0.0


def test_a_block_takes_the_gated_network_and_another_norm():
    block = EncoderBlock(
        attention=partial(MultiHeadAttention, model_dim=4, num_heads=2),
        feed_forward=partial(
            GatedFeedForward, model_dim=4, mlp_dim=6, activation=nn.silu
        ),
        norm=RMSNorm,
    )
    shapes = jax.eval_shape(block.init, jax.random.key(0), jnp.zeros((1, 5, 4)))
    assert set(shapes["params"]["mlp"]) == {"gate", "up", "down"}
    assert set(shapes["params"]["mlp_norm"]) == {"scale"}
