"""M2M100's own tokens: a sentencepiece model, a table, and languages by a list."""

import io
import json
import shutil

import numpy as np
import pytest

import zoo
from tests.pretrained.bart_models import (
    SPECIAL,
    VARIED,
    learned,
    same_strings,
    their_model,
)
from tests.pretrained.reversal import HELD_OUT, sentences
from zoo.data.m2m100_tokens import LANGUAGES, MODEL, TABLE, M2M100Tokenizer
from zoo.data.saved_tokens import load_tokenizer
from zoo.pretrained import bart
from zoo.pretrained.directory import open_directory
from zoo.translation.requests import read_requests

# Theirs takes special tokens for what they are, wherever they stand.
NAMED = ["__fr__ ba", "ba __de____en__de", "<s> ba <pad>", "__xx__ ba", "_en__en__"]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """The files of a tokenizer whose pieces are letters and words to reverse."""
    import sentencepiece

    model, folder = io.BytesIO(), tmp_path_factory.mktemp("pieces")
    text = sentences(np.random.default_rng(0), 400)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*text, "two spaces, a."]),
        model_writer=model,
        model_type="bpe",
        vocab_size=60,
        minloglevel=4,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [processor.id_to_piece(number) for number in range(3, len(processor))]
    table = {piece: number for number, piece in enumerate([*SPECIAL, *pieces])}
    (folder / MODEL).write_bytes(model.getvalue())
    (folder / TABLE).write_text(json.dumps(table))
    return folder


def their_tokenizer(pieces, codes, target):
    """Returns Hugging Face's tokenizer from English to a language."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    return transformers.M2M100Tokenizer(
        str(pieces / TABLE),
        str(pieces / MODEL),
        src_lang="en",
        tgt_lang=target,
        language_codes=codes,
        # As the files of the published models list them.
        additional_special_tokens=[f"__{x}__" for x in LANGUAGES[codes].split()],
    )


@pytest.fixture(scope="module")
def tokenizer(pieces):
    return their_tokenizer(pieces, "m2m100", "fr")


@pytest.fixture(scope="module")
def reverser(pieces, tmp_path_factory):
    """A model that has learned to reverse, its tokenizer, and their directory."""
    # Of few languages, so that it is learned in time.
    tokenizer = their_tokenizer(pieces, "wmt21", "de")
    start, folder = tokenizer.get_lang_id("de"), tmp_path_factory.mktemp("reverser")
    return learned("m2m_100", tokenizer, start, folder, num_steps=220)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_it_writes_the_same_strings_and_scores_no_language(reverser, beam_size):
    translator, (found, *_) = same_strings(reverser, beam_size)
    (score,) = translator.score([HELD_OUT[0]], [found.text], length_penalty=0.6)
    assert found.score == pytest.approx(score, abs=1e-4)


@pytest.fixture(scope="module")
def many(tokenizer, tmp_path_factory):
    """A directory that says what it reads but not what it writes."""
    folder = tmp_path_factory.mktemp("many")
    for part in (their_model("m2m_100", len(tokenizer) + 8), tokenizer):
        part.save_pretrained(folder)
    return folder


def test_hugging_face_cuts_text_into_the_same_tokens(many, tokenizer, tmp_path):
    plain = bart.load_tokenizer(open_directory(many))
    assert plain.languages == tokenizer.lang_code_to_id
    ours, text = plain.between(None, "fr"), [*VARIED, *NAMED]
    ids, targets = ours.encode(text), ours.encode_targets(text)
    theirs = tokenizer(text)["input_ids"]
    assert [[*row, ours.eos_id] for row in ids] == theirs
    theirs = tokenizer(text_target=text)["input_ids"]
    assert [[*row, ours.eos_id] for row in targets] == theirs
    written = [[x for x in row if x != ours.eos_id] for row in targets]
    expected = tokenizer.batch_decode(written, skip_special_tokens=True)
    assert ours.decode(written) == expected
    german, english = plain.between("de", "en"), tokenizer.get_lang_id("en")
    assert german.encode(["ba"])[0][0] == tokenizer.get_lang_id("de")
    assert german.encode_targets([""]) == [[english]]
    assert ours.encode([""]) == [[]]
    ours.save(tmp_path / "tokenizer.model")
    loaded = load_tokenizer(tmp_path / "tokenizer.model")
    assert isinstance(loaded, M2M100Tokenizer)
    assert loaded.encode(text) == ids
    assert loaded.encode_targets(text) == targets


def test_tokens_have_texts_and_labels(many):
    tokenizer = bart.load_tokenizer(open_directory(many)).between(None, "fr")
    texts, first = tokenizer.texts(), tokenizer.languages["af"]
    (words,) = tokenizer.encode_words(["ba de"])
    assert "".join(texts[x] for x in words) == " ba de"
    assert len(texts) == tokenizer.vocab_size == first + 100 + 8
    assert [texts[x] for x in (*range(4), *range(first, first + 108))] == [""] * 112
    assert tokenizer.labels([*words, 2, first, first + 107])[-3:] == [
        "</s>",
        "__af__",
        "",
    ]
    (request,) = read_requests(tokenizer, [[5, 2]], ["ba"], [["go"]])
    assert request.prefix[0] == tokenizer.languages["fr"]
    assert tokenizer.decode([request.prefix]) == ["ba"]


def test_languages_are_chosen_by_code(many, tokenizer):
    translator = zoo.load(many, source_language="zu", target_language="de")
    assert translator.tokenizer.encode(["ba"])[0][0] == tokenizer.get_lang_id("zu")
    start = translator.tokenizer.encode_targets([""])
    assert start == [[tokenizer.get_lang_id("de")]]
    (found,) = translator.translate(["ba de"], max_length=4)
    assert found[0].tokens[0] == start[0][0]


def change(path, **changed):
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def test_a_model_of_wmt21_has_a_list_of_its_own(reverser):
    _, theirs, folder = reverser
    tokenizer = bart.load_tokenizer(open_directory(folder))
    languages = {x: theirs.get_lang_id(x) for x in LANGUAGES["wmt21"].split()}
    assert tokenizer.languages == languages


@pytest.mark.parametrize(
    ("name", "changed", "reason"),
    [
        ("tokenizer_config.json", {"src_lang": None}, "100 languages can be read, and"),
        ("tokenizer_config.json", {"src_lang": "xx"}, "src_lang in .*'xx'"),
        ("tokenizer_config.json", {"language_codes": "x"}, "language_codes of .*wmt21"),
        ("vocab.json", {"more": 7_000}, r"vocab\.json: .* not the \d+ tokens"),
        ("vocab.json", {"<s>": "one"}, r"vocab\.json: no table of tokens"),
        ("config.json", {"vocab_size": 130}, r"100 languages .* not the 130 tokens"),
        ("config.json", {"eos_token_id": 3}, r"eos_token_id is 3, but vocab\.json"),
        (MODEL, None, r"bpe\.model: no sound sentencepiece"),
    ],
)
def test_a_directory_that_cannot_be_is_told(many, tmp_path, name, changed, reason):
    folder = shutil.copytree(many, tmp_path / "model")
    if changed is None:
        (folder / name).write_text("{")
    else:
        change(folder / name, **changed)
    with pytest.raises(zoo.InputError, match=reason):
        zoo.load(folder, target_language="en")


def test_pieces_that_are_missing_are_named(many, tmp_path):
    folder = shutil.copytree(many, tmp_path / "model")
    (folder / MODEL).unlink()
    with pytest.raises(zoo.InputError, match=r"bpe\.model: no such file"):
        zoo.load(folder)
