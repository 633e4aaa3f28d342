"""Embeddings: a table that turns tokens into vectors, and features into logits.

Tying is a matter of who shares a table. One table for the target embedding and the
output projection is tying two ways (Press and Wolf 2017); the same table for the source
as well is tying three ways, which needs a joint vocabulary (Vaswani et al. 2017, 3.4).
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Output = tuple[Float[Array, "V D"], Float[Array, " V"] | None]


def rows(
    table: Float[Array, "V D"], index: Int[Array, "*axes"]
) -> Float[Array, "*axes D"]:
    """Returns rows of a table, whose gradient is summed in float32.

    A row that is used often would stop learning in bfloat16, where 256 + 1 is 256.
    """
    return table.astype(jnp.float32)[index].astype(table.dtype)


def embed(
    table: Float[Array, "V D"], tokens: Int[Array, "*axes"]
) -> Float[Array, "*axes D"]:
    """Returns the rows of the table, times √D as in Vaswani et al. (2017), 3.4.

    The table is drawn from N(0, 1/D), so that its products with features of variance
    one are logits of variance one; the factor brings the embeddings to that variance.
    """
    return rows(table, tokens) * jnp.sqrt(table.shape[-1]).astype(table.dtype)


def tied_logits(
    table: Float[Array, "V D"], features: Float[Array, "*axes D"]
) -> Float[Array, "*axes V"]:
    """Scores every token of the vocabulary by its product with the features."""
    return jnp.einsum("...D,VD->...V", features, table)


class Embedding(nn.Module):
    """A table of V vectors, used to embed tokens and, where tied, to score them.

    >>> import jax
    >>> arguments = jax.random.key(0), jnp.array([[5, 6, 2]])
    >>> jax.eval_shape(Embedding(100, 8).init_with_output, *arguments)[0].shape
    (1, 3, 8)
    """

    vocab_size: int
    model_dim: int

    def setup(self):
        self.table = self.param(
            "table",
            nn.initializers.normal(self.model_dim**-0.5),
            (self.vocab_size, self.model_dim),
        )

    def __call__(self, tokens: Int[Array, "*axes"]) -> Float[Array, "*axes D"]:
        """Embeds the tokens."""
        return embed(self.table, tokens)

    def logits(self, features: Float[Array, "*axes D"]) -> Float[Array, "*axes V"]:
        """Scores the vocabulary with the same table."""
        return tied_logits(self.table, features)

    def output(self) -> Output:
        """Returns the matrix and the bias of `logits`."""
        return self.table, None


class BiasedEmbedding(Embedding):
    """A table that embeds and scores, and a bias for the scores, zeros at first.

    >>> import jax
    >>> arguments = jax.random.key(0), jnp.array([[5, 6, 2]])
    >>> sorted(jax.eval_shape(BiasedEmbedding(100, 8).init, *arguments)["params"])
    ['bias', 'table']
    """

    def setup(self):
        super().setup()
        self.bias = self.param("bias", nn.initializers.zeros, (self.vocab_size,))

    def logits(self, features: Float[Array, "*axes D"]) -> Float[Array, "*axes V"]:
        """Scores the vocabulary with the same table and the bias."""
        return super().logits(features) + self.bias

    def output(self) -> Output:
        """Returns the matrix and the bias of `logits`."""
        return self.table, self.bias


class UnscaledEmbedding(BiasedEmbedding):
    """As BiasedEmbedding, but what it embeds is not multiplied by √D.

    >>> params = {"table": jnp.eye(4), "bias": jnp.zeros(4)}
    >>> UnscaledEmbedding(4, 4).apply({"params": params}, jnp.array([2])).tolist()
    [[0.0, 0.0, 1.0, 0.0]]
    """

    def __call__(self, tokens: Int[Array, "*axes"]) -> Float[Array, "*axes D"]:
        """Embeds the tokens."""
        return rows(self.table, tokens)


class UntiedEmbedding(Embedding):
    """A table that embeds and another one that scores.

    >>> import jax
    >>> arguments = jax.random.key(0), jnp.array([[5, 6, 2]])
    >>> sorted(jax.eval_shape(UntiedEmbedding(100, 8).init, *arguments)["params"])
    ['output', 'table']
    """

    def setup(self):
        super().setup()
        self.output_table = self.param(
            "output",
            nn.initializers.normal(self.model_dim**-0.5),
            (self.vocab_size, self.model_dim),
        )

    def logits(self, features: Float[Array, "*axes D"]) -> Float[Array, "*axes V"]:
        """Scores the vocabulary with a table of its own."""
        return tied_logits(self.output_table, features)

    def output(self) -> Output:
        """Returns the matrix and the bias of `logits`."""
        return self.output_table, None
