"""mBART's Transformer: BART's with norms before the sublayers, and scaled embeddings.

Liu et al. (2020), "Multilingual Denoising Pre-training for Neural Machine Translation";
of 50 languages Tang et al. (2020), "Multilingual Translation with Extensible
Multilingual Pretraining and Finetuning".
"""

from functools import partial

from zoo.layers.blocks import DecoderBlock, EncoderBlock, pre_norm
from zoo.layers.embeddings import BiasedEmbedding, UnscaledEmbedding
from zoo.layers.positions import LearnedPositions
from zoo.models.configs import MBartConfig
from zoo.models.transformer import Transformer, block_parts, common_fields


def build(config: MBartConfig) -> Transformer:
    """Returns the module that a configuration describes."""
    parts = block_parts(config, config.activation)
    positions = partial(LearnedPositions, config.model_dim, config.max_positions)
    return Transformer(
        encoder_block=partial(EncoderBlock, **parts, residual=pre_norm),
        decoder_block=partial(DecoderBlock, **parts, residual=pre_norm),
        encoder_positions=positions,
        decoder_positions=positions,
        make_embedding=BiasedEmbedding if config.scaled else UnscaledEmbedding,
        embedding_norm=parts["norm"],
        final_norm=parts["norm"],
        **common_fields(config),
    )
