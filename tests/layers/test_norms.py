"""RMSNorm by hand, by its law, and against Flax's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers.norms import RMSNorm, rms_norm

INPUTS = jax.random.normal(jax.random.key(0), (2, 5, 8)) + 1.0
SCALE = jnp.linspace(-1.0, 2.0, 8)


def test_two_features_by_hand():
    # The mean square of 1 and 7 is 25.
    outputs = rms_norm(jnp.array([[1.0, 7.0]]), jnp.array([5.0, 10.0]))
    np.testing.assert_allclose(outputs, [[1.0, 14.0]], atol=1e-5)


def test_the_epsilon_stands_under_the_root():
    # 24 + 25 = 49
    outputs = rms_norm(jnp.array([1.0, 7.0]), jnp.ones(2), epsilon=24.0)
    np.testing.assert_allclose(outputs, [1 / 7, 1.0], atol=1e-6)


def test_the_size_of_the_inputs_does_not_matter():
    np.testing.assert_allclose(
        rms_norm(1000.0 * INPUTS, SCALE), rms_norm(INPUTS, SCALE), atol=1e-5
    )


@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_it_is_flax_with_the_same_parameters(epsilon):
    variables = {"params": {"scale": SCALE}}
    np.testing.assert_allclose(
        RMSNorm(epsilon).apply(variables, INPUTS),
        nn.RMSNorm(epsilon).apply(variables, INPUTS),
        atol=1e-6,
    )


def test_it_begins_as_flax_does():
    ours, theirs = (
        module.init(jax.random.key(0), INPUTS) for module in (RMSNorm(), nn.RMSNorm())
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_its_statistics_are_float32_and_its_outputs_are_not():
    # 2100² is beyond the range of float16. The mean square is 1500².
    inputs = jnp.array([300.0, 2100.0], jnp.float16)
    outputs = rms_norm(inputs, jnp.ones(2))
    assert outputs.dtype == jnp.float16
    np.testing.assert_allclose(outputs, [0.2, 1.4], rtol=1e-3)
