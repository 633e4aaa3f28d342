"""A fused attention, and how the blocks of the zoo's Transformers get another one."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from zoo.layers.attention import MultiHeadAttention


class FusedAttention(MultiHeadAttention):
    """Multi-head attention by cuDNN, or by XLA where there is no GPU.

    For batches without padding: of masks it knows the causal one alone, which is the
    one with a row for each query. It never holds the weights, and drops none.
    """

    def mix(self, query, key, value, mask, bias, *, deterministic):
        return jax.nn.dot_product_attention(
            query,
            key,
            value,
            is_causal=mask is not None and mask.shape[2] > 1,
            implementation="cudnn" if jax.default_backend() == "gpu" else "xla",
        )


def with_attention(model: Any, attention: Callable[..., MultiHeadAttention]) -> Any:
    """Returns the same Transformer with another attention in its blocks."""
    made = partial(attention, *model.encoder_block.keywords["attention"].args)
    return model.clone(
        encoder_block=partial(model.encoder_block, attention=made),
        decoder_block=partial(model.decoder_block, attention=made),
    )
