"""What a directory of others can say amiss: a line for each."""

import io
import json

import numpy as np
import pytest
import sentencepiece
from safetensors.numpy import load_file, save_file

import zoo
from tests.pretrained.tiny_marian import LAYER, VOCAB, change_json, change_tensor
from zoo.data.t5_tokens import T5Tokenizer
from zoo.pretrained import generation, marian, t5, vit
from zoo.pretrained.directory import open_directory


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("self_attn.q_proj.weight", (8,)),
        ("self_attn.q_proj.weight", ()),
        ("self_attn.out_proj.weight", ()),
        ("fc1.weight", ()),
    ],
)
def test_a_tensor_of_another_rank_is_told(folder, name, shape):
    change_tensor(folder, LAYER + name, np.ones(shape, np.float32))
    with pytest.raises(zoo.InputError, match=rf"1 wrong: {LAYER}{name} \["):
        zoo.from_pretrained(folder)


@pytest.mark.parametrize("kind", [np.int8, bool])
def test_whole_numbers_are_no_weights(folder, kind):
    change_tensor(folder, f"{LAYER}fc1.bias", np.ones(12, kind))
    with pytest.raises(zoo.InputError, match=rf"fc1.bias is of {np.dtype(kind)}"):
        zoo.from_pretrained(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("encoder_layers", 10**9),
        ("decoder_layers", True),
        ("model_type", ["marian"]),
        ("eos_token_id", 5),
        ("pad_token_id", 5),
        ("eos_token_id", VOCAB),
        ("pad_token_id", VOCAB),
        ("decoder_start_token_id", VOCAB),
    ],
)
def test_a_field_that_cannot_be_is_named(folder, field, value):
    change_json(folder / "config.json", **{field: value})
    with pytest.raises(zoo.InputError, match=rf"{field} "):
        zoo.load(folder)


def test_both_tables_must_have_a_special_token(folder):
    last = json.loads((folder / "config.json").read_text())["pad_token_id"]
    sizes = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": last}
    change_json(folder / "config.json", **sizes)
    reason = f"pad_token_id is {last}, but the vocabulary has {last}"
    with pytest.raises(zoo.InputError, match=reason):
        marian.config_of(open_directory(folder))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("min_length", -1),
        ("no_repeat_ngram_size", 0.5),
        ("bad_words_ids", [[VOCAB]]),
        ("bad_words_ids", [[-1]]),
        ("max_length", -5),
        ("num_beams", 0),
        pytest.param("length_penalty", 10**400, id="huge"),
    ],
)
def test_a_setting_that_no_search_takes_is_named(written, tmp_path, field, value):
    for name in ("config.json", "generation_config.json"):
        (tmp_path / name).write_text((written / name).read_text())
    change_json(tmp_path / "generation_config.json", **{field: value})
    with pytest.raises(zoo.InputError, match=f"generation_config.json: {field}"):
        generation.search_defaults(open_directory(tmp_path))


def test_settings_of_the_search_are_of_one_file(tmp_path):
    config = {"vocab_size": 9, "num_beams": 6, "bad_words_ids": [[3]]}
    change_json(tmp_path / "config.json", **config)
    old = generation.search_defaults(open_directory(tmp_path))
    assert (old.beam_size, old.banned) == (6, (3,))
    change_json(tmp_path / "generation_config.json", length_penalty=0.5)
    new = generation.search_defaults(open_directory(tmp_path))
    assert (new.beam_size, new.banned, new.length_penalty) == (1, (), 0.5)


def test_padding_has_no_probability_where_one_searches(folder):
    bias = load_file(folder / "model.safetensors")["final_logits_bias"] - 10
    bias[0, -1] = 0.0  # as Hugging Face's conversion leaves it
    change_tensor(folder, "final_logits_bias", bias)
    translator, (_, params, _) = zoo.load(folder), zoo.from_pretrained(folder)
    found = translator.params["embedding"]["bias"]
    np.testing.assert_array_equal(found[:-1], params["embedding"]["bias"][:-1])
    assert found[-1] < -1e8
    assert params["embedding"]["bias"][-1] == 0


