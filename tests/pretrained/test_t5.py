"""T5 from Hugging Face: the same logits, the same strings."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sentencepiece

import zoo
from experiments.translate import train
from tests.pretrained.reversal import (
    HELD_OUT,
    best,
    differences,
    generate,
    learn,
    num_reversed,
    sentences,
    tuning,
)
from zoo.data.saved_tokens import load_tokenizer
from zoo.data.t5_tokens import T5Tokenizer
from zoo.pretrained import t5
from zoo.pretrained.directory import open_directory

SOURCE = np.array([[5, 6, 7, 1, 0, 0], [8, 9, 10, 11, 12, 1]])
INPUTS = np.array([[0, 4, 5, 6], [0, 7, 8, 1]])


def pieces(text, vocab_size):
    """Returns a sentencepiece model with T5's special ids."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=model,
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=4,
    )
    return model.getvalue()


def directory(path, **options):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.T5Config(
        vocab_size=40,
        d_model=16,
        d_kv=6,  # heads that do not share the model's width out
        d_ff=24,
        num_layers=2,
        num_decoder_layers=1,
        num_heads=4,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=12,
        decoder_start_token_id=0,
        **options,
    )
    torch.manual_seed(0)
    theirs = transformers.T5ForConditionalGeneration(config).eval()
    for parameter in theirs.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    theirs.save_pretrained(path)
    return theirs, torch


@pytest.mark.parametrize(
    "options",
    [{}, {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}],
    ids=["1.0", "1.1"],
)
def test_logits_are_hugging_faces_with_padded_batches(tmp_path, options):
    theirs, torch = directory(tmp_path, **options)
    model, params = t5.load_weights(open_directory(tmp_path))
    assert model.start_id == model.pad_id == 0
    with torch.no_grad():
        expected = theirs(
            input_ids=torch.tensor(SOURCE),
            attention_mask=torch.tensor(SOURCE != 0),
            decoder_input_ids=torch.tensor(INPUTS),
        ).logits.numpy()
    found = model.apply({"params": params}, jnp.array(SOURCE), jnp.array(INPUTS))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_output_table_of_its_own_is_used(tmp_path):
    theirs, _ = directory(tmp_path, tie_word_embeddings=False)
    tensors = {name: leaf.numpy() for name, leaf in theirs.state_dict().items()}
    tensors = {
        name: leaf for name, leaf in tensors.items() if "embed_tokens" not in name
    }
    table = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32)
    (tmp_path / "model.safetensors").unlink()
    zoo.save_params(
        {**tensors, "lm_head.weight": table}, tmp_path / "model.safetensors"
    )
    model, params = t5.load_weights(open_directory(tmp_path))
    features = jnp.ones((1, 16))
    logits = model.apply({"params": params}, features, method="logits")
    np.testing.assert_allclose(logits[0], table.sum(axis=1), atol=1e-4)


@pytest.fixture(scope="module")
def reverser(tmp_path_factory):
    """A T5 that has learned to reverse short sentences, its tokenizer, its folder."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    text = sentences(np.random.default_rng(0), 400)
    model, folder = pieces(text, 48), tmp_path_factory.mktemp("t5")
    tokenizer = T5Tokenizer(model, 64)
    config = transformers.T5Config(
        vocab_size=64,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=1,
        num_heads=4,
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )
    torch.manual_seed(0)

    def encode(text):
        return [[*row, tokenizer.eos_id] for row in tokenizer.encode(text)]

    theirs = learn(transformers.T5ForConditionalGeneration(config), encode, encode)
    theirs.save_pretrained(folder)
    (folder / "spiece.model").write_bytes(model)
    return theirs, transformers.T5Tokenizer.from_pretrained(folder), folder


@pytest.mark.parametrize("beam_size", [1, 4])
def test_hugging_face_writes_the_same_strings(reverser, beam_size):
    *theirs, folder = reverser
    found = generate(*theirs, HELD_OUT, beam_size)
    assert num_reversed(found, HELD_OUT) > 10
    assert len(differences(best(zoo.load(folder), HELD_OUT, beam_size), found)) <= 2


def test_fine_tuning_begins_with_the_model_and_its_tokens(reverser, tmp_path):
    *_, folder = reverser
    train.main(tuning(folder, tmp_path))
    begun, tuned = zoo.load(folder), zoo.load(tmp_path / "run")
    text = ["ba de", *HELD_OUT[:3]]
    assert tuned.tokenizer.encode(text) == begun.tokenizer.encode(text)
    leaves = map(jax.tree.leaves, (tuned.params, begun.params))
    moved = [np.abs(new - old).max() for new, old in zip(*leaves, strict=True)]
    assert 0 < max(moved) < 1e-5
    assert len(differences(best(tuned, HELD_OUT), best(begun, HELD_OUT))) <= 2


def test_tokens_are_the_models_and_sentinels_stand_for_nothing(tmp_path):
    model = pieces(["the cat sat", "on the mat"] * 20, 30)
    tokenizer = T5Tokenizer(model, vocab_size=64)
    ((*ids,),) = tokenizer.encode(["the cat"])
    assert tokenizer.decode([[*ids, 63, 1, 5]]) == ["the cat"]
    assert "".join(tokenizer.texts()[x] for x in ids) == " the cat"
    assert tokenizer.labels([*ids, 63])[-1] == "⁇"
    tokenizer.save(tmp_path / "tokenizer.model")
    loaded = load_tokenizer(tmp_path / "tokenizer.model")
    assert isinstance(loaded, T5Tokenizer)
    assert (loaded.vocab_size, loaded.texts()) == (64, tokenizer.texts())
    with pytest.raises(zoo.InputError, match="no sound sentencepiece"):
        T5Tokenizer(b"none", 64)
