"""Attention of a recurrent decoder: its state looks at the states of the reader.

The four ways to compare a state with an annotation: the additive score of Bahdanau, Cho
and Bengio (2015), "Neural Machine Translation by Jointly Learning to Align and
Translate", and the dot, general and concat scores of Luong, Pham and Manning (2015),
"Effective Approaches to Attention-based Neural Machine Translation", section 3.1.
Concat is the additive score under another name: W[s; h] = W₁s + W₂h.

Each module projects the annotations once a sentence and looks at them at every step.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from zoo.layers.attention import masked_softmax

Looker = Callable[[Array, Array, Array, Array], tuple[Array, Array]]


def dot_scores(
    query: Float[Array, "B Q A"], key: Float[Array, "B K A"]
) -> Float[Array, "B Q K"]:
    """Returns query · key, unscaled (Luong et al. 2015, section 3.1)."""
    return jnp.einsum("BQA,BKA->BQK", query, key)


def dot_attention(
    query: Float[Array, "B Q A"],
    key: Float[Array, "B K A"],
    value: Float[Array, "B K D"],
    valid: Bool[Array, "B K"],
) -> tuple[Float[Array, "B Q D"], Float[Array, "B Q K"]]:
    """Returns the context of every query, and the weights that made it.

    Args:
        valid: True where a key is a token, False where it is padding.
    """
    return _mix(dot_scores(query, key), value, valid)


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
    return _mix(additive_scores(query, key, vector), value, valid)


def _mix(scores, value, valid):
    weights = masked_softmax(scores, valid[:, None, :])
    return jnp.einsum("BQK,BKD->BQD", weights, value), weights


class StateAttention(nn.Module):
    """What the three modules below share: a call is `keys`, then `looker`."""

    def __call__(
        self,
        query: Float[Array, "B Q P"],
        value: Float[Array, "B K D"],
        valid: Bool[Array, "B K"],
    ) -> tuple[Float[Array, "B Q D"], Float[Array, "B Q K"]]:
        """Returns the context of every query, and the weights that made it."""
        return self.looker()(query, self.keys(value), value, valid)

    def keys(self, value: Float[Array, "B K D"]) -> Float[Array, "B K A"]:
        """Projects what will be looked at to keys."""
        raise NotImplementedError

    def looker(self) -> Looker:
        """Returns (query, key, value, valid) -> (context, weights), arrays only.

        It holds the parameters, so that it is safe inside `jax.lax.scan`.
        """
        raise NotImplementedError


class DotAttention(StateAttention):
    """Luong's dot: an annotation is its own key, and as wide as the query.

    >>> state, annotations = jnp.ones((1, 1, 8)), jnp.ones((1, 2, 8))
    >>> DotAttention().apply({}, state, annotations, jnp.array([[True, True]]))[1]
    Array([[[0.5, 0.5]]], dtype=float32)
    """

    def keys(self, value):
        return value

    def looker(self):
        return dot_attention


class GeneralAttention(StateAttention):
    """Luong's general: query · W value, with the parameter W.

    >>> import jax
    >>> attention = GeneralAttention(query_dim=6)
    >>> query, value = jnp.ones((1, 3, 6)), jnp.ones((1, 5, 8))
    >>> arguments = jax.random.key(0), query, value, jnp.ones((1, 5), bool)
    >>> context, weights = jax.eval_shape(attention.init_with_output, *arguments)[0]
    >>> context.shape, weights.shape
    ((1, 3, 8), (1, 3, 5))
    """

    query_dim: int

    def setup(self):
        xavier = nn.initializers.xavier_uniform()
        self.key = nn.Dense(self.query_dim, use_bias=False, kernel_init=xavier)

    def keys(self, value):
        return self.key(value)

    def looker(self):
        return dot_attention


class AdditiveAttention(StateAttention):
    """Bahdanau's attention, which is Luong's concat, with its parameters W, U and v.

    >>> import jax
    >>> attention = AdditiveAttention(query_dim=6, attention_dim=4)
    >>> query, value = jnp.ones((1, 3, 6)), jnp.ones((1, 5, 8))
    >>> arguments = jax.random.key(0), query, value, jnp.ones((1, 5), bool)
    >>> context, weights = jax.eval_shape(attention.init_with_output, *arguments)[0]
    >>> context.shape, weights.shape
    ((1, 3, 8), (1, 3, 5))
    """

    query_dim: int
    attention_dim: int

    def setup(self):
        xavier = nn.initializers.xavier_uniform()
        self.query_kernel = self.param(
            "query_kernel", xavier, (self.query_dim, self.attention_dim)
        )
        self.key = nn.Dense(self.attention_dim, kernel_init=xavier)
        self.vector = self.param(
            "vector",
            nn.initializers.normal(self.attention_dim**-0.5),
            (self.attention_dim,),
        )

    def keys(self, value):
        return self.key(value)

    def looker(self):
        kernel, vector = self.query_kernel, self.vector

        def look(query, key, value, valid):
            return additive_attention(query @ kernel, key, value, vector, valid)

        return look
