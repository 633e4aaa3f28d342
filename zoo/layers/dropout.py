"""Dropout whose random numbers cost less than the arithmetic around them.

Srivastava et al. (2014), "Dropout: A Simple Way to Prevent Neural Networks from
Overfitting", in its inverted form: what survives is scaled up during training, and
nothing happens at inference. With `jax.random`, whose generator is made for harder
tasks, drawing takes a third of the training step of a small model on a CPU. A decision
to drop needs no more than numbers that look independent, so here the number of an
element is a hash of its index and the key, computed where it is used and never stored.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt32


def scrambled(words: UInt32[Array, "*axes"]) -> UInt32[Array, "*axes"]:
    """Returns a permutation of the 32-bit words in which every bit depends on all.

    The finaliser of MurmurHash3 (Appleby 2011) with the shifts and multipliers that
    Wellons (2018), "Prospecting for Hash Functions", found to have less bias.
    """
    words = (words ^ (words >> 16)) * jnp.uint32(0x7FEB352D)
    words = (words ^ (words >> 15)) * jnp.uint32(0x846CA68B)
    return words ^ (words >> 16)


def hashed_bits(key: PRNGKeyArray, shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Returns 32 bits for every element, as `jax.random.bits` does, but faster.

    An element's index is scrambled twice, with half of the key added before each time.
    Not for cryptography, nor for more than 2³² elements, where the numbers repeat.
    """
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    index, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        # By axis, so that a device computes the elements that it holds, alone.
        steps = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
        index += steps * jnp.uint32(stride % 2**32)
        stride *= shape[axis]
    return scrambled(scrambled(index + first) + second)


def dropout(
    key: PRNGKeyArray, inputs: Float[Array, "*axes"], rate: float
) -> Float[Array, "*axes"]:
    """Zeroes a fraction of the elements and scales the others to keep the mean.

    Args:
        rate: probability that an element is zeroed, in [0, 1).

    Raises:
        ValueError: the rate is none.
    """
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"dropout rate {rate} is not in [0, 1)")
    last = max(1, round((1.0 - rate) * 2**32)) - 1
    keep = hashed_bits(key, inputs.shape) <= jnp.uint32(last)
    scale = jnp.asarray(1.0 / (1.0 - rate), inputs.dtype)
    return jnp.where(keep, inputs * scale, jnp.zeros((), inputs.dtype))


class Dropout(nn.Module):
    """Dropout under the random stream "dropout"; the identity when deterministic.

    >>> Dropout(rate=0.5).apply({}, jnp.ones(3), deterministic=True)
    Array([1., 1., 1.], dtype=float32)
    """

    rate: float

    def __call__(
        self, inputs: Float[Array, "*axes D"], *, deterministic: bool
    ) -> Float[Array, "*axes D"]:
        """Returns the inputs with a fraction `rate` of the elements zeroed."""
        if deterministic or self.rate == 0.0:
            return inputs
        return dropout(self.make_rng("dropout"), inputs, self.rate)
