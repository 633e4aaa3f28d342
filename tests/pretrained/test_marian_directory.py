"""A directory of Marian's: its tokens, its settings, and what is refused of it."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from tests.pretrained.marian_text import (
    VARIED,
    make_model,
    train_tokenizer,
    with_two_tables,
)
from tests.pretrained.tiny_marian import noise
from zoo.data.marian_tokens import MarianTokenizer
from zoo.data.saved_tokens import load_tokenizer
from zoo.data.tokenizer import Tokenizer
from zoo.models.contract import initialize
from zoo.pretrained.export import save_pretrained
from zoo.translation.options import Defaults


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer()


@pytest.fixture(scope="module")
def exported(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("marian") / "model"
    model = make_model()
    save_pretrained(model, noise(model), tokenizer, path, max_length=64)
    return path


@pytest.fixture(scope="module")
def separate(exported, tmp_path_factory):
    return with_two_tables(exported, tmp_path_factory.mktemp("two") / "model")


@pytest.mark.parametrize("token", ["<pad>", "</s>", "<unk>"])
def test_two_tables_have_the_same_special_tokens(separate, tmp_path, token):
    path = shutil.copytree(separate, tmp_path / "model")
    table = json.loads((path / "target_vocab.json").read_text())
    table[token], table["▁"] = table["▁"], table[token]
    (path / "target_vocab.json").write_text(json.dumps(table))
    with pytest.raises(zoo.InputError, match=rf"{token} has another number"):
        zoo.load(path)


def test_no_table_numbers_more_than_the_model_has(separate, tmp_path):
    path = shutil.copytree(separate, tmp_path / "model")
    table = json.loads((path / "vocab.json").read_text())
    (path / "vocab.json").write_text(json.dumps({**table, "more": 400}))
    with pytest.raises(zoo.InputError, match="more than the 360 tokens"):
        zoo.load(path)


@pytest.fixture
def files(exported):
    return {
        name: (exported / name).read_bytes()
        for name in ("source.spm", "target.spm", "vocab.json")
    }


def test_a_language_before_the_text_stays_whole(files):
    table = json.loads(files["vocab.json"])
    files["vocab.json"] = json.dumps({**table, ">>fra<<": len(table)}).encode()
    tokenizer = MarianTokenizer(files)
    ((first, *rest),) = tokenizer.encode([">>fra<<ba de"])
    assert first == len(table)
    assert [rest] == tokenizer.encode(["ba de"])
    assert tokenizer.labels([first]) == [">>fra<<"]
    with pytest.raises(zoo.InputError, match=r">>fre<<.*>>fra<<"):
        tokenizer.encode([">>fre<< ba"])


def test_a_model_of_one_language_reads_the_code_as_text(files):
    tokenizer = MarianTokenizer(files)
    (ids,) = tokenizer.encode([">>fra<< ba"])
    assert len(ids) > 3


def test_a_saved_tokenizer_is_the_same_and_its_damage_is_found(files, tmp_path):
    tokenizer = MarianTokenizer(files, vocab_size=400)
    path = tmp_path / "tokenizer.model"
    tokenizer.save(path)
    loaded = load_tokenizer(path)
    assert (loaded.vocab_size, loaded.texts()) == (400, tokenizer.texts())
    assert loaded.encode(VARIED) == tokenizer.encode(VARIED)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(zoo.InputError, match="damaged"):
        load_tokenizer(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("source.spm", b"none"),
        ("target.spm", b""),
        ("vocab.json", b"{"),
        ("vocab.json", b'["a"]'),
        ("vocab.json", b'{"a": "1"}'),
        ("vocab.json", b'{"</s>": 0, "<unk>": 1}'),
        ("vocab.json", b'{"</s>": 0, "<unk>": 1, "<pad>": 360}'),
    ],
)
def test_a_damaged_tokenizer_is_named(exported, tmp_path, name, content):
    path = shutil.copytree(exported, tmp_path / "model")
    (path / name).write_bytes(content)
    with pytest.raises(zoo.InputError, match=name):
        zoo.load(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scale_embedding", False),
        ("share_encoder_decoder_embeddings", "no"),
        ("decoder_ffn_dim", 7),
        ("activation_function", "tanh"),
        ("vocab_size", "many"),
        ("dropout", 2),
        ("model_type", "bert"),
    ],
)
def test_what_our_transformer_cannot_express_is_refused(
    exported, tmp_path, field, value
):
    path = shutil.copytree(exported, tmp_path / "model")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, field: value}))
    with pytest.raises(zoo.InputError, match=field):
        zoo.load(path)


def test_settings_of_the_search_become_its_defaults(exported, tmp_path):
    path = shutil.copytree(exported, tmp_path / "model")
    (path / "generation_config.json").write_text(
        '{"num_beams": 6, "length_penalty": 0.7, "max_length": 21, '
        '"forced_eos_token_id": 1, "bad_words_ids": [[359]], '
        '"min_length": 5, "no_repeat_ngram_size": 3}'
    )
    translator = zoo.load(path)
    assert translator.defaults == Defaults(6, 0.7, 20, (359,), True, 5, 3)
    (path / "generation_config.json").write_text('{"bad_words_ids": [[1, 2]]}')
    with pytest.raises(zoo.InputError, match="bad_words_ids"):
        zoo.load(path)


@pytest.mark.parametrize(
    ("name", "overrides", "reason"),
    [
        ("transformer-tiny", {}, "learned vector"),
        ("marian-tiny", {"zero_start": False}, "learned vector"),
        ("rnn-gru", {}, "no Transformer"),
    ],
)
def test_what_marian_cannot_express_is_refused_with_the_reason(
    name, overrides, reason, tokenizer, tmp_path
):
    model = zoo.create_model(name, vocab_size=tokenizer.vocab_size, **overrides)
    params = jax.eval_shape(lambda key: initialize(model, key), jax.random.key(0))
    with pytest.raises(zoo.InputError, match=reason):
        save_pretrained(model, params, tokenizer, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_or_left_half_written(tokenizer, tmp_path):
    model = make_model()
    params = noise(model)
    with pytest.raises(zoo.InputError, match="exists already"):
        save_pretrained(model, params, tokenizer, tmp_path)
    words = Tokenizer.train([" ".join(map(str, range(1000)))], 360, tokens="words")
    with pytest.raises(zoo.InputError, match="subwords"):
        save_pretrained(model, params, words, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_parameters_of_any_model_survive_safetensors_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    params = {
        "a": {"kernel": rng.normal(size=(3, 4)).astype(np.float32)},
        "half": jnp.asarray(rng.normal(size=5), jnp.bfloat16),
        "transposed": np.asfortranarray(rng.normal(size=(2, 3)).astype(np.float32)),
    }
    zoo.save_params(params, tmp_path / "params.safetensors")
    loaded = zoo.load_params(tmp_path / "params.safetensors")
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    with pytest.raises(zoo.InputError, match="exists already"):
        zoo.save_params(params, tmp_path / "params.safetensors")
    (tmp_path / "bad").write_bytes(b"none")
    with pytest.raises(zoo.InputError, match="no sound safetensors"):
        zoo.load_params(tmp_path / "bad")
