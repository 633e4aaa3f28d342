"""T5's Transformer: norms before the sublayers, no biases, distances in buckets.

Raffel et al. (2020), "Exploring the Limits of Transfer Learning with a Unified
Text-to-Text Transformer", section 2.1; with the gated feed-forward of Shazeer (2020) it
is version 1.1. The authors leave scores undivided by √E and embeddings unmultiplied by
√D; both differ from ours by a constant that an import puts into the parameters.
"""

from functools import partial

import flax.linen as nn

from zoo.layers.attention import MultiHeadAttention
from zoo.layers.blocks import pre_norm
from zoo.layers.embeddings import Embedding, UntiedEmbedding
from zoo.layers.feedforward import FeedForward, GatedFeedForward
from zoo.layers.norms import RMSNorm
from zoo.layers.positions import RelativePositions
from zoo.models.configs import T5Config
from zoo.models.transformer import Transformer, fields_of


def build(config: T5Config) -> Transformer:
    """Returns the module that a configuration describes."""
    parts = {
        "attention": partial(
            MultiHeadAttention,
            config.model_dim,
            config.num_heads,
            config.dropout_rate,
            head_dim=config.head_dim,
            use_bias=False,
        ),
        "feed_forward": partial(
            _FEED_FORWARD[config.feed_forward],
            config.model_dim,
            config.mlp_dim,
            dropout_rate=config.dropout_rate,
        ),
        "norm": RMSNorm,
        "residual": pre_norm,
        "dropout_rate": config.dropout_rate,
    }

    def positions(bidirectional: bool) -> RelativePositions:
        return RelativePositions(
            config.num_heads,
            bidirectional,
            config.num_buckets,
            config.max_distance,
        )

    return Transformer(
        source_positions=positions(True),
        target_positions=positions(False),
        final_norm=RMSNorm,
        **fields_of(config, parts, Embedding if config.tied else UntiedEmbedding),
    )


_FEED_FORWARD = {
    "relu": partial(FeedForward, use_bias=False),
    "gated-gelu": partial(
        GatedFeedForward, activation=partial(nn.gelu, approximate=True)
    ),
    "gated-silu": partial(GatedFeedForward, activation=nn.silu),
}