@pytest.mark.parametrize("asked", [{"average": 5}, {"average": 1}])
def test_weights_of_others_have_no_checkpoints_to_average(folder, asked):
    with pytest.raises(zoo.InputError, match="average"):
        zoo.load(folder, **asked)


def test_a_run_has_no_revisions(tmp_path):
    (tmp_path / "config.json").write_text('{"model": {"family": "rnn"}}')
    with pytest.raises(zoo.InputError, match="has no revision 'main'"):
        zoo.load(tmp_path, revision="main")


def test_two_loads_share_one_model(folder):
    directory = open_directory(folder)
    assert marian.load_weights(directory)[0] is marian.load_weights(directory)[0]


def test_only_the_row_of_the_start_is_read_to_see_whether_it_is_zeros(
    folder, monkeypatch
):
    weights = open_directory(folder).weights()
    monkeypatch.setattr(type(weights), "__getitem__", None)
    assert marian.config_of(open_directory(folder)).zero_start
    assert weights.row(marian.TABLE, VOCAB) is None
    assert weights.row("none", 0) is None


def test_no_tensor_is_read_to_see_whether_it_is_there(folder, monkeypatch):
    weights = open_directory(folder).weights()
    monkeypatch.setattr(type(weights), "__getitem__", None)
    assert marian.TABLE in weights
    assert "none" not in weights


def seen(folder, **config):
    """Returns a directory of ViT, with a config and nothing else."""
    change_json(folder / "config.json", model_type="vit", **config)
    return open_directory(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layer_norm_eps", None),
        ("layer_norm_eps", float("nan")),
        ("hidden_act", ["gelu"]),
        ("num_hidden_layers", 10**9),
        ("num_hidden_layers", True),
    ],
)
def test_a_field_of_a_tower_that_cannot_be_is_named(tmp_path, field, value):
    with pytest.raises(zoo.InputError, match=field):
        vit.config_of(seen(tmp_path, **{field: value}))


def pieces(**options):
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat sat", "on the mat"] * 20),
        model_writer=written,
        vocab_size=30,
        hard_vocab_limit=False,
        **{"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "minloglevel": 4}
        | options,
    )
    return written.getvalue()


def t5_directory(folder, **changed):
    values = {"vocab_size": 40, "d_model": 4, "d_kv": 2, "d_ff": 4, "num_layers": 1}
    values |= {"num_heads": 2, "relative_attention_num_buckets": 8}
    values |= {"feed_forward_proj": "relu", "pad_token_id": 0, "eos_token_id": 1}
    values |= {"decoder_start_token_id": 0, "model_type": "t5"}
    change_json(folder / "config.json", **values | changed)
    save_file({"x": np.ones(1, np.float32)}, folder / "model.safetensors")
    return open_directory(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("relative_attention_max_distance", "x"),
        ("num_layers", 10**9),
        ("eos_token_id", 40),
    ],
)
def test_a_field_of_t5_that_cannot_be_is_named(tmp_path, field, value):
    with pytest.raises(zoo.InputError, match=field):
        t5.config_of(t5_directory(tmp_path, **{field: value}))


def test_t5_without_any_table_lacks_all(tmp_path):
    directory = t5_directory(tmp_path, tie_word_embeddings=False)
    with pytest.raises(zoo.InputError, match="27 missing"):
        t5.load_weights(directory)


def test_pieces_without_an_end_are_refused():
    with pytest.raises(zoo.InputError, match="no end of sentence"):
        T5Tokenizer(pieces(eos_id=-1), 40)


@pytest.mark.parametrize(("field", "value"), [("eos_token_id", 3), ("pad_token_id", 3)])
def test_t5s_pieces_and_config_agree(tmp_path, monkeypatch, field, value):
    directory = t5_directory(tmp_path, **{field: value})
    (tmp_path / "spiece.model").write_bytes(pieces())
    monkeypatch.setattr(t5, "load_weights", None)
    with pytest.raises(zoo.InputError, match=rf"{field} is 3, but spiece.model"):
        zoo.from_pretrained(directory.root)
