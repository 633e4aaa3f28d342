"""BART, mBART-50 and M2M100 from Hugging Face: tokens, logits, strings, languages."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from experiments.translate import train, translate
from experiments.translate.initial import read_initial
from tests.pretrained.bart_models import (
    SPECIAL,
    VARIED,
    learned,
    same_strings,
    their_model,
)
from tests.pretrained.reversal import HELD_OUT, WORDS, best, differences, tuning
from zoo.data.json_tokens import JsonTokenizer
from zoo.data.saved_tokens import load_tokenizer
from zoo.pretrained import bart
from zoo.pretrained.directory import open_directory
from zoo.pretrained.loading import load_translator
from zoo.translation.requests import read_requests
from zoo.translation.translator import Hypothesis, Translator

KINDS = ["bart", "mbart", "m2m_100"]
# What they read and write; BART begins all text alike.
LANGUAGES = {"mbart": ("en_XX", "fr_XX"), "m2m_100": ("eng_Latn", "fra_Latn")}


def their_tokenizer(kind):
    """Returns a tokenizer of Hugging Face's, whose pieces are letters and words."""
    transformers = pytest.importorskip("transformers")
    letters = sorted({*"".join(WORDS)})
    if kind == "bart":
        from tokenizers import ByteLevelBPETokenizer

        trained = ByteLevelBPETokenizer()
        trained.train_from_iterator([" ".join(WORDS)], 320, special_tokens=SPECIAL)
        values = json.loads(trained.to_str())["model"]
        merges = [tuple(merge) for merge in values["merges"]]
        return transformers.BartTokenizer(vocab=values["vocab"], merges=merges)
    if kind == "mbart":
        words = [(f"▁{word}", -3.0) for word in WORDS]
        pieces = [("▁", -5.0), *((letter, -6.0) for letter in letters), *words]
        start = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
        return transformers.MBart50Tokenizer(vocab=start + pieces, src_lang="en_XX")
    merges = [*((a, b) for a, b in WORDS), *(("▁", word) for word in WORDS)]
    pieces = [*SPECIAL, "▁", *letters, *WORDS, *(f"▁{word}" for word in WORDS)]
    return transformers.NllbTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)},
        merges=merges,
        src_lang="eng_Latn",
        extra_special_tokens=["eng_Latn", "fra_Latn"],
    )


def first_written(kind, tokenizer):
    name = LANGUAGES[kind][1] if kind in LANGUAGES else "<s>"
    return tokenizer.convert_tokens_to_ids(name)


@pytest.fixture(scope="module")
def reverser(tmp_path_factory):
    """BART that has learned to reverse, its tokenizer, and their directory."""
    tokenizer = their_tokenizer("bart")
    start, folder = first_written("bart", tokenizer), tmp_path_factory.mktemp("bart")
    return learned("bart", tokenizer, start, folder)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_hugging_face_writes_the_same_strings(reverser, beam_size):
    same_strings(reverser, beam_size)


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


