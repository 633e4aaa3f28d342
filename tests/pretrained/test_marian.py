"""Marian's models: ours out, Hugging Face's in, and the same sentences from all.

The one model that is trained here is ours, and reverses words. It goes out, and what
Hugging Face and CTranslate2 make of it is compared with what we make of it.
"""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file, save_file

import zoo
from experiments.translate import train
from experiments.translate.initial import read_initial
from tests.pretrained.reversal import (
    HELD_OUT,
    best,
    differences,
    generate,
    num_reversed,
    reverse,
    sentences,
)
from zoo.data.batching import Bucket, pad_batch
from zoo.data.marian_tokens import MarianTokenizer
from zoo.data.saved_tokens import load_tokenizer
from zoo.data.tokenizer import Tokenizer
from zoo.losses import tied_cross_entropy
from zoo.models.contract import initialize
from zoo.pretrained import marian
from zoo.pretrained.directory import open_directory
from zoo.pretrained.export import save_pretrained
from zoo.pretrained.generation import UNLIKELY
from zoo.training.step import init_state, make_train_step
from zoo.translation.options import Defaults
from zoo.translation.translator import Translator

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


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([*sentences(np.random.default_rng(0), 400), *VARIED], 360)


@pytest.fixture(scope="module")
def reverser(tokenizer):
    """A translator of ours that has learned to reverse, not without doubts."""
    model = zoo.create_model(
        "marian-tiny",
        vocab_size=tokenizer.vocab_size,
        model_dim=32,
        mlp_dim=48,
        num_heads=4,
        num_layers=1,
        num_decoder_layers=1,
        dropout_rate=0.0,
    )

    def loss(params, batch, key):
        features = model.apply(
            {"params": params}, batch["source"], batch["inputs"], method="features"
        )
        table, bias = model.apply({"params": params}, method="output")
        labels = batch["labels"]
        return tied_cross_entropy(features, table, labels, labels != 0, 0.05, bias)

    optimizer = optax.adam(optax.linear_schedule(1e-2, 1e-3, 300))
    step = jax.jit(make_train_step(loss, optimizer, jax.random.key(1)))
    params = jax.jit(lambda key: initialize(model, key))(jax.random.key(0))
    state, rng = init_state(params, optimizer), np.random.default_rng(1)
    for _ in range(300):
        text = sentences(rng, 48)
        ids = tokenizer.encode(text), tokenizer.encode([*map(reverse, text)])
        state, _ = step(state, pad_batch(*ids, Bucket(20, 20, 48)))
    return Translator(model, state.params, tokenizer, 40)


@pytest.fixture(scope="module")
def expected(reverser):
    """What it writes with a beam of 4."""
    return best(reverser, HELD_OUT)


@pytest.fixture(scope="module")
def exported(reverser, tmp_path_factory):
    path = tmp_path_factory.mktemp("marian") / "model"
    zoo.save_pretrained(
        reverser.model, reverser.params, reverser.tokenizer, path, max_length=64
    )
    return path


@pytest.fixture(scope="module")
def theirs(exported):
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    with pytest.warns(UserWarning, match="sacremoses"):
        tokenizer = transformers.MarianTokenizer.from_pretrained(exported)
    return transformers.MarianMTModel.from_pretrained(exported).eval(), tokenizer


def test_a_model_that_went_out_comes_back_and_translates_alike(
    reverser, exported, expected
):
    back = zoo.load(exported)
    assert isinstance(back.tokenizer, MarianTokenizer)
    assert back.defaults == Defaults(max_length=63, banned=(359, 0))
    assert num_reversed(expected, HELD_OUT) > 25
    assert best(back, HELD_OUT) == expected
    # Attention is found under the imported tokenizer too.
    pair = HELD_OUT[0], expected[0]
    assert reverser.align(*pair) == back.align(*pair)


def test_parameters_that_went_out_come_back_bit_for_bit(reverser, exported):
    model, params, tokenizer = zoo.from_pretrained(exported)
    flat = jax.tree_util.tree_leaves_with_path(params)
    ours = dict(jax.tree_util.tree_leaves_with_path(reverser.params))
    assert (
        model.pad_id == model.start_id == tokenizer.pad_id == tokenizer.vocab_size - 1
    )
    assert len(flat) == len(ours)
    for path, leaf in flat:
        mine = np.asarray(ours[path])
        if path[0].key == "embedding":  # padding goes from the first row to the last
            np.testing.assert_array_equal(leaf[:-1], mine[1:])
        else:
            np.testing.assert_array_equal(leaf, mine)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_hugging_face_writes_the_same_strings(reverser, theirs, expected, beam_size):
    # Their score is ours: log p over length^α, the end counted; with early_stopping
    # False a sentence is over when no live hypothesis, at its present length, scores
    # above the worst of W that ended, as with ours. Theirs leaves padding out of the
    # softmax, since its logit is hopeless, which moves scores by less than 1e-4.
    found = generate(*theirs, HELD_OUT, beam_size)
    expected = expected if beam_size == 4 else best(reverser, HELD_OUT, beam_size)
    assert len(differences(found, expected)) <= 2


