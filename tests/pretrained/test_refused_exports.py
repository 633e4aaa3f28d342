"""What a family of others cannot express does not go out: a line for each reason."""

import itertools
import os

import jax
import numpy as np
import pytest
from flax import linen as nn

import zoo
from tests.pretrained.tiny_marian import noise
from zoo.layers.attention import MultiHeadAttention
from zoo.layers.embeddings import Embedding, UntiedEmbedding
from zoo.layers.feedforward import FeedForward
from zoo.layers.norms import RMSNorm
from zoo.layers.positions import Positions
from zoo.models.contract import initialize
from zoo.pretrained.export import save_pretrained


def rebuilt(model, side, **parts):
    """Returns the model with other parts in the blocks of one side."""
    name = f"{side}_block"
    make = getattr(model, name)

    def block():
        return make(**parts)

    return model.clone(**{name: block})


def attention(**options):
    return lambda: MultiHeadAttention(8, 2, **options)


def second_wider(model):
    widths = itertools.cycle((12, 16))

    def block():
        return model.encoder_block(feed_forward=lambda: FeedForward(8, next(widths)))

    return model.clone(encoder_block=block)


CHANGED = {
    "positions of the target": (
        lambda m: m.clone(target_positions=Positions()),
        "target_positions is Positions",
    ),
    "an output of its own": (
        lambda m: m.clone(embedding=UntiedEmbedding(m.vocab_size, 8)),
        "embedding is UntiedEmbedding",
    ),
    "a norm at the end": (lambda m: m.clone(final_norm=RMSNorm), "final_norm is RMS"),
    "a table of the source": (
        lambda m: m.clone(source_embedding=Embedding(9, 8)),
        "source_embedding is Embedding",
    ),
    "a norm of embeddings": (
        lambda m: m.clone(embedding_norm=RMSNorm),
        "embedding_norm is RMS",
    ),
    "cross-attention": (
        lambda m: rebuilt(m, "decoder", attention=attention(use_bias=False)),
        "decoder_0/self_attention.use_bias is False",
    ),
    "rotation": (
        lambda m: rebuilt(m, "encoder", attention=attention(rotate=lambda x, at: x)),
        "encoder_0/self_attention.rotate",
    ),
    "width of heads": (
        lambda m: rebuilt(m, "encoder", attention=attention(head_dim=2)),
        "shape of encoder_0/self_attention/",
    ),
    "a norm": (
        lambda m: rebuilt(m, "decoder", norm=lambda: nn.LayerNorm(epsilon=1e-6)),
        "decoder_0/self_attention_norm.epsilon is 1e-06",
    ),
    "another norm": (
        lambda m: rebuilt(m, "encoder", norm=RMSNorm),
        "encoder_0/self_attention_norm is RMSNorm",
    ),
    "norms before": (
        lambda m: rebuilt(m, "encoder", residual=zoo_pre_norm),
        "encoder_0.residual",
    ),
    "a feed-forward without bias": (
        lambda m: rebuilt(
            m, "decoder", feed_forward=lambda: FeedForward(8, 12, nn.silu, 0.0, False)
        ),
        "decoder_0/mlp.use_bias is False",
    ),
    "blocks of two sizes": (second_wider, "mlp"),
}


def zoo_pre_norm(inputs, sublayer, norm):
    return inputs + sublayer(norm(inputs))


@pytest.mark.parametrize(("change", "reason"), CHANGED.values(), ids=list(CHANGED))
def test_each_part_that_marian_has_not_is_refused(
    model, tokenizer, tmp_path, change, reason
):
    other = change(model)
    shapes = jax.eval_shape(lambda key: initialize(other, key), jax.random.key(0))
    with pytest.raises(zoo.InputError, match=f"Marian cannot express .*{reason}"):
        save_pretrained(other, shapes, tokenizer, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_logits_without_a_bias_go_out_with_zeros(model, tokenizer, tmp_path):
    plain = model.clone(embedding=Embedding(model.vocab_size, model.model_dim))
    save_pretrained(plain, noise(plain), tokenizer, tmp_path / "model")
    _, params, _ = zoo.from_pretrained(tmp_path / "model")
    assert not np.any(params["embedding"]["bias"][:-1])


def test_what_lies_beside_is_nobodys_to_delete(model, tokenizer, tmp_path, monkeypatch):
    beside = tmp_path / "model.partial"
    beside.mkdir()
    (beside / "mine").write_text("kept")
    save_pretrained(model, noise(model), tokenizer, tmp_path / "model")
    assert (beside / "mine").read_text() == "kept"

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(zoo.InputError, match=r"params\.safetensors: .* No space left"):
        zoo.save_params({"a": np.ones(1)}, tmp_path / "params.safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"model", "model.partial"}
