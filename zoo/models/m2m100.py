"""M2M100's Transformer, between many languages: norms before the sublayers, sinusoids.

Fan et al. (2021), "Beyond English-Centric Multilingual Machine Translation"; NLLB Team
(2022), "No Language Left Behind". The sinusoids are fairseq's, whose positions count on
from the id of padding.
"""

from functools import partial

from zoo.layers.blocks import pre_norm
from zoo.layers.embeddings import BiasedEmbedding
from zoo.layers.positions import FairseqPositions
from zoo.models.configs import M2M100Config
from zoo.models.transformer import Transformer, block_parts, fields_of


def build(config: M2M100Config) -> Transformer:
    """Returns the module that a configuration describes."""
    parts = block_parts(config, config.activation) | {"residual": pre_norm}
    positions = partial(FairseqPositions, config.pad_id + 1)
    return Transformer(
        source_positions=positions(),
        target_positions=positions(),
        final_norm=parts["norm"],
        **fields_of(config, parts, BiasedEmbedding),
    )
