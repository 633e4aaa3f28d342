"""A tiny Marian with random weights: its tokens, its model, its directory."""

import shutil

import pytest

import zoo
from tests.pretrained.tiny_marian import SIZES, VOCAB, noise
from zoo.data.tokenizer import Tokenizer
from zoo.pretrained.export import save_pretrained


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["ab cd ef"] * 9 + ["fe dc ba"] * 9, VOCAB)


@pytest.fixture(scope="module")
def model(tokenizer):
    return zoo.create_model("marian-tiny", vocab_size=tokenizer.vocab_size, **SIZES)


@pytest.fixture(scope="module")
def written(model, tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("refusals") / "model"
    save_pretrained(model, noise(model), tokenizer, path, max_length=16)
    return path


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "model")
