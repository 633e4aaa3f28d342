"""Masks: which query may look at which key.

A mask is boolean, True = may look, with four axes [B, H, Q, K] of which any may be 1;
masks are combined with `&`. Attention gives a query that may look at nothing a context
of zeros, so a mask never has to be repaired for rows that are all padding.

Several pairs may be packed into one row, each a segment of the source and one of the
target: then a query may look at the keys of its own pair.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


class Packing(NamedTuple):
    """Where the pairs of each row lie.

    Attributes:
        source_segments, target_segments: the number of the pair that a token belongs
            to, the same on both sides and counted from 1 in each row; 0 is padding.
        source_positions, target_positions: of a token in its own sentence, from 0.
    """

    source_segments: Int[Array, "B S"]
    source_positions: Int[Array, "B S"]
    target_segments: Int[Array, "B T"]
    target_positions: Int[Array, "B T"]


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


def segment_mask(
    queries: Int[Array, "B Q"], keys: Int[Array, "B K"]
) -> Bool[Array, "B 1 Q K"]:
    """Lets each query look at the keys of its own segment.

    Args:
        queries, keys: the segment that each belongs to.
    """
    return (queries[:, :, None] == keys[:, None, :])[:, None]
