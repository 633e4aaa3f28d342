"""A tokenizer.json that somebody made: one line where the library would panic."""

import json

import pytest

import zoo
from zoo.data.json_tokens import JsonTokenizer
from zoo.data.saved_tokens import load_tokenizer

pytest.importorskip("tokenizers")
NAMES = ["<s>", "<pad>", "</s>", "<unk>", "fra_Latn"]
VOCABULARY = {name: number for number, name in enumerate([*NAMES, "a", "aa"])}


def content(vocabulary=VOCABULARY, *, processor=None, normalizer=None, **model):
    """Returns a tokenizer.json of whole words, or of another model."""
    kind = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [
        {"id": number, "content": name, "special": True, **flags}
        for number, name in enumerate(NAMES)
    ]
    values = {"version": "1.0", "added_tokens": added, "model": kind | model}
    values |= {"normalizer": normalizer, "post_processor": processor}
    return json.dumps(values).encode()


UNKNOWN = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "nobody", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
    "special_tokens": {},
}
BEYOND = {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 99]}
CHARACTERS = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
PIECES = {"type": "Unigram", "vocab": [[name, -1.0] for name in VOCABULARY]}


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (content({**VOCABULARY, "b": 9}), "numbers up to 9, but the model has 9"),
        (content(processor=BEYOND), "numbers up to 99"),
        (content(processor=UNKNOWN), "no sound tokenizer"),
        (content(normalizer=CHARACTERS), "no sound tokenizer"),
        (content(unk_token="nobody"), "no sound tokenizer"),
        (content(**PIECES, unk_id=None), "no sound tokenizer"),
        (b"\xff", "no sound tokenizer"),
    ],
    ids=["gap", "beyond", "template", "characters", "unknown", "pieces", "bytes"],
)
def test_what_cannot_cut_text_is_refused_in_a_line(file, reason):
    with pytest.raises(zoo.InputError, match=f"here: {reason}") as error:
        JsonTokenizer(file, 9, where="here")
    assert "\n" not in str(error.value)


def test_an_interrupt_is_no_fault_of_a_file(monkeypatch):
    tokenizer = JsonTokenizer(content(), 9)

    class Library:
        def encode(self, text):
            raise KeyboardInterrupt

    monkeypatch.setattr(tokenizer, "_tokenizer", Library())
    with pytest.raises(KeyboardInterrupt):
        tokenizer.template()


def test_a_vocabulary_without_text_is_refused():
    names = {name: number for number, name in enumerate(NAMES)}
    with pytest.raises(zoo.InputError, match="no token has a text"):
        JsonTokenizer(content(names), 9).texts()


def test_words_are_never_cut_at_random():
    options = {"type": "BPE", "merges": [["a", "a"]], "dropout": 0.5}
    rows = JsonTokenizer(content(**options), 9).encode(["aa"] * 20)
    assert rows == [[VOCABULARY["aa"]]] * 20


def test_no_language_is_guessed_and_so_it_is_kept(tmp_path):
    path = tmp_path / "tokenizer.model"
    JsonTokenizer(content(), 9, None, None).save(path)
    found = load_tokenizer(path)
    with pytest.raises(zoo.InputError, match=r"can be read, .* give source_language"):
        found.encode(["a"])
    with pytest.raises(
        zoo.InputError, match=r"can be written, .* give target_language"
    ):
        found.encode_targets(["a"])
