"""Attention: a soft dictionary, looked up by similarity.

A query is compared with every key, a softmax turns the scores into weights, and the
weighted sum of the values is the answer, the context. The scores are additive
(Bahdanau, Cho and Bengio 2015, section 3.1) or scaled dot products (Vaswani et al.
2017, sections 3.2.1 and 3.2.2), alone or with several heads.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from zoo.layers.dropout import Dropout


def masked_softmax(
    scores: Float[Array, "*axes K"], mask: Bool[Array, "*#axes #K"] | None
) -> Float[Array, "*axes K"]:
    """Returns a distribution over the keys that may be seen, or zeros if none may.

    The softmax is computed in float32. Zeros for a query that sees nothing keep padding
    out of its context, and its gradients finite.

    Args:
        mask: True where a query may look at a key. None allows every pair.
    """
    dtype = scores.dtype
    scores = scores.astype(jnp.float32)
    if mask is None:
        return jax.nn.softmax(scores).astype(dtype)
    hidden = jnp.finfo(jnp.float32).min
    weights = jax.nn.softmax(jnp.where(mask, scores, hidden))
    return jnp.where(mask, weights, 0.0).astype(dtype)


def attention_weights(
    query: Float[Array, "B Q H E"],
    key: Float[Array, "B K H E"],
    mask: Bool[Array, "#B #H #Q #K"] | None = None,
) -> Float[Array, "B H Q K"]:
    """Returns softmax(query · key / √E): how much each query looks at each key.

    Vaswani et al. (2017), equation 1. Every row sums to one, or is all zeros where the
    mask hides every key.

    Args:
        mask: True where a query may look at a key. None allows every pair.
    """
    query = query / jnp.sqrt(query.shape[-1]).astype(query.dtype)
    scores = jnp.einsum(
        "BQHE,BKHE->BHQK", query, key, preferred_element_type=jnp.float32
    )
    return masked_softmax(scores, mask).astype(query.dtype)


def weighted_sum(
    weights: Float[Array, "B H Q K"], value: Float[Array, "B K H E"]
) -> Float[Array, "B Q H E"]:
    """Returns the contexts: for each query and head, the values mixed by weight."""
    return jnp.einsum("BHQK,BKHE->BQHE", weights, value)


def additive_scores(
    query: Float[Array, "B Q A"],
    key: Float[Array, "B K A"],
    vector: Float[Array, " A"],
) -> Float[Array, "B Q K"]:
    """Returns vᵀ tanh(query + key) for projected queries and keys of width A.

    Bahdanau et al. (2015), appendix A.1.2; the keys U·h are projected once a sentence,
    the query W·s at every step.
    """
    return jnp.tanh(query[:, :, None, :] + key[:, None, :, :]) @ vector


def additive_attention(
    query: Float[Array, "B Q A"],
    key: Float[Array, "B K A"],
    value: Float[Array, "B K D"],
    vector: Float[Array, " A"],
    valid: Bool[Array, "B K"],
) -> tuple[Float[Array, "B Q D"], Float[Array, "B Q K"]]:
    """Returns the context of every query, and the weights that made it.

    Bahdanau et al. (2015), equations 5 and 6.

    Args:
        valid: True where a key is a token, False where it is padding.
    """
    weights = masked_softmax(additive_scores(query, key, vector), valid[:, None, :])
    return jnp.einsum("BQK,BKD->BQD", weights, value), weights


class AdditiveAttention(nn.Module):
    """Bahdanau's attention with its parameters W, U and v.

    `keys` projects what is looked at, once; `looker` gives the function of arrays that
    lets queries look at it, also inside `jax.lax.scan`; a call does both.
    """

    query_dim: int
    attention_dim: int

    def setup(self):
        self.query_kernel = self.param(
            "query_kernel",
            nn.initializers.xavier_uniform(),
            (self.query_dim, self.attention_dim),
        )
        self.key = nn.Dense(
            self.attention_dim, kernel_init=nn.initializers.xavier_uniform()
        )
        self.vector = self.param(
            "vector",
            nn.initializers.normal(self.attention_dim**-0.5),
            (self.attention_dim,),
        )

    def __call__(
        self,
        query: Float[Array, "B Q P"],
        value: Float[Array, "B K D"],
        valid: Bool[Array, "B K"],
    ) -> tuple[Float[Array, "B Q M"], Float[Array, "B Q K"]]:
        """Returns [context; query], M = D + P wide, and the distribution over keys."""
        context, weights = self.looker()(query, self.keys(value), value, valid)
        return jnp.concatenate([context, query], axis=-1), weights

    def keys(self, value: Float[Array, "B K D"]) -> Float[Array, "B K A"]:
        """Projects what will be looked at to keys."""
        return self.key(value)

    def looker(self) -> Callable[[Array, Array, Array, Array], tuple[Array, Array]]:
        """Returns (query, key, value, valid) -> (context, weights), arrays only."""
        kernel, vector = self.query_kernel, self.vector

        def look(query, key, value, valid):
            return additive_attention(query @ kernel, key, value, vector, valid)

        return look


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention in H subspaces (Vaswani et al. 2017, 3.2.2).

    Parameters have the names and shapes of `flax.linen.MultiHeadDotProductAttention`.
    The weights are sown as "weights" into the collection "intermediates".
    """

    model_dim: int
    num_heads: int
    dropout_rate: float = 0.0

    def setup(self):
        if self.model_dim % self.num_heads:
            raise ValueError(
                f"model_dim {self.model_dim} is not a multiple of num_heads "
                f"{self.num_heads}"
            )
        heads = (self.num_heads, self.model_dim // self.num_heads)
        xavier = nn.initializers.xavier_uniform()
        self.query = nn.DenseGeneral(heads, kernel_init=xavier)
        self.key = nn.DenseGeneral(heads, kernel_init=xavier)
        self.value = nn.DenseGeneral(heads, kernel_init=xavier)
        self.out = nn.DenseGeneral(self.model_dim, axis=(-2, -1), kernel_init=xavier)
        self.drop = Dropout(self.dropout_rate)

    def __call__(
        self,
        queries: Float[Array, "B Q D"],
        memory: Float[Array, "B K D"],
        mask: Bool[Array, "#B #H #Q #K"] | None = None,
        *,
        deterministic: bool = True,
    ) -> Float[Array, "B Q D"]:
        """Lets each query look at the memory; self-attention when both are the same."""
        key, value = self.keys_values(memory)
        return self.attend(queries, key, value, mask, deterministic=deterministic)

    def keys_values(
        self, memory: Float[Array, "*axes D"]
    ) -> tuple[Float[Array, "*axes H E"], Float[Array, "*axes H E"]]:
        """Projects the memory to keys and values, which a caller may keep."""
        return self.key(memory), self.value(memory)

    def attend(
        self,
        queries: Float[Array, "B Q D"],
        key: Float[Array, "B K H E"],
        value: Float[Array, "B K H E"],
        mask: Bool[Array, "#B #H #Q #K"] | None = None,
        *,
        deterministic: bool = True,
    ) -> Float[Array, "B Q D"]:
        """Lets each query look at keys and values that are already projected."""
        weights = attention_weights(self.query(queries), key, mask)
        self.sow("intermediates", "weights", weights)
        weights = self.drop(weights, deterministic=deterministic)
        return self.out(weighted_sum(weights, value))
