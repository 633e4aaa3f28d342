"""Attention whose queries have more heads than the keys and values.

Step-by-step decoding reads the whole cache of keys and values for every token, so its
size sets the pace. Shazeer (2019), "Fast Transformer Decoding", keeps one head of keys
and values for all heads of queries; Ainslie et al. (2023), "GQA", keep one for each
group of them. The letter N is for the heads of the keys, M for the queries of a group.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from zoo.layers.attention import MultiHeadAttention, masked_softmax


def grouped_weights(
    query: Float[Array, "B Q H E"],
    key: Float[Array, "B K N E"],
    mask: Bool[Array, "#B #H #Q #K"] | None = None,
    bias: Float[Array, "#B #H #Q #K"] | None = None,
) -> Float[Array, "B H Q K"]:
    """Returns how much each query of H heads looks at each key of N heads.

    Ainslie et al. (2023), section 2.2: the first H/N heads of the query look at the
    first head of the keys, and so on.

    Args:
        mask: True where a query may look at a key. None allows every pair.
        bias: added to the scaled scores.

    Raises:
        ValueError: N does not divide H.
    """
    num_heads, head_dim = query.shape[2:]
    num_key_heads = key.shape[2]
    if num_heads % num_key_heads:
        raise ValueError(
            f"{num_heads} heads of queries cannot share {num_key_heads} heads of keys "
            "in groups of one size"
        )
    query = query / jnp.sqrt(head_dim).astype(query.dtype)
    groups = query.reshape(*query.shape[:2], num_key_heads, -1, head_dim)
    scores = jnp.einsum(
        "BQNME,BKNE->BNMQK", groups, key, preferred_element_type=jnp.float32
    )
    if bias is not None:
        scores = scores + _split_heads(bias, num_key_heads)
    if mask is not None:
        mask = _split_heads(mask, num_key_heads)
    weights = masked_softmax(scores, mask).astype(query.dtype)
    return weights.reshape(len(weights), num_heads, *weights.shape[3:])  # [B, H, Q, K]


def grouped_sum(
    weights: Float[Array, "B H Q K"], value: Float[Array, "B K N E"]
) -> Float[Array, "B Q H E"]:
    """Returns the contexts: for each query and head, the values of its group mixed."""
    groups = _split_heads(weights, value.shape[2])
    context = jnp.einsum("BNMQK,BKNE->BQNME", groups, value)
    return context.reshape(*context.shape[:2], -1, value.shape[3])  # [B, Q, H, E]


def grouped_attention(
    query: Float[Array, "B Q H E"],
    key: Float[Array, "B K N E"],
    value: Float[Array, "B K N E"],
    mask: Bool[Array, "#B #H #Q #K"] | None = None,
    bias: Float[Array, "#B #H #Q #K"] | None = None,
) -> Float[Array, "B Q H E"]:
    """Returns the contexts of H heads that share N heads of keys and values.

    N = H is ordinary attention, N = 1 multi-query attention. Nothing is repeated in
    memory.

    Args:
        mask: True where a query may look at a key. None allows every pair.
        bias: added to the scaled scores.

    Raises:
        ValueError: N does not divide H.
    """
    return grouped_sum(grouped_weights(query, key, mask, bias), value)


class GroupedQueryAttention(MultiHeadAttention, kw_only=True):
    """Attention of H heads over N heads of keys and values (Ainslie et al. 2023).

    In a Transformer the memory of a source and the caches of decoding have N heads.

    >>> import jax
    >>> attention = GroupedQueryAttention(model_dim=8, num_heads=4, num_kv_heads=2)
    >>> arguments = jax.random.key(0), jnp.ones((1, 3, 8)), jnp.ones((1, 5, 8))
    >>> params = jax.eval_shape(attention.init, *arguments)["params"]
    >>> params["query"]["kernel"].shape, params["key"]["kernel"].shape  # [D, H or N, E]
    ((8, 4, 2), (8, 2, 2))

    Attributes:
        num_kv_heads: N, which divides the number of heads.
    """

    num_kv_heads: int

    @nn.nowrap
    def num_key_heads(self) -> int:
        return self.num_kv_heads

    def mix(self, query, key, value, mask, bias, *, deterministic):
        weights = grouped_weights(query, key, mask, bias)
        self.sow("intermediates", "weights", weights)
        weights = self.drop(weights, deterministic=deterministic)
        return grouped_sum(weights, value)


def _split_heads(pairs: Array, num_key_heads: int) -> Array:
    """Returns [B, N, M, Q, K] for [B, H, Q, K], and [B, 1, 1, Q, K] where H is 1."""
    batch, num_heads, *rest = pairs.shape
    if num_heads == 1:
        return pairs[:, None]
    return pairs.reshape(batch, num_key_heads, -1, *rest)
