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
from tests.pretrained.marian_text import (
    VARIED,
    make_model,
    train_tokenizer,
    with_two_tables,
)
from tests.pretrained.reversal import (
    HELD_OUT,
    best,
    differences,
    generate,
    num_reversed,
    reverse,
    sentences,
    tuning,
)
from zoo.data.batching import Bucket, pad_batch
from zoo.data.marian_tokens import MarianTokenizer
from zoo.data.saved_tokens import load_tokenizer
from zoo.losses import tied_cross_entropy
from zoo.models.contract import initialize
from zoo.pretrained import marian
from zoo.pretrained.directory import open_directory
from zoo.pretrained.generation import UNLIKELY
from zoo.training.step import init_state, make_train_step
from zoo.translation.options import Defaults
from zoo.translation.translator import Translator


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer()


@pytest.fixture(scope="module")
def reverser(tokenizer):
    """A translator of ours that has learned to reverse, not without doubts."""
    model = make_model()

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
    source = shutil.copytree(exported, tmp_path / "model")
    (source / "generation_config.json").write_text(
        '{"num_beams": 2, "length_penalty": 0.5, "bad_words_ids": [[359]]}'
    )
    begun, learned = zoo.load(source), read_initial(str(source)).params
    assert learned["embedding"]["bias"][359] == UNLIKELY  # smooth labels can bear it
    arguments, workdir = tuning(source, tmp_path), tmp_path / "run"
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
    return with_two_tables(exported, tmp_path_factory.mktemp("two") / "model")


def test_what_is_written_may_have_a_table_of_its_own(
    reverser, separate, expected, tmp_path
):
    found = zoo.load(separate)
    assert found.model.source_embedding is not None
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