def test_padding_takes_no_share_of_the_probability(exported, theirs, tmp_path):
    # As Hugging Face's conversion leaves it: nothing is added to the logit of padding,
    # which is 0 and far above the others here; theirs renormalises without it.
    path = shutil.copytree(exported, tmp_path / "model")
    tensors = load_file(path / "model.safetensors")
    tensors["final_logits_bias"] -= 10
    tensors["final_logits_bias"][0, -1] = 0
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    model = type(theirs[0]).from_pretrained(path).eval()
    found = generate(model, theirs[1], HELD_OUT, renormalize_logits=True)
    expected = best(zoo.load(path), HELD_OUT)
    assert len(differences(found, expected)) <= 2


def test_ctranslate2_writes_the_same_strings(theirs, exported, expected):
    ctranslate2 = pytest.importorskip("ctranslate2")
    converted = exported.parent / "converted"
    with pytest.warns(UserWarning, match="sacremoses"):
        ctranslate2.converters.TransformersConverter(str(exported)).convert(converted)
    tokenizer = zoo.from_pretrained(exported)[2]
    table = tokenizer.piece_table()
    pieces = [[*(table[x] for x in row), "</s>"] for row in tokenizer.encode(HELD_OUT)]
    translator = ctranslate2.Translator(str(converted), inter_threads=1)
    results = translator.translate_batch(
        pieces, beam_size=4, length_penalty=0.6, max_decoding_length=40
    )
    number = {piece: place for place, piece in enumerate(table)}
    found = tokenizer.decode(
        [[number[piece] for piece in result.hypotheses[0]] for result in results]
    )
    assert len(differences(found, expected)) <= 2


def test_hugging_face_cuts_text_into_the_same_tokens(tokenizer, theirs, exported):
    back = zoo.from_pretrained(exported)[2]
    text = [line for line in VARIED if "<s>" not in line]  # a control symbol to them
    ids = back.encode(text)
    # Ours without the row of padding, which stood first.
    assert [[x + 1 for x in row] for row in ids] == tokenizer.encode(text)
    assert [[*row, back.eos_id] for row in ids] == theirs[1](text)["input_ids"]
    assert back.decode(ids) == theirs[1].batch_decode(ids)
    assert back.labels(ids[0]) == tokenizer.labels(tokenizer.encode(text)[0])
    assert back.texts()[3:-1] == tokenizer.texts()[4:]  # all that is text


