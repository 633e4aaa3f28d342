"""The feed-forward part of a block: the same small network at every position.

Plain, with one hidden layer, or gated, where a second linear map decides how much of
each hidden unit passes. The nonlinearity is passed in. For GELU (Hendrycks and Gimpel
2016) that is `partial(nn.gelu, approximate=False)`, x times the normal distribution
function as in BERT, or `approximate=True`, the paper's formula with tanh, as in GPT-2.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
from jaxtyping import Array, Float

from zoo.layers.dropout import Dropout


class FeedForward(nn.Module):
    """Two linear maps with a nonlinearity between (Vaswani et al. 2017, section 3.3).

    Dropout inside, after the nonlinearity, is fairseq's "activation dropout"; the paper
    has none there.

    >>> import jax
    >>> layer = FeedForward(model_dim=8, mlp_dim=32)
    >>> arguments = jax.random.key(0), jax.numpy.ones((3, 8))
    >>> jax.eval_shape(layer.init_with_output, *arguments)[0].shape
    (3, 8)
    """

    model_dim: int
    mlp_dim: int
    activation: Callable = nn.relu
    dropout_rate: float = 0.0
    use_bias: bool = True

    def setup(self):
        xavier = nn.initializers.xavier_uniform()
        linear = partial(nn.Dense, kernel_init=xavier, use_bias=self.use_bias)
        self.up = linear(self.mlp_dim)
        self.down = linear(self.model_dim)
        self.drop = Dropout(self.dropout_rate)

    def __call__(
        self, inputs: Float[Array, "*axes D"], *, deterministic: bool = True
    ) -> Float[Array, "*axes D"]:
        """Returns W₂ · activation(W₁ · inputs + b₁) + b₂."""
        hidden = self.activation(self.up(inputs))  # [..., F]
        return self.down(self.drop(hidden, deterministic=deterministic))


class GatedFeedForward(nn.Module):
    """Two linear maps multiplied, one through a nonlinearity, and a third on top.

    Shazeer (2020), "GLU Variants Improve Transformer", equations 5 and 6; the
    activation makes the variant: `nn.sigmoid` is GLU, `nn.relu` ReGLU, `nn.gelu` GEGLU,
    `nn.silu` SwiGLU. No biases, as in the paper, which also takes mlp_dim a third
    smaller than in `FeedForward`, so that both have as many parameters. Dropout acts on
    the product.

    >>> import jax
    >>> layer = GatedFeedForward(model_dim=8, mlp_dim=21, activation=nn.silu)
    >>> arguments = jax.random.key(0), jax.numpy.ones((3, 8))
    >>> jax.eval_shape(layer.init_with_output, *arguments)[0].shape
    (3, 8)
    """

    model_dim: int
    mlp_dim: int
    activation: Callable
    dropout_rate: float = 0.0

    def setup(self):
        xavier = nn.initializers.xavier_uniform()
        self.gate = nn.Dense(self.mlp_dim, use_bias=False, kernel_init=xavier)
        self.up = nn.Dense(self.mlp_dim, use_bias=False, kernel_init=xavier)
        self.down = nn.Dense(self.model_dim, use_bias=False, kernel_init=xavier)
        self.drop = Dropout(self.dropout_rate)

    def __call__(
        self, inputs: Float[Array, "*axes D"], *, deterministic: bool = True
    ) -> Float[Array, "*axes D"]:
        """Returns W₂ · (activation(W₁ · inputs) ⊙ W₃ · inputs): down, gate, up."""
        hidden = self.activation(self.gate(inputs)) * self.up(inputs)  # [..., F]
        return self.down(self.drop(hidden, deterministic=deterministic))
