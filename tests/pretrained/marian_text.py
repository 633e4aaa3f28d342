"""Marian as its tests have it: text that tokenizers stumble over, a small model."""

import functools
import json
import shutil

import numpy as np
from safetensors.numpy import load_file, save_file

import zoo
from tests.pretrained.reversal import sentences
from zoo.data.tokenizer import Tokenizer

# What tokenizers stumble over: digits, spaces, what is spelled in bytes, what looks
# like a piece of grammar.
VARIED = [
    "ba de 12 3",
    "  two  spaces ",
    "2021",
    " 7",
    "한국어 é €",
    "ba\tde\nfi",
    "(ba), de.",
    "<0xE2> <s> x",
    "▁ba",
    "a" * 50,
    "👍🏽",
]


@functools.cache
def train_tokenizer():
    return Tokenizer.train([*sentences(np.random.default_rng(0), 400), *VARIED], 360)


def make_model():
    return zoo.create_model(
        "marian-tiny",
        vocab_size=train_tokenizer().vocab_size,
        model_dim=32,
        mlp_dim=48,
        num_heads=4,
        num_layers=1,
        num_decoder_layers=1,
        dropout_rate=0.0,
    )


def with_two_tables(exported, path):
    """Copies a model; what it writes has a table of its own, numbered the other way."""
    shutil.copytree(exported, path)
    table = json.loads((path / "vocab.json").read_text())
    special = ("</s>", "<unk>", "<pad>")
    moving = [number for piece, number in table.items() if piece not in special]
    place = {number: number for number in table.values()}
    place |= dict(zip(moving, reversed(moving), strict=True))
    numbers = {piece: place[number] for piece, number in table.items()}
    (path / "target_vocab.json").write_text(json.dumps(numbers))
    tensors = load_file(path / "model.safetensors")
    order = np.array([*place])[np.argsort([*place.values()])]
    tensors["model.encoder.embed_tokens.weight"] = tensors.pop("model.shared.weight")
    tensors["model.decoder.embed_tokens.weight"] = tensors[
        "model.encoder.embed_tokens.weight"
    ][order]
    tensors["final_logits_bias"] = tensors["final_logits_bias"][:, order]
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    config = json.loads((path / "config.json").read_text())
    config |= {"share_encoder_decoder_embeddings": False}
    config |= {"decoder_vocab_size": config["vocab_size"]}
    (path / "config.json").write_text(json.dumps(config))
    settings = json.loads((path / "tokenizer_config.json").read_text())
    settings |= {"separate_vocabs": True}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path
