"""BART's Transformer, which denoises what it reads.

Lewis et al. (2020), "BART: Denoising Sequence-to-Sequence Pre-training for Natural
Language Generation, Translation, and Comprehension": Vaswani et al. (2017) with GELU,
learned positions and a norm of the embeddings, which as a rule are not multiplied
by √D.
"""

from functools import partial

from zoo.layers.embeddings import BiasedEmbedding, UnscaledEmbedding
from zoo.layers.positions import LearnedPositions
from zoo.models.configs import BartConfig
from zoo.models.transformer import Transformer, block_parts, fields_of


def build(config: BartConfig) -> Transformer:
    """Returns the module that a configuration describes."""
    parts = block_parts(config, config.activation)
    positions = partial(LearnedPositions, config.model_dim, config.max_positions)
    embedding = BiasedEmbedding if config.scaled else UnscaledEmbedding
    return Transformer(
        source_positions=positions(),
        target_positions=positions(),
        embedding_norm=parts["norm"],
        **fields_of(config, parts, embedding),
    )
