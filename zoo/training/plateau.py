"""What the validations of a run have come to, and what follows from that.

Three numbers in the training state, so that they are saved with it, and a resumed run
decides as the whole one would have: when to lower the learning rate, and when to stop.
"""

from typing import Any

import jax.numpy as jnp
from flax import struct


class Plateau(struct.PyTreeNode):
    """How long nothing has got better.

    Attributes:
        best: the lowest validation loss so far, float32.
        stale: evaluations since then, int32.
        scale: what the learning rate is multiplied with, float32.
    """

    best: Any
    stale: Any
    scale: Any


def no_plateau() -> Plateau:
    """Returns what is known before the first evaluation."""
    return Plateau(
        jnp.full((), jnp.inf, jnp.float32), jnp.zeros((), jnp.int32), jnp.ones(())
    )


def judged(
    plateau: Plateau, loss: float, *, patience: int = 1, factor: float = 1.0
) -> Plateau:
    """Returns what is known after one more evaluation; NaN is no better loss.

    Args:
        patience: every so many evaluations in a row without a better loss, the learning
            rate is lowered.
        factor: to this fraction of what it was; 1 leaves it alone.
    """
    better = loss < plateau.best
    stale = jnp.where(better, 0, plateau.stale + 1)
    lower = (stale > 0) & (stale % patience == 0)
    return Plateau(
        best=jnp.where(better, jnp.float32(loss), plateau.best),
        stale=stale,
        scale=jnp.where(lower, plateau.scale * factor, plateau.scale),
    )
