"""Dropout from sixteen random bits an element.

Srivastava et al. (2014), "Dropout: A Simple Way to Prevent Neural Networks from
Overfitting", in its inverted form: what survives is scaled up during training, and
nothing happens at inference. On a CPU the random bits cost as much as the arithmetic of
a small model. A float32 uniform number spends 32 bits on a decision for which 16 are
enough, so each word of the generator decides for two elements; the rate is exact to
1/65536, and the scale uses the rate that is really drawn.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def dropout(
    key: PRNGKeyArray, inputs: Float[Array, "*axes D"], rate: float
) -> Float[Array, "*axes D"]:
    """Zeroes a fraction of the elements and scales the others to keep the mean.

    Args:
        rate: probability that an element is zeroed, in [0, 1).
    """
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"dropout rate {rate} is not in [0, 1)")
    threshold = max(1, round((1.0 - rate) * 65536))
    *leading, last = inputs.shape
    words = jax.random.bits(key, (*leading, (last + 1) // 2), jnp.uint32)
    halves = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(*leading, -1)
    keep = halves[..., :last] <= jnp.uint16(threshold - 1)
    scale = jnp.asarray(65536 / threshold, inputs.dtype)
    return jnp.where(keep, inputs * scale, jnp.zeros((), inputs.dtype))


class Dropout(nn.Module):
    """Dropout under the random stream "dropout"; the identity when deterministic."""

    rate: float

    def __call__(
        self, inputs: Float[Array, "*axes D"], *, deterministic: bool
    ) -> Float[Array, "*axes D"]:
        """Returns the inputs with a fraction `rate` of the elements zeroed."""
        if deterministic or self.rate == 0.0:
            return inputs
        return dropout(self.make_rng("dropout"), inputs, self.rate)
