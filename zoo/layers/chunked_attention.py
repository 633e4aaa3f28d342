"""Exact attention that never holds all scores at once, for long inputs.

The keys are read in chunks. A softmax needs the largest score and the sum over all
keys, and both can be kept up to date as the chunks pass by: when a larger score turns
up, the sums so far are scaled down (Milakov and Gimelshein 2018, "Online normalizer
calculation for softmax"). The backward pass computes the scores of a chunk again
instead of keeping them (Rabe and Staats 2021, "Self-attention Does Not Need O(n²)
Memory"). So memory is that of one chunk of scores, and per chunk two numbers a query.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from zoo.layers.attention import MultiHeadAttention

HIDDEN = float(jnp.finfo(jnp.float32).min)


def chunked_attention(
    query: Float[Array, "B Q H E"],
    key: Float[Array, "B K H E"],
    value: Float[Array, "B K H E"],
    mask: Bool[Array, "#B #H #Q #K"] | None = None,
    bias: Float[Array, "#B #H #Q #K"] | None = None,
    *,
    chunk_size: int,
) -> Float[Array, "B Q H E"]:
    """Returns softmax(query · key / √E + bias) · value, a chunk of keys at a time.

    The largest score so far is held constant in the gradient, on which it has no
    influence. Then the sums so far enter the next ones linearly, and the backward pass
    needs none of them. A query that sees nothing gets zeros. Sums are float32.

    Args:
        mask: True where a query may look at a key. None allows every pair. A mask or a
            bias of Q times K numbers is itself as large as one head's scores.
        bias: added to the scaled scores.
        chunk_size: keys a chunk; the last chunk may have fewer.

    Raises:
        ValueError: `chunk_size` is not positive.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size {chunk_size} is not positive")
    batch, num_queries, num_heads, _ = query.shape
    num_keys = key.shape[1]
    chunk_size = min(chunk_size, num_keys)
    split = partial(_split_keys, num_keys=num_keys, chunk_size=chunk_size)
    chunks = (
        split(key, axis=1),
        split(value, axis=1),
        split(jnp.ones((1, 1, 1, num_keys), bool), axis=3),  # False at what was added
        None if mask is None else split(mask, axis=3),
        None if bias is None else split(bias, axis=3),
    )

    def read(so_far, chunk):
        old, *sums = so_far
        highest, *new_sums = _read_chunk(query, old, *chunk)
        scale = jnp.exp(old - highest)
        sums = (total * scale + new for total, new in zip(sums, new_sums, strict=True))
        return (highest, *sums), None

    rows = (batch, num_heads, num_queries, 1)
    empty = (
        jnp.full(rows, HIDDEN, jnp.float32),
        jnp.zeros(rows, jnp.float32),
        jnp.zeros((*rows[:3], value.shape[3]), jnp.float32),
    )
    (_, normaliser, total), _ = jax.lax.scan(read, empty, chunks)
    context = total / jnp.where(normaliser == 0.0, 1.0, normaliser)  # [B, H, Q, E]
    return context.swapaxes(1, 2).astype(query.dtype)


# The loop of the caller already keeps XLA from merging the two computations.
@partial(jax.checkpoint, prevent_cse=False)
def _read_chunk(query, highest, key, value, inside, mask, bias):
    """Returns the largest scores so far, and this chunk's sums of weights and values.

    The weights are exp(score - largest score), not yet normalised.
    """
    query = query / jnp.sqrt(query.shape[-1]).astype(query.dtype)
    scores = jnp.einsum(
        "BQHE,BKHE->BHQK", query, key, preferred_element_type=jnp.float32
    )
    if bias is not None:
        scores = scores + bias
    visible = inside if mask is None else inside & mask
    scores = jnp.where(visible, scores, HIDDEN)
    highest = jnp.maximum(highest, scores.max(axis=-1, keepdims=True))
    highest = jax.lax.stop_gradient(highest)  # [B, H, Q, 1]
    # Where nothing is visible yet, the largest score is HIDDEN too, and exp(0) is 1.
    weights = jnp.where(visible, jnp.exp(scores - highest), 0.0)
    normaliser = weights.sum(axis=-1, keepdims=True)
    total = jnp.einsum(
        "BHQK,BKHE->BHQE",
        weights.astype(value.dtype),
        value,
        preferred_element_type=jnp.float32,
    )
    return highest, normaliser, total


def _split_keys(array: Array, axis: int, num_keys: int, chunk_size: int) -> Array:
    """Returns the chunks of an array along its keys, stacked on a new first axis.

    The last chunk is filled up with zeros. An axis of size 1, which every key shares,
    stays as it is in every chunk.
    """
    num_chunks = -(-num_keys // chunk_size)
    if array.shape[axis] != num_keys:
        return jnp.broadcast_to(array, (num_chunks, *array.shape))
    padding = [(0, 0)] * array.ndim
    padding[axis] = (0, num_chunks * chunk_size - num_keys)
    shape = (*array.shape[:axis], num_chunks, chunk_size, *array.shape[axis + 1 :])
    return jnp.moveaxis(jnp.pad(array, padding).reshape(shape), axis, 0)


class ChunkedAttention(MultiHeadAttention, kw_only=True):
    """Attention of several heads that reads keys in chunks; see `chunked_attention`.

    There are no weights for dropout to act on. Who asks for "intermediates" gets those
    of the plain path, all of them at once.

    >>> attention = ChunkedAttention(model_dim=8, num_heads=2, chunk_size=4)
    >>> arguments = jax.random.key(0), jnp.ones((1, 3, 8)), jnp.ones((1, 5, 8))
    >>> jax.eval_shape(attention.init_with_output, *arguments)[0].shape  # [B, Q, D]
    (1, 3, 8)

    Attributes:
        chunk_size: keys a chunk.

    Raises:
        ValueError: at `apply`, if the rate of dropout is not 0.
    """

    chunk_size: int

    def mix(self, query, key, value, mask, bias, *, deterministic):
        if self.dropout_rate:
            raise ValueError(
                f"dropout_rate is {self.dropout_rate}, but attention in chunks has no "
                "weights to drop; set it to 0"
            )
        if self.is_mutable_collection("intermediates"):
            return super().mix(
                query, key, value, mask, bias, deterministic=deterministic
            )
        return chunked_attention(
            query, key, value, mask, bias, chunk_size=self.chunk_size
        )