@pytest.mark.parametrize("kind", KINDS)
def test_hugging_face_cuts_text_into_the_same_tokens(kind, tmp_path):
    theirs = their_tokenizer(kind)
    theirs.save_pretrained(tmp_path)
    values = {"model_type": kind, "vocab_size": len(theirs)}
    values |= {"pad_token_id": 1, "eos_token_id": 2}
    if kind != "bart":  # which writes what it reads, from the start on
        values["forced_bos_token_id"] = first_written(kind, theirs)
    (tmp_path / "config.json").write_text(json.dumps(values))
    ours = bart.load_tokenizer(open_directory(tmp_path))
    assert ours.encode_targets([""]) == [[first_written(kind, theirs)]]
    ids = ours.encode(VARIED)
    assert [[*row, ours.eos_id] for row in ids] == theirs(VARIED)["input_ids"]
    expected = theirs.batch_decode([[x for x in row if x != 2] for row in ids], True)
    written = [[x for x in row if x != 2] for row in ids]
    assert ours.decode(written) == [text.strip() for text in expected]
    assert ours.encode([""]) == [[]]
    (words,) = ours.encode_words(["ba de"])
    texts = ours.texts()
    assert "".join(texts[x] for x in words) == " ba de"
    assert [texts[x] for x in range(4)] == [""] * 4
    assert ours.labels([*words, 2]) == [*(texts[x].strip() for x in words), "</s>"]
    ours.save(tmp_path / "tokenizer.model")
    loaded = load_tokenizer(tmp_path / "tokenizer.model")
    assert isinstance(loaded, JsonTokenizer)
    assert loaded.encode(VARIED) == ids
    assert loaded.encode_targets(["ba"]) == ours.encode_targets(["ba"])


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_asked_for_behind_a_space_and_behind_the_language(kind):
    theirs = their_tokenizer(kind)
    content = theirs.backend_tokenizer.to_str().encode()
    tokenizer = JsonTokenizer(content, len(theirs), (), (7,))
    texts = tokenizer.texts()
    (request,) = read_requests(tokenizer, [[5, 2]], ["ba"], [["go"]])
    (required,) = request.required
    assert "".join(texts[x] for x in required) == " go"
    assert request.prefix[0] == 7
    assert tokenizer.decode([request.prefix[1:]]) == ["ba"]


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_hugging_faces_with_padded_batches(kind, tmp_path):
    torch = pytest.importorskip("torch")
    from tests.pretrained.torch_models import randomised

    sizes = {"d_model": 16, "encoder_layers": 2, "init_std": 0.02}
    theirs = randomised(their_model(kind, 40, **sizes))
    if kind != "m2m_100":
        theirs.final_logits_bias.normal_()
    theirs.save_pretrained(tmp_path)
    model, params = bart.load_weights(open_directory(tmp_path))
    source = np.array([[5, 6, 7, 2, 1, 1], [8, 9, 10, 11, 12, 2]])
    inputs = np.array([[2, 4, 5, 6], [2, 7, 8, 0]])
    with torch.no_grad():
        expected = theirs(
            input_ids=torch.tensor(source),
            attention_mask=torch.tensor(source != 1),
            decoder_input_ids=torch.tensor(inputs),
        ).logits.numpy()
    found = model.apply({"params": params}, jnp.array(source), jnp.array(inputs))
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A directory of NLLB's kind, which says what it reads but not what it writes."""
    folder = tmp_path_factory.mktemp("many")
    tokenizer = their_tokenizer("m2m_100")
    for part in (their_model("m2m_100", len(tokenizer)), tokenizer):
        part.save_pretrained(folder)
    return folder


def test_languages_are_chosen_by_name(many, monkeypatch, capsys):
    def remember(self, sentences, **options):
        written.extend(self.tokenizer.encode_targets([""]))
        return [[Hypothesis(text, 0.0)] for text in sentences]

    translator = zoo.load(many, source_language="fra_Latn", target_language="eng_Latn")
    tokenizer = translator.tokenizer
    english, french = (tokenizer.languages[x] for x in ("eng_Latn", "fra_Latn"))
    assert tokenizer.encode(["ba"])[0][0] == french
    written = tokenizer.encode_targets([""])
    monkeypatch.setattr(Translator, "translate", remember)
    translate.main(["ba de", f"--model={many}", "--target-language=fra_Latn"])
    assert written == [[english], [french]]
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_training_is_told_where_languages_are_set(many):
    fields = r"src_lang in tokenizer_config\.json and forced_bos_token_id in gen"
    with pytest.raises(zoo.InputError, match=fields):
        read_initial(str(many))


def test_a_language_behind_the_text_is_none_to_read(many, tmp_path, monkeypatch):
    folder = shutil.copytree(many, tmp_path / "model")
    values = json.loads((folder / "tokenizer.json").read_text())
    single = values["post_processor"]["single"]
    single.append(single.pop(0))
    (folder / "tokenizer.json").write_text(json.dumps(values))
    change(folder / "tokenizer_config.json", src_lang=None)
    monkeypatch.setattr(bart, "load_weights", lambda directory: (None, None))
    with pytest.raises(zoo.InputError, match=r"can be read, .* give source_language"):
        load_translator(open_directory(folder), None, "eng_Latn")
    found = load_translator(open_directory(folder), "fra_Latn", "eng_Latn")[2]
    assert found.encode(["ba"])[0][0] == found.languages["fra_Latn"]


