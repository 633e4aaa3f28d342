"""Marian's Transformer: the family of OPUS-MT, and of models that other tools can read.

Junczys-Dowmunt et al. (2018), "Marian: Fast Neural Machine Translation in C++". The
norms stand after the residuals and one table embeds both sides and scores, as in
Vaswani et al. (2017); beyond them the logits have a bias, and the decoder begins with a
vector of zeros, so that there is no start token to learn. The sinusoids are those of
MarianMTModel in Hugging Face's Transformers.
"""

from zoo.layers.embeddings import BiasedEmbedding, Embedding
from zoo.layers.positions import SinusoidalPositions
from zoo.models.configs import MarianConfig, SeparateMarianConfig
from zoo.models.transformer import Transformer, block_parts, fields_of


def build(config: MarianConfig) -> Transformer:
    """Returns the module that a configuration describes."""
    parts, source = block_parts(config, config.activation), None
    if isinstance(config, SeparateMarianConfig):
        source = Embedding(config.source_vocab_size, config.model_dim)
    return Transformer(
        source_positions=SinusoidalPositions(),
        target_positions=SinusoidalPositions(),
        source_embedding=source,
        **fields_of(config, parts, BiasedEmbedding),
    )
