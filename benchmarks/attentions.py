"""Other attentions for the blocks of the zoo's Transformers: fused, and in chunks.

They have the parameters of `zoo.layers.attention.MultiHeadAttention`, and no dropout of
weights, which they never hold as a whole.
"""

from functools import partial
from typing import Any

import jax
from jax import Array

from zoo.layers.attention import MultiHeadAttention
from zoo.layers.chunked_attention import chunked_attention

CHUNK_SIZE = 512  # keys


class FusedAttention(MultiHeadAttention):
    """Multi-head attention by cuDNN, or by XLA where there is no GPU.

    For batches without padding: of masks it knows the causal one alone, which is the
    one with a row for each query.
    """

    def attend(
        self,
        queries: Array,
        key: Array,
        value: Array,
        mask: Array | None = None,
        bias: Array | None = None,
        *,
        positions: Array | None = None,
        deterministic: bool = True,
    ) -> Array:
        context = jax.nn.dot_product_attention(
            self.query(queries),
            key,
            value,
            is_causal=mask is not None and mask.shape[2] > 1,
            implementation="cudnn" if jax.default_backend() == "gpu" else "xla",
        )
        return self.out(context)


class ChunkedAttention(MultiHeadAttention):
    """Multi-head attention that reads the keys in chunks."""

    def attend(
        self,
        queries: Array,
        key: Array,
        value: Array,
        mask: Array | None = None,
        bias: Array | None = None,
        *,
        positions: Array | None = None,
        deterministic: bool = True,
    ) -> Array:
        query = self._rotate(self.query(queries), positions)
        return self.out(
            chunked_attention(query, key, value, mask, bias, chunk_size=CHUNK_SIZE)
        )


def with_attention(model: Any, attention: type[MultiHeadAttention]) -> Any:
    """Returns the same Transformer with another attention in its blocks."""
    made = partial(attention, *model.encoder_block.keywords["attention"].args)
    return model.clone(
        encoder_block=partial(model.encoder_block, attention=made),
        decoder_block=partial(model.decoder_block, attention=made),
    )
