"""mBART's Transformer: BART's with norms before the sublayers, and scaled embeddings.

Liu et al. (2020), "Multilingual Denoising Pre-training for Neural Machine Translation";
of 50 languages Tang et al. (2020), "Multilingual Translation with Extensible
Multilingual Pretraining and Finetuning".
"""

from functools import partial

from zoo.layers.blocks import pre_norm
from zoo.layers.embeddings import BiasedEmbedding, UnscaledEmbedding
from zoo.layers.positions import LearnedPositions
from zoo.models.configs import MBartConfig
from zoo.models.transformer import Transformer, block_parts, fields_of


def build(config: MBartConfig) -> Transformer:
    """Returns the module that a configuration describes."""
    parts = block_parts(config, config.activation) | {"residual": pre_norm}
    positions = partial(LearnedPositions, config.model_dim, config.max_positions)
    embedding = BiasedEmbedding if config.scaled else UnscaledEmbedding
    return Transformer(
        source_positions=positions(),
        target_positions=positions(),
        embedding_norm=parts["norm"],
        final_norm=parts["norm"],
        **fields_of(config, parts, embedding),
    )