def test_logits_are_hugging_faces_with_padded_batches(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.MarianConfig(
        vocab_size=40,
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_position_embeddings=32,
        activation_function="gelu",
        scale_embedding=True,
        pad_token_id=39,
        decoder_start_token_id=39,
    )
    torch.manual_seed(0)
    theirs = transformers.MarianMTModel(config).eval()
    for parameter in theirs.parameters():
        if parameter.requires_grad:  # the sinusoids are not drawn
            parameter.data += 0.3 * torch.randn_like(parameter)
    theirs.final_logits_bias.normal_()
    theirs.save_pretrained(tmp_path)
    directory = open_directory(tmp_path)
    (model, params) = marian.load_weights(directory)
    source = np.array([[5, 6, 7, 0, 39, 39], [8, 9, 10, 11, 12, 0]])
    inputs = np.array([[39, 4, 5, 6], [39, 7, 8, 0]])
    with torch.no_grad():
        expected = theirs(
            input_ids=torch.tensor(source),
            attention_mask=torch.tensor(source != 39),
            decoder_input_ids=torch.tensor(inputs),
        ).logits.numpy()
    found = model.apply({"params": params}, jnp.array(source), jnp.array(inputs))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_fine_tuning_begins_with_the_model_and_its_tokens(exported, tmp_path, capsys):
    folder, workdir = tmp_path / "corpus", tmp_path / "run"
    folder.mkdir()
    for split in ("train", "val", "test"):
        for language, lines in (("de", HELD_OUT), ("en", map(reverse, HELD_OUT))):
            (folder / f"{split}.{language}").write_text("\n".join(lines) + "\n")
    options = "--training.num-steps=2 --training.tokens-per-batch=800 "
    options += "--training.num-buckets=1 --optimizer.learning-rate=1e-6 "
    options += "--optimizer.warmup-steps=1 --data.max-length=40"
    source = shutil.copytree(exported, tmp_path / "model")
    (source / "generation_config.json").write_text(
        '{"num_beams": 2, "length_penalty": 0.5, "bad_words_ids": [[359]]}'
    )
    begun, learned = zoo.load(source), read_initial(str(source)).params
    assert learned["embedding"]["bias"][359] == UNLIKELY  # smooth labels can bear it
    arguments = [
        "files",
        f"--init-from={source}",
        f"--data.folder={folder}",
        f"--workdir={workdir}",
        *options.split(),
    ]
    train.main(arguments)
    assert json.loads((workdir / "result.json").read_text())["metrics"]["bleu"] > 50
    tuned = zoo.load(workdir)
    assert tuned.tokenizer.files == begun.tokenizer.files
    assert tuned.model.pad_id == tuned.model.start_id == 359
    assert tuned.defaults == begun.defaults == Defaults(2, 0.5, banned=(359,))
    for new, old in zip(
        *map(jax.tree.leaves, (tuned.params, begun.params)), strict=True
    ):
        np.testing.assert_allclose(new, old, atol=1e-5)
    shutil.rmtree(source)  # what it began with is needed no more
    train.main(arguments)
    assert "is finished" in capsys.readouterr().out


@pytest.fixture(scope="module")
def separate(exported, tmp_path_factory):
    """The same model with two tables: what is written is numbered the other way."""
    path = shutil.copytree(exported, tmp_path_factory.mktemp("two") / "model")
    table = json.loads((path / "vocab.json").read_text())
    special = ("</s>", "<unk>", "<pad>")
    moving = [number for piece, number in table.items() if piece not in special]
    place = {number: number for number in table.values()}
    place |= dict(zip(moving, reversed(moving), strict=True))
    numbers = {piece: place[number] for piece, number in table.items()}
    (path / "target_vocab.json").write_text(json.dumps(numbers))
    tensors, order = (
        load_file(path / "model.safetensors"),
        np.argsort([*place.values()]),
    )
    order = np.array([*place])[order]
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


def test_what_is_written_may_have_a_table_of_its_own(
    reverser, separate, expected, tmp_path
):
    found = zoo.load(separate)
    assert found.model.make_source_embedding is not None
    assert best(found, HELD_OUT) == expected
    pair = HELD_OUT[0], expected[0]
    assert found.align(*pair) == reverser.align(*pair)
    maps = [translator.attention(*pair) for translator in (found, reverser)]
    assert maps[0].source_pieces == maps[1].source_pieces
    assert maps[0].target_pieces == maps[1].target_pieces
    found.tokenizer.save(tmp_path / "tokenizer.model")
    loaded = load_tokenizer(tmp_path / "tokenizer.model")
    assert loaded.encode(VARIED) == found.tokenizer.encode(VARIED)
    assert loaded.encode_targets(["ba"]) == found.tokenizer.encode_targets(["ba"])
    assert loaded.encode_targets(["ba"]) != loaded.encode(["ba"])


def test_hugging_face_reads_two_tables_alike(separate, theirs):
    torch, (joint, _) = pytest.importorskip("torch"), theirs
    with pytest.warns(UserWarning, match="sacremoses"):
        tokenizer = type(theirs[1]).from_pretrained(separate)
    ours = zoo.load(separate).tokenizer
    text = [line for line in VARIED if "<s>" not in line]
    ids = ours.encode_targets(text)
    assert [[*x, ours.eos_id] for x in ours.encode(text)] == tokenizer(text)[
        "input_ids"
    ]
    assert [[*x, ours.eos_id] for x in ids] == tokenizer(text_target=text)["input_ids"]
    assert ours.decode(ids) == tokenizer.batch_decode(ids)
    model, params = marian.load_weights(open_directory(separate))
    other = type(joint).from_pretrained(separate).eval()
    source = np.array([[5, 6, 7, 0, 359, 359], [8, 9, 10, 11, 12, 0]])
    inputs = np.array([[359, 4, 5, 6], [359, 7, 8, 0]])
    with torch.no_grad():
        expected = other(
            input_ids=torch.tensor(source),
            attention_mask=torch.tensor(source != 359),
            decoder_input_ids=torch.tensor(inputs),
        ).logits.numpy()
    found = model.apply({"params": params}, jnp.array(source), jnp.array(inputs))
    np.testing.assert_allclose(found[..., :-1], expected[..., :-1], atol=1e-4)


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


def test_nothing_is_overwritten_or_left_half_written(reverser, tmp_path):
    model, params = reverser.model, reverser.params
    with pytest.raises(zoo.InputError, match="exists already"):
        save_pretrained(model, params, reverser.tokenizer, tmp_path)
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
