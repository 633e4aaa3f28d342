import pathlib
import subprocess
import sys

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from zoo.data import tokenizer as subject
from zoo.data.tokenizer import Tokenizer
from zoo.errors import InputError

ROOT = pathlib.Path(__file__).parents[2]
MONTHS = ["January", "March", "April", "May", "November", "Mai", "März", "3월", "월"]
SENTENCES = [
    form.format(day=n % 28 + 1, month=MONTHS[n % len(MONTHS)], year=1950 + n)
    for n in range(200)
    for form in (
        "{day} {month} {year}",
        "{year}년 {month} {day}일",
        "am {day}. {month}",
    )
]


def pieces(tokenizer, sentence):
    return tokenizer.labels(tokenizer.encode([sentence])[0])


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(SENTENCES, 400)


@pytest.fixture(scope="module")
def lowercase():
    return Tokenizer.train(SENTENCES, 400, lowercase=True)


def refusal(call, *arguments, **options):
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_ids_of_special_tokens_are_those_of_every_model(tokenizer):
    model = sentencepiece.SentencePieceProcessor(model_proto=tokenizer._model)
    assert (model.pad_id(), model.bos_id(), model.eos_id()) == (0, 1, 2)
    assert (Tokenizer.pad_id, Tokenizer.start_id, Tokenizer.eos_id) == (0, 1, 2)
    assert model.unk_id() == 3


@given(text=st.text())
def test_any_text_comes_back(tokenizer, text):
    # U+2581 is how sentencepiece writes a space: the one documented exception.
    (ids,) = tokenizer.encode([text])
    assert tokenizer.decode([ids]) == [text.replace("\u2581", " ")]
    assert all(4 <= token < tokenizer.vocab_size for token in ids)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "  a  b  ",
        "\x00",
        "\ta\r\x7f\x85",
        "12\u202f000\u00a0€",
        "\ufeffa\u200b",
        "e\u0301 é ﬁ Ａ",
        "\u2028\u2029\u2047\u2585",
        "🙂\U0010ffff",
        "3 March 2021",
    ],
)
def test_unusual_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode([text, "x"])) == [text, "x"]


@pytest.mark.parametrize(
    "text", ["</s>", "<pad>", "<s>", "<unk>", "<0x41>", "a</s>b<pad><s> </s>"]
)
def test_control_symbols_in_a_text_are_characters(tokenizer, text):
    trained_on_them = Tokenizer.train([text, "a b", *SENTENCES], 400)
    for encoder in (tokenizer, trained_on_them):
        (ids,) = encoder.encode([text])
        assert min(ids) > 3
        assert encoder.decode([ids]) == [text]


def test_lower_case_is_made_by_the_model_and_keeps_eszett(lowercase, tmp_path):
    lowercase.save(tmp_path / "model")
    for encoder in (lowercase, Tokenizer.load(tmp_path / "model")):
        shouted, spoken = encoder.encode(["STRASSE ÄÖ MÄRZ", "strasse äö märz"])
        assert shouted == spoken
        assert encoder.decode(encoder.encode(["Große  ﬁ Ａ "])) == ["große fi a"]


@given(text=st.text())
def test_lower_case_text_comes_back(lowercase, text):
    once = lowercase.decode(lowercase.encode([text]))
    assert lowercase.decode(lowercase.encode(once)) == once


def test_decoding_stops_at_the_end_and_skips_start_and_padding(tokenizer):
    (ids,) = tokenizer.encode(["3 March"])
    (other,) = tokenizer.encode(["May"])
    rows = [[1, *ids, 2, *other], [0, 1, *ids, 0], [*ids, 2, 2, 0, 0], [2, *ids], []]
    assert tokenizer.decode(rows) == ["3 March", "3 March", "3 March", "", ""]


def test_no_sentences_and_empty_sentences_stay_so(tokenizer):
    assert tokenizer.decode(tokenizer.encode([])) == []
    assert tokenizer.decode(tokenizer.encode([""])) == [""]
    assert tokenizer.decode(np.zeros((0, 5), np.int32)) == []


def test_decoding_takes_arrays(tokenizer):
    (ids,) = tokenizer.encode(["3 March"])
    array = np.array([[*ids, 2, 0], [2, *ids, 0]], np.int32)
    assert tokenizer.decode(array) == ["3 March", ""]


def test_frequent_words_are_whole_and_digits_single(tokenizer):
    assert pieces(tokenizer, "November 1987") == ["November", "1", "9", "8", "7"]
    assert pieces(tokenizer, "1987년") == ["1", "9", "8", "7", "년"]


