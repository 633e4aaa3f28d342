"""BART's Transformer, which denoises what it reads.

Lewis et al. (2020), "BART: Denoising Sequence-to-Sequence Pre-training for Natural
Language Generation, Translation, and Comprehension": Vaswani et al. (2017) with GELU,
learned positions and a norm of the embeddings, which as a rule are not multiplied
by √D.
"""

from functools import partial

from zoo.layers.blocks import DecoderBlock, EncoderBlock
from zoo.layers.embeddings import BiasedEmbedding, UnscaledEmbedding
from zoo.layers.positions import LearnedPositions
from zoo.models.configs import BartConfig
from zoo.models.transformer import Transformer, block_parts, common_fields


def build(config: BartConfig) -> Transformer:
    """Returns the module that a configuration describes."""
    parts = block_parts(config, config.activation)
    positions = partial(LearnedPositions, config.model_dim, config.max_positions)
    return Transformer(
        encoder_block=partial(EncoderBlock, **parts),
        decoder_block=partial(DecoderBlock, **parts),
        encoder_positions=positions,
        decoder_positions=positions,
        make_embedding=BiasedEmbedding if config.scaled else UnscaledEmbedding,
        embedding_norm=parts["norm"],
        **common_fields(config),
    )
