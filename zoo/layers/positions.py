"""Positions: how attention, which sees a set, learns that its keys have an order."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def sinusoidal_positions(
    positions: Int[Array, "*axes"], model_dim: int
) -> Float[Array, "*axes D"]:
    """Returns sines and cosines of the positions at D/2 wavelengths of 2π … 10000·2π.

    Vaswani et al. (2017), section 3.5, with the sines in the first half of the features
    and the cosines in the second, as Tensor2Tensor, fairseq and Marian have them; the
    paper interleaves them, which differs by a permutation of the features only.

    Raises:
        ValueError: `model_dim` is odd.
    """
    if model_dim % 2:
        raise ValueError(f"sinusoidal positions need an even width, not {model_dim}")
    exponents = jnp.arange(model_dim // 2, dtype=jnp.float32) * 2 / model_dim
    angles = positions[..., None] / 10_000.0**exponents
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
