"""What a directory of others can say amiss, and what cannot go out: a line for each."""

import io
import itertools
import json
import shutil
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
import sentencepiece
from flax import linen as nn
from safetensors.numpy import load_file, save_file

import zoo
from zoo.data import archives
from zoo.data.saved_tokens import load_tokenizer
from zoo.data.t5_tokens import T5Tokenizer
from zoo.data.tokenizer import Tokenizer
from zoo.layers.attention import MultiHeadAttention
from zoo.layers.embeddings import Embedding, UntiedEmbedding
from zoo.layers.feedforward import FeedForward
from zoo.layers.norms import RMSNorm
from zoo.layers.positions import Positions
from zoo.models.contract import initialize
from zoo.pretrained import generation, marian, parameters, t5, vit
from zoo.pretrained.directory import open_directory
from zoo.pretrained.export import save_pretrained

VOCAB = 300
SIZES = {"model_dim": 8, "mlp_dim": 12, "num_heads": 2, "num_layers": 2}
SIZES |= {"num_decoder_layers": 1, "dropout_rate": 0.0}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["ab cd ef"] * 9 + ["fe dc ba"] * 9, VOCAB)


@pytest.fixture(scope="module")
def model(tokenizer):
    return zoo.create_model("marian-tiny", vocab_size=tokenizer.vocab_size, **SIZES)


def noise(model):
    shapes = jax.eval_shape(lambda key: initialize(model, key), jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes
    )


@pytest.fixture(scope="module")
def written(model, tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("refusals") / "model"
    save_pretrained(model, noise(model), tokenizer, path, max_length=16)
    return path


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "model")


def change_json(path, **values):
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(old | values))


def change_tensor(folder, name, array):
    path = folder / "model.safetensors"
    save_file(load_file(path) | {name: array}, path)


LAYER = "model.encoder.layers.0."


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


def archive(path, files, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as written:
        for name, content in files.items():
            written.writestr(name, content)
    return path


def test_an_archive_that_unpacks_beyond_all_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_BYTES", 2**20)
    files = {"spiece.model": bytes(2**21), "vocab_size": b"9"}
    path = archive(tmp_path / "model", files, zipfile.ZIP_DEFLATED)
    with pytest.raises(zoo.InputError, match=r"damaged \(unpacks to 2,097,153"):
        load_tokenizer(path)
    with path.open("ab") as file:
        file.truncate(2**40)
    with pytest.raises(zoo.InputError, match="at most"):
        load_tokenizer(path)


def encrypted(data):
    at = data.index(b"PK\1\2") + 8
    return data[:at] + b"\1" + data[at + 1 :]


def garbled(data):
    at = data.index(b"spiece.model") + len("spiece.model")
    return data[:at] + bytes(x ^ 255 for x in data[at : at + 9]) + data[at + 9 :]


@pytest.mark.parametrize("harm", [encrypted, garbled])
def test_a_damaged_archive_is_named(tmp_path, harm):
    files = {"spiece.model": b"abc" * 99, "vocab_size": b"9"}
    path = archive(tmp_path / "model", files, zipfile.ZIP_DEFLATED)
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(zoo.InputError, match="model: damaged"):
        load_tokenizer(path)


# Shards, links and sizes.


@pytest.mark.parametrize("name", ["a\0b", "a" * 5_000], ids=["NUL", "long"])
def test_a_shard_that_no_file_can_be_called_is_refused(folder, name):
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"x": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(zoo.InputError, match="is no file"):
        open_directory(folder).weights()


def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / "config.json").symlink_to("config.json")
    with pytest.raises(zoo.InputError, match=r"config\.json' is no file"):
        open_directory(tmp_path)


def test_a_file_beyond_all_size_is_not_read(tmp_path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(zoo.InputError, match="at most"):
        open_directory(tmp_path)


# Of models that see.


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


# T5.


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


# What goes out.


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
        lambda m: m.clone(decoder_positions=Positions),
        "target_positions is Positions",
    ),
    "an output of its own": (
        lambda m: m.clone(make_embedding=UntiedEmbedding),
        "embedding is UntiedEmbedding",
    ),
    "a norm at the end": (lambda m: m.clone(final_norm=RMSNorm), "final_norm is RMS"),
    "a table of the source": (
        lambda m: m.clone(make_source_embedding=lambda: Embedding(9, 8)),
        "source_embedding is <lambda>",
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
    plain = model.clone(make_embedding=Embedding)
    save_pretrained(plain, noise(plain), tokenizer, tmp_path / "model")
    _, params, _ = zoo.from_pretrained(tmp_path / "model")
    assert not np.any(params["embedding"]["bias"][:-1])


def test_what_lies_beside_is_nobodys_to_delete(model, tokenizer, tmp_path, monkeypatch):
    beside = tmp_path / "model.partial"
    beside.mkdir()
    (beside / "mine").write_text("kept")
    save_pretrained(model, noise(model), tokenizer, tmp_path / "model")
    assert (beside / "mine").read_text() == "kept"

    def fail(tensors, path, metadata=None):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parameters, "write_tensors", fail)
    with pytest.raises(OSError, match="No space"):
        zoo.save_params({"a": np.ones(1)}, tmp_path / "params.safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"model", "model.partial"}
