"""Norms: each position's features brought to one scale.

Layer normalisation is Flax's own `nn.LayerNorm`. Here is the norm that leaves the mean
alone, which costs less and does as well; a block takes either as its `norm`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def rms_norm(
    inputs: Float[Array, "*axes D"],
    scale: Float[Array, " D"],
    epsilon: float = 1e-6,
) -> Float[Array, "*axes D"]:
    """Returns the inputs divided by the root of their mean square, times the scale.

    Zhang and Sennrich (2019), "Root Mean Square Layer Normalization", equation 4, with
    an epsilon under the root, which the paper leaves out. Computed in float32 and
    returned in the dtype of the inputs.
    """
    features = inputs.astype(jnp.float32)
    mean_square = jnp.mean(features**2, axis=-1, keepdims=True)
    normal = features * jax.lax.rsqrt(mean_square + epsilon)
    return (normal * scale.astype(jnp.float32)).astype(inputs.dtype)


class RMSNorm(nn.Module):
    """The norm of `rms_norm` with its scale, one number a feature, ones at first.

    The parameter has the name and shape of `flax.linen.RMSNorm`'s.

    >>> params = {"scale": jnp.ones(2)}
    >>> RMSNorm().apply({"params": params}, jnp.array([3.0, 3.0])).round(4)
    Array([1., 1.], dtype=float32)
    """

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, inputs: Float[Array, "*axes D"]) -> Float[Array, "*axes D"]:
        """Returns the inputs with a root mean square of one, scaled."""
        scale = self.param("scale", nn.initializers.ones, (inputs.shape[-1],))
        return rms_norm(inputs, scale, self.epsilon)
