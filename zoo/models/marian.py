"""Marian's Transformer: the family of OPUS-MT, and of models that other tools can read.

Junczys-Dowmunt et al. (2018), "Marian: Fast Neural Machine Translation in C++". The
norms stand after the residuals and one table embeds both sides and scores, as in
Vaswani et al. (2017); beyond them the logits have a bias, and the decoder begins with a
vector of zeros, so that there is no start token to learn. The sinusoids are those of
MarianMTModel in Hugging Face's Transformers.
"""

from functools import partial

import flax.linen as nn

from zoo.layers.attention import MultiHeadAttention
from zoo.layers.blocks import DecoderBlock, EncoderBlock
from zoo.layers.embeddings import BiasedEmbedding, Embedding
from zoo.layers.feedforward import FeedForward
from zoo.layers.positions import SinusoidalPositions
from zoo.models.configs import MarianConfig, SeparateMarianConfig
from zoo.models.transformer import Transformer

ACTIVATIONS = {
    "relu": nn.relu,
    "silu": nn.silu,
    "gelu": partial(nn.gelu, approximate=False),
}


def build(config: MarianConfig) -> Transformer:
    """Returns the module that a configuration describes."""
    parts = {
        "attention": partial(
            MultiHeadAttention,
            config.model_dim,
            config.num_heads,
            config.attention_dropout_rate,
        ),
        "feed_forward": partial(
            FeedForward,
            config.model_dim,
            config.mlp_dim,
            ACTIVATIONS[config.activation],
        ),
        "norm": partial(nn.LayerNorm, epsilon=1e-5),
        "dropout_rate": config.dropout_rate,
    }
    source = None
    if isinstance(config, SeparateMarianConfig):
        source = partial(Embedding, config.source_vocab_size, config.model_dim)
    return Transformer(
        encoder_block=partial(EncoderBlock, **parts),
        decoder_block=partial(DecoderBlock, **parts),
        encoder_positions=SinusoidalPositions,
        decoder_positions=SinusoidalPositions,
        vocab_size=config.vocab_size,
        model_dim=config.model_dim,
        num_heads=config.num_heads,
        num_layers=config.num_layers,
        dropout_rate=config.dropout_rate,
        pad_id=config.pad_id,
        start_id=config.start_id,
        eos_id=config.eos_id,
        num_decoder_layers=config.num_decoder_layers,
        make_embedding=BiasedEmbedding,
        make_source_embedding=source,
        zero_start=config.zero_start,
    )
