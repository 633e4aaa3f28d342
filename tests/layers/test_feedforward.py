"""The feed-forward network in loops."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers.feedforward import FeedForward


def make(**fields):
    network = FeedForward(model_dim=3, mlp_dim=5, **fields)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 3)))
    rng = np.random.default_rng(0)
    return network, jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shapes
    )


@pytest.mark.parametrize(
    ("activation", "slow"),
    [(nn.relu, lambda x: max(x, 0.0)), (nn.tanh, np.tanh)],
    ids=["relu", "tanh"],
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
