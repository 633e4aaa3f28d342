"""Sinusoidal positions: the paper's formula, and what it was chosen for."""

import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers.positions import sinusoidal_positions


def test_width_two_by_hand():
    # One wavelength, 2π: position p is (sin p, cos p).
    positions = sinusoidal_positions(jnp.array([0, 1, 2]), 2)
    expected = [[0.0, 1.0], [0.84147, 0.54030], [0.90930, -0.41615]]
    np.testing.assert_allclose(positions, expected, atol=1e-5)


def test_the_papers_formula_once_sines_and_cosines_alternate():
    model_dim, length = 12, 40
    halves = np.asarray(sinusoidal_positions(jnp.arange(length), model_dim))
    interleaved = np.zeros_like(halves)
    interleaved[:, 0::2] = halves[:, : model_dim // 2]
    interleaved[:, 1::2] = halves[:, model_dim // 2 :]
    for position, pair in np.ndindex(length, model_dim // 2):
        angle = position / 10_000 ** (2 * pair / model_dim)
        expected = np.sin(angle), np.cos(angle)
        found = interleaved[position, 2 * pair : 2 * pair + 2]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("shift", [1, 5])
def test_a_shift_is_a_rotation_whatever_the_position(shift):
    # Vaswani et al. (2017), 3.5: PE(pos + k) is a linear function of PE(pos).
    half, length = 4, 20
    angles = shift / 10_000 ** (np.arange(half) / half)
    rotation = np.block(
        [
            [np.diag(np.cos(angles)), np.diag(np.sin(angles))],
            [-np.diag(np.sin(angles)), np.diag(np.cos(angles))],
        ]
    )
    positions = sinusoidal_positions(jnp.arange(length + shift), 2 * half)
    np.testing.assert_allclose(
        positions[shift:], positions[:length] @ rotation.T, atol=1e-5
    )
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(2 * half), atol=1e-12)


@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_positions_may_have_any_axes(shape):
    positions = jnp.arange(6).reshape(2, 3) if shape else jnp.int32(4)
    found = sinusoidal_positions(positions, 8)
    assert found.shape == (*shape, 8)
    table = sinusoidal_positions(jnp.arange(6), 8)
    np.testing.assert_allclose(found, table[positions], atol=1e-6)


def test_an_odd_width_is_refused():
    with pytest.raises(ValueError, match="even width, not 7"):
        sinusoidal_positions(jnp.arange(3), 7)
