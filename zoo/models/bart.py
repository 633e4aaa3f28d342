"""BART's Transformer, and those of mBART and M2M100, which grew out of it.

Lewis et al. (2020), "BART: Denoising Sequence-to-Sequence Pre-training for Natural
Language Generation, Translation, and Comprehension": Vaswani et al. (2017) with GELU,
learned positions and a norm of the embeddings. mBART (Liu et al. 2020, "Multilingual
Denoising Pre-training for Neural Machine Translation") has its norms before the
sublayers; so has M2M100 (Fan et al. 2021, "Beyond English-Centric Multilingual Machine
Translation"; NLLB Team 2022, "No Language Left Behind"), with sinusoids again.
"""

from functools import partial

import flax.linen as nn

from zoo.layers.attention import MultiHeadAttention
from zoo.layers.blocks import DecoderBlock, EncoderBlock, post_norm, pre_norm
from zoo.layers.embeddings import BiasedEmbedding, UnscaledEmbedding
from zoo.layers.feedforward import FeedForward
from zoo.layers.positions import FairseqPositions, LearnedPositions
from zoo.models.configs import BartConfig
from zoo.models.transformer import Transformer, no_norm

ACTIVATIONS = {"relu": nn.relu, "gelu": partial(nn.gelu, approximate=False)}


def build(config: BartConfig) -> Transformer:
    """Returns the module that a configuration describes."""
    norm = partial(nn.LayerNorm, epsilon=1e-5)
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
        "norm": norm,
        "residual": pre_norm if config.pre_norm else post_norm,
        "dropout_rate": config.dropout_rate,
    }
    learned = config.positions == "learned"
    positions = (
        partial(LearnedPositions, config.model_dim, config.max_positions)
        if learned
        else partial(FairseqPositions, config.pad_id + 1)
    )
    return Transformer(
        encoder_block=partial(EncoderBlock, **parts),
        decoder_block=partial(DecoderBlock, **parts),
        encoder_positions=positions,
        decoder_positions=positions,
        vocab_size=config.vocab_size,
        model_dim=config.model_dim,
        num_heads=config.num_heads,
        num_layers=config.num_layers,
        dropout_rate=config.dropout_rate,
        pad_id=config.pad_id,
        start_id=config.start_id,
        eos_id=config.eos_id,
        num_decoder_layers=config.num_decoder_layers,
        make_embedding=BiasedEmbedding if config.scaled else UnscaledEmbedding,
        final_norm=norm if config.pre_norm else no_norm,
        embedding_norm=norm if learned else no_norm,
    )
