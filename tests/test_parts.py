"""Parts that no preset has, in the models that take them: the same laws hold."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.laws import violations
from zoo.layers.attention import MultiHeadAttention
from zoo.layers.blocks import DecoderBlock, EncoderBlock
from zoo.layers.chunked_attention import ChunkedAttention
from zoo.layers.embeddings import Embedding
from zoo.layers.feedforward import FeedForward
from zoo.layers.grouped_attention import GroupedQueryAttention
from zoo.layers.positions import AlibiPositions
from zoo.layers.recurrent import LSTMCell
from zoo.layers.state_attention import GeneralAttention
from zoo.models.bahdanau_seq2seq import BahdanauSeq2Seq
from zoo.models.contract import attention_maps, initialize
from zoo.models.transformer import Transformer

SOURCE = jnp.array([[3, 4, 5, 2, 0, 0], [6, 7, 8, 9, 10, 2], [5, 2, 0, 0, 0, 0]])
INPUTS = jnp.array([[1, 5, 4, 3], [1, 10, 9, 8], [1, 7, 7, 3]])


def transformer(attention):
    parts = {
        "attention": functools.partial(attention, 16, 4),
        "feed_forward": functools.partial(FeedForward, 16, 24),
    }
    return Transformer(
        encoder_block=functools.partial(EncoderBlock, **parts),
        decoder_block=functools.partial(DecoderBlock, **parts),
        embedding=Embedding(11, 16),
        source_positions=AlibiPositions(4),
        target_positions=AlibiPositions(4),
        num_layers=1,
        dropout_rate=0.0,
    )


def grouped(num_kv_heads):
    return functools.partial(GroupedQueryAttention, num_kv_heads=num_kv_heads)


# No length in these tests is a multiple of the chunk.
chunked = functools.partial(ChunkedAttention, chunk_size=5)

MODELS = {
    "grouped": transformer(grouped(2)),
    "chunked": transformer(chunked),
    "bahdanau": BahdanauSeq2Seq(
        attention=GeneralAttention(8),
        cell=functools.partial(LSTMCell, 8),
        vocab_size=11,
        model_dim=8,
        dropout_rate=0.0,
    ),
}


def draw(model):
    """Returns parameters of which none is zero."""
    shapes = jax.eval_shape(functools.partial(initialize, model), jax.random.key(0))
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0.0, 0.4, leaf.shape), leaf.dtype), shapes
    )


@functools.cache
def logits_and_gradients(attention):
    model = transformer(attention)

    def loss(params):
        logits = model.apply({"params": params}, SOURCE, INPUTS)
        return (logits**2).mean(), logits

    return jax.jit(jax.grad(loss, has_aux=True))(draw(model))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_with_another_part_keeps_every_law(name):
    model = MODELS[name]
    found = violations(model, draw(model), SOURCE, INPUTS)
    assert max(found.values()) < 1e-4, found


@pytest.mark.parametrize("attention", [grouped(4), chunked], ids=["grouped", "chunked"])
def test_as_many_groups_as_heads_and_all_chunks_are_plain_attention(attention):
    expected = logits_and_gradients(MultiHeadAttention)
    found = logits_and_gradients(attention)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for ours, plain in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(ours, plain, atol=1e-5)


def test_decoding_keeps_the_heads_of_the_keys_alone():
    model = MODELS["grouped"]

    def started(params):
        memory = model.apply({"params": params}, SOURCE, method="encode")
        carry = model.apply({"params": params}, memory, 3, 7, method="start")
        return memory.layers, carry.caches

    read, written = jax.eval_shape(started, draw(model))
    assert [array.shape for array in read[0]] == [(3, 2, 4, 6), (3, 2, 6, 4)]
    assert [array.shape for array in written[0]] == [(3, 2, 4, 21), (3, 2, 21, 4)]


@pytest.mark.parametrize("name", ["grouped", "chunked"])
def test_where_they_look_can_be_seen(name):
    model = MODELS[name]
    maps = attention_maps(model, draw(model), SOURCE, INPUTS)
    weights = maps["decoder_0/cross_attention"]
    assert weights.shape == (3, 4, 4, 6)  # [B, H, T, S]
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, atol=1e-5)


def test_chunks_have_no_weights_to_drop():
    attention = ChunkedAttention(8, 2, 0.1, chunk_size=4)
    inputs = jnp.ones((1, 3, 8))
    with pytest.raises(ValueError, match="set it to 0"):
        jax.eval_shape(attention.init, jax.random.key(0), inputs, inputs)