def change(path, **changed):
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def test_an_alignment_leaves_out_the_languages(many, monkeypatch):
    class Maps:
        def between(self):
            # Reads <fra> ba de </s>; writes de ba, each after a look at the language.
            looks = [[0, 1, 0, 0], [0.6, 0.1, 0.3, 0], [0.6, 0.3, 0.1, 0], [0, 0, 0, 1]]
            return {"cross_attention": np.array([looks])}

    translator = zoo.load(many, target_language="fra_Latn")
    monkeypatch.setattr(translator, "attention", lambda source, target: Maps())
    assert translator.align("ba de", "de ba") == [(1, 0), (0, 1)]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "2 languages can be written, and none is chosen"),
        ({"target_language": "fra_Lat"}, "language: 'fra_Lat'.*fra_Latn"),
        ({"source_language": "xx", "target_language": "eng_Latn"}, "language: 'xx'"),
    ],
)
def test_a_language_that_is_missing_or_unknown_is_refused_before_weights_are_read(
    many, monkeypatch, options, reason
):
    monkeypatch.setattr(bart, "load_weights", None)
    with pytest.raises(zoo.InputError, match=reason):
        zoo.load(many, **options)


@pytest.mark.parametrize(
    ("name", "changed", "reason"),
    [
        ("config.json", {"decoder_start_token_id": 5}, "decoder_start_token_id is 5"),
        ("config.json", {"scale_embedding": "yes"}, "scale_embedding"),
        ("config.json", {"activation_function": "tanh"}, "activation_function"),
        ("config.json", {"vocab_size": 9}, "tokenizer.json: numbers up to"),
        ("config.json", {"eos_token_id": 3}, "eos_token_id is 3"),
        ("tokenizer_config.json", {"src_lang": "xx"}, "src_lang in .*'xx'"),
        ("tokenizer_config.json", {"legacy_behaviour": True}, "legacy_behaviour"),
        ("generation_config.json", {"forced_bos_token_id": 999}, "forced_bos_token_id"),
        ("tokenizer.json", None, "no sound tokenizer"),
    ],
)
def test_a_directory_that_cannot_be_is_told(many, tmp_path, name, changed, reason):
    folder = shutil.copytree(many, tmp_path / "model")
    if changed is None:
        (folder / name).write_text("{")
    else:
        change(folder / name, **changed)
    with pytest.raises(zoo.InputError, match=reason):
        zoo.load(folder, target_language="eng_Latn")


def test_a_directory_without_its_tokens_gets_the_command_that_writes_them(
    many, tmp_path
):
    folder = shutil.copytree(many, tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(zoo.InputError, match=r"AutoTokenizer\.from_pretrained"):
        zoo.load(folder)
    cached = tmp_path / "models--a--b" / "snapshots" / "x"
    shutil.copytree(folder, cached)
    command = r"from_pretrained\('a/b'\)\.save_pretrained\('my-model'\)"
    with pytest.raises(zoo.InputError, match=command):
        zoo.load(cached)


def test_a_damaged_archive_of_tokens_is_named(many, tmp_path):
    tokenizer = bart.load_tokenizer(open_directory(many)).between(None, "eng_Latn")
    path = tmp_path / "tokenizer.model"
    tokenizer.save(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"source": [', b'"source": {', 1))
    with pytest.raises(zoo.InputError, match=r"tokenizer\.model: damaged"):
        load_tokenizer(path)


def test_who_has_no_languages_cannot_choose(tmp_path):
    (tmp_path / "config.json").write_text('{"model": {"family": "rnn"}}')
    with pytest.raises(zoo.InputError, match=r"a run, .* leave fr_XX out"):
        zoo.load(tmp_path, target_language="fr_XX")
    (tmp_path / "config.json").write_text('{"model_type": "vilt"}')
    with pytest.raises(zoo.InputError, match="no languages to choose"):
        zoo.load(tmp_path, target_language="fr_XX")