@given(text=st.text())
def test_there_is_a_label_for_each_id(tokenizer, text):
    (ids,) = tokenizer.encode([text])
    labels = pieces(tokenizer, text)
    assert len(labels) == len(ids)
    assert all(labels)
    assert not any("\u2581" in label.strip("\u2581") for label in labels)


def test_a_character_that_was_not_trained_is_bytes(tokenizer):
    assert pieces(tokenizer, "€")[-3:] == ["<0xE2>", "<0x82>", "<0xAC>"]


def test_a_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(b"an older one")
    tokenizer.save(path)
    again = Tokenizer.load(path)
    assert again.encode(SENTENCES) == tokenizer.encode(SENTENCES)
    assert again.vocab_size == tokenizer.vocab_size
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_sentencepiece_reads_the_file_too(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "a.model")
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "a.model"))
    assert model.encode(SENTENCES) == tokenizer.encode(SENTENCES)


def test_a_save_that_fails_leaves_the_old_file(tokenizer, tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(b"old")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(subject.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        tokenizer.save(path)
    assert path.read_bytes() == b"old"


def test_damage_anywhere_in_the_file_is_found(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.model"
    tokenizer.save(path)
    whole = path.read_bytes()
    places = np.random.default_rng(0).integers(len(whole), size=100)
    flipped = [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in places]
    cut = [whole[:n] for n in (0, 1, 35, len(whole) // 2, len(whole) - 1)]
    for damaged in [*flipped, *cut, whole + b"\0", b"x" * 35, tokenizer._model]:
        path.write_bytes(damaged)
        assert f"{path}: damaged" in refusal(Tokenizer.load, path)


def test_a_missing_tokenizer_is_named(tmp_path):
    path = tmp_path / "none.model"
    assert str(path) in refusal(Tokenizer.load, path)
    assert str(tmp_path) in refusal(Tokenizer.load, tmp_path)


def test_a_corpus_with_few_subwords_just_works():
    small = Tokenizer.train(["a b", "a c"], 8000)
    assert small.vocab_size < 300
    assert small.decode(small.encode(["b c"])) == ["b c"]


def test_thousands_of_rare_characters_leave_room_for_words():
    rare = [chr(0x4E00 + n) for n in range(1000)]
    common = SENTENCES * 20
    tokenizer = Tokenizer.train([*common, *rare], 700)
    assert pieces(tokenizer, "November") == ["November"]
    assert tokenizer.decode(tokenizer.encode(rare)) == rare


@pytest.mark.parametrize("vocab_size", [-1, 0, 100, 263])
def test_too_small_a_vocabulary_is_refused_and_the_remedy_works(vocab_size, capfd):
    message = refusal(Tokenizer.train, SENTENCES, vocab_size)
    assert f"a vocabulary of {vocab_size} is too small" in message
    enough = int(message.split(" is enough")[0].split()[-1])
    assert Tokenizer.train(SENTENCES, enough).vocab_size <= enough
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("sentences", [[], ["", ""], ["  ", "\t"]])
def test_an_empty_corpus_is_refused(sentences):
    assert "empty" in refusal(Tokenizer.train, sentences, 400)


def test_text_that_is_no_unicode_is_named(tokenizer):
    assert "sentence 2" in refusal(tokenizer.encode, ["a", "b\udc80"])


def test_training_is_quiet_and_the_same_in_every_process():
    program = (
        "import hashlib; from zoo.data import tokenizer as t; t._SAMPLE_SIZE = 300\n"
        "s = [f'{w}{n} {n} word' for n in range(999) for w in ('x', 'yz', 'März')]\n"
        "print(hashlib.sha256(t.Tokenizer.train(iter(s), 900)._model).hexdigest())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
        )
        for _ in range(2)
    ]
    assert [run.stderr for run in runs] == ["", ""]
    assert len(runs[0].stdout.strip()) == 64
    assert runs[0].stdout == runs[1].stdout


def test_a_sample_is_drawn_evenly_from_the_whole_stream():
    assert subject._sample(iter("abc"), 5) == ["a", "b", "c"]
    stream = [str(n) for n in range(10_000)]
    sample = subject._sample(iter(stream), 1000)
    assert len(set(sample)) == 1000
    assert sample == subject._sample(iter(stream), 1000)
    tenths = np.bincount([int(number) // 1000 for number in sample], minlength=10)
    # 100 each expected, with a standard deviation of 9.
    assert tenths.min() > 60
    assert tenths.max() < 140
