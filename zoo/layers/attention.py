"""Attention: a soft dictionary, looked up by similarity.

A query is compared with every key, a softmax turns the scores into weights, and the
weighted sum of the values is the answer, the context. Here the scores are scaled dot
products, alone or with several heads: Vaswani et al. (2017), "Attention Is All You
Need", sections 3.2.1 and 3.2.2.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from zoo.layers.dropout import Dropout

Rotation = Callable[[Array, Array], Array]


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
    bias: Float[Array, "#B #H #Q #K"] | None = None,
) -> Float[Array, "B H Q K"]:
    """Returns softmax(query · key / √E + bias): how much each query looks at each key.

    Vaswani et al. (2017), equation 1. Every row sums to one, or is all zeros where the
    mask hides every key.

    Args:
        mask: True where a query may look at a key. None allows every pair.
        bias: what the positions of a query and a key say; see `zoo.layers.positions`.
    """
    query = query / jnp.sqrt(query.shape[-1]).astype(query.dtype)
    scores = jnp.einsum(
        "BQHE,BKHE->BHQK", query, key, preferred_element_type=jnp.float32
    )
    if bias is not None:
        scores = scores + bias
    return masked_softmax(scores, mask).astype(query.dtype)


def weighted_sum(
    weights: Float[Array, "B H Q K"], value: Float[Array, "B K H E"]
) -> Float[Array, "B Q H E"]:
    """Returns the contexts: for each query and head, the values mixed by weight."""
    return jnp.einsum("BHQK,BKHE->BHQE", weights, value).swapaxes(1, 2)


def unrotated(heads: Array, positions: Array) -> Array:
    """Returns queries or keys as they are, wherever they stand."""
    return heads


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention in H subspaces (Vaswani et al. 2017, 3.2.2).

    Parameters have the names and shapes of `flax.linen.MultiHeadDotProductAttention`.
    The weights are sown as "weights" into the collection "intermediates". To mix
    the values otherwise, replace `mix`. Keys and values have N heads, which here is H.

    >>> attention = MultiHeadAttention(model_dim=8, num_heads=2)
    >>> arguments = jax.random.key(0), jnp.ones((1, 3, 8)), jnp.ones((1, 5, 8))
    >>> jax.eval_shape(attention.init_with_output, *arguments)[0].shape  # [B, Q, D]
    (1, 3, 8)

    Attributes:
        rotate: turns queries and keys, [..., H, E], by their positions, [...]; done
            where positions are given.
        head_dim: of a head; None shares the width of the model out.

    Raises:
        ValueError: at `init` or `apply`, if the width cannot be shared out.
    """

    model_dim: int
    num_heads: int
    dropout_rate: float = 0.0
    rotate: Rotation = unrotated
    head_dim: int | None = None
    use_bias: bool = True

    def setup(self):
        if self.head_dim is None and self.model_dim % self.num_heads:
            raise ValueError(
                f"model_dim {self.model_dim} is not a multiple of num_heads "
                f"{self.num_heads}"
            )
        heads = (self.num_heads, self.head_dim or self.model_dim // self.num_heads)
        linear = partial(
            nn.DenseGeneral,
            kernel_init=nn.initializers.xavier_uniform(),
            use_bias=self.use_bias,
        )
        key_heads = (self.num_key_heads(), heads[1])
        self.query = linear(heads)
        self.key = linear(key_heads)
        self.value = linear(key_heads)
        self.out = linear(self.model_dim, axis=(-2, -1))
        self.drop = Dropout(self.dropout_rate)

    @nn.nowrap
    def num_key_heads(self) -> int:
        """Returns how many heads keys and values have."""
        return self.num_heads

    def __call__(
        self,
        queries: Float[Array, "B Q D"],
        memory: Float[Array, "B K D"],
        mask: Bool[Array, "#B #H #Q #K"] | None = None,
        bias: Float[Array, "#B #H #Q #K"] | None = None,
        *,
        positions: Int[Array, "#B K"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "B Q D"]:
        """Lets each query look at the memory; self-attention when both are the same.

        Args:
            positions: of the queries and the memory, in self-attention.
        """
        key, value = self.keys_values(memory, positions=positions)
        return self.attend(
            queries,
            key,
            value,
            mask,
            bias,
            positions=positions,
            deterministic=deterministic,
        )

    def keys_values(
        self,
        memory: Float[Array, "*axes D"],
        *,
        positions: Int[Array, "*#axes"] | None = None,
    ) -> tuple[Float[Array, "*axes N E"], Float[Array, "*axes N E"]]:
        """Projects the memory to keys and values, which a caller may keep."""
        return self._rotate(self.key(memory), positions), self.value(memory)

    def attend(
        self,
        queries: Float[Array, "B Q D"],
        key: Float[Array, "B K N E"],
        value: Float[Array, "B K N E"],
        mask: Bool[Array, "#B #H #Q #K"] | None = None,
        bias: Float[Array, "#B #H #Q #K"] | None = None,
        *,
        positions: Int[Array, "#B #Q"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "B Q D"]:
        """Lets each query look at keys and values that are already projected."""
        query = self._rotate(self.query(queries), positions)
        context = self.mix(query, key, value, mask, bias, deterministic=deterministic)
        return self.out(context)

    def mix(
        self,
        query: Float[Array, "B Q H E"],
        key: Float[Array, "B K N E"],
        value: Float[Array, "B K N E"],
        mask: Bool[Array, "#B #H #Q #K"] | None,
        bias: Float[Array, "#B #H #Q #K"] | None,
        *,
        deterministic: bool,
    ) -> Float[Array, "B Q H E"]:
        """Returns the contexts of queries that are projected too."""
        weights = attention_weights(query, key, mask, bias)
        self.sow("intermediates", "weights", weights)
        weights = self.drop(weights, deterministic=deterministic)
        return weighted_sum(weights, value)

    def _rotate(self, heads, positions):
        return heads if positions is None else self.rotate(heads, positions)
