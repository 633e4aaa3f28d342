"""Masks: which query may look at which key.

A mask is boolean, True = may look, with four axes [B, H, Q, K] of which any may be 1;
masks are combined with `&`. Attention gives a query that may look at nothing a context
of zeros, so a mask never has to be repaired for rows that are all padding.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool


def padding_mask(valid: Bool[Array, "B K"]) -> Bool[Array, "B 1 1 K"]:
    """Lets every query look at the keys that are real tokens.

    Args:
        valid: True where a key is a token, False where it is padding.
    """
    return valid[:, None, None, :]


def causal_mask(length: int) -> Bool[Array, "1 1 Q K"]:
    """Lets query t look at the keys 0 … t (Vaswani et al. 2017, section 3.2.3)."""
    positions = jnp.arange(length)
    return (positions[:, None] >= positions[None, :])[None, None]
