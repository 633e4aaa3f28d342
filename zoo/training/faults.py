"""Updates that would do harm: which they are, and what a run does about many of them.

An update whose loss or gradient is not finite, or whose gradient is much longer both
than gradients have been and than what they are clipped to, is not made. The state
remembers what that takes, so that the step stays one pure function and a resumed run
judges as the whole one would have. The host looks only when it reads metrics anyway.

Gradients that stay long are no accident: where a model has come to a steep place, half
a ring of them is skipped, and from then on they are what is usual. Where more were
skipped one after the other, the parameters themselves may have gone astray: the run
goes back to its last checkpoint and leaves those batches out, a few times.

`optax.apply_if_finite` gives up in the end and applies an update of NaN.
"""

from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

NUM_NORMS = 8
MAX_RATIO = 10.0
LARGEST_NORM = 1e18  # float32 ends at 3e38
MAX_ROW = 5  # more than the half of a ring, which makes a length usual
MAX_RETURNS = 3


class Faults(struct.PyTreeNode):
    """What is known of gradients so far.

    Attributes:
        norms: of the last gradients, skipped ones too, a ring, float32 [NUM_NORMS].
        made: updates made, int32.
        skipped: updates not made, int32.
        row: how many of them came last, one after the other, int32.
        longest: the longest such row, int32.
        longest_end: the step after its last one, int32.
    """

    norms: Any
    made: Any
    skipped: Any
    row: Any
    longest: Any
    longest_end: Any


def no_faults() -> Faults:
    """Returns what is known before the first update."""
    counts = [jnp.zeros((), jnp.int32) for _ in range(5)]
    return Faults(jnp.zeros(NUM_NORMS, jnp.float32), *counts)


def is_harmless(
    faults: Faults,
    loss: Float[Array, ""],
    norm: Float[Array, ""],
    clip_norm: float = 0.0,
) -> Bool[Array, ""]:
    """Returns whether an update may be made.

    The loss must be finite, and the norm at most ten times the median of the last
    eight; before there are as many, any will do whose square is finite, as Adam needs
    it. A median below what gradients are clipped to counts as that: late in a run,
    where nearly everything is learned, the few gradients that still teach are many
    times longer than the others, and clipping bounds what they do.

    Args:
        clip_norm: to which gradients are clipped.
    """
    median = jnp.median(faults.norms)
    known = (faults.made + faults.skipped >= NUM_NORMS) & (median > 0)
    usual = ~known | (norm <= MAX_RATIO * jnp.maximum(median, clip_norm))
    return jnp.isfinite(loss) & (norm < LARGEST_NORM) & usual  # NaN is not less


def remember(
    faults: Faults,
    step: Int[Array, ""],
    norm: Float[Array, ""],
    made: Bool[Array, ""],
) -> Faults:
    """Returns what is known after one more update, which was made or skipped."""
    place = (faults.made + faults.skipped) % NUM_NORMS
    known = jnp.where(norm < LARGEST_NORM, norm, faults.norms[place])
    norms = faults.norms.at[place].set(known)
    row = jnp.where(made, 0, faults.row + 1)
    longer = row > faults.longest
    return Faults(
        norms=norms,
        made=faults.made + made,
        skipped=faults.skipped + ~made,
        row=row,
        longest=jnp.where(longer, row, faults.longest),
        longest_end=jnp.where(longer, step + 1, faults.longest_end),
    )


class TooManyFaults(Exception):
    """So many updates were skipped in a row that the run should go back.

    Attributes:
        steps: whose updates these are, and which batches to leave out.
    """

    def __init__(self, row: int, end: int):
        self.steps = range(end - row, end)
        super().__init__(f"the updates from step {end - row} to {end} were skipped")
