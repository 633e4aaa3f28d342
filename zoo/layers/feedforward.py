"""The feed-forward part of a block: the same small network at every position."""

from collections.abc import Callable

import flax.linen as nn
from jaxtyping import Array, Float

from zoo.layers.dropout import Dropout


class FeedForward(nn.Module):
    """Two linear maps with a nonlinearity between (Vaswani et al. 2017, section 3.3).

    Dropout inside, after the nonlinearity, is fairseq's "activation dropout"; the paper
    has none there.
    """

    model_dim: int
    mlp_dim: int
    activation: Callable = nn.relu
    dropout_rate: float = 0.0

    def setup(self):
        self.up = nn.Dense(self.mlp_dim, kernel_init=nn.initializers.xavier_uniform())
        self.down = nn.Dense(
            self.model_dim, kernel_init=nn.initializers.xavier_uniform()
        )
        self.drop = Dropout(self.dropout_rate)

    def __call__(
        self, inputs: Float[Array, "*axes D"], *, deterministic: bool = True
    ) -> Float[Array, "*axes D"]:
        """Returns W₂ · activation(W₁ · inputs + b₁) + b₂."""
        hidden = self.activation(self.up(inputs))  # [..., F]
        return self.down(self.drop(hidden, deterministic=deterministic))
