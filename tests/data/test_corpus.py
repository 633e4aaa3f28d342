"""From the data of a config to the tokens of a run."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.translate.config import Config, data_from_json
from experiments.translate.corpus import prepare
from zoo.catalogue import model_config
from zoo.data.sources import (
    FilesData,
    PhrasesData,
    TfdsData,
    TransliterationData,
    TsvData,
    VersesData,
)
from zoo.data.tokenizer import Tokenizer
from zoo.errors import InputError

WORDS = {
    "train": ("ein ro@@ ter hund\nzwei  hunde\n", "a red dog\ntwo  dogs\n"),
    "val": ("drei hunde\n", "three dogs\n"),
    "test": ("ein hund\n", "a do@@ g\n"),
}


@pytest.fixture
def config(tmp_path):
    for split, texts in WORDS.items():
        for language, text in zip(("de", "en"), texts, strict=True):
            (tmp_path / f"{split}.{language}").write_text(text)
    return Config(
        model=model_config("transformer-tiny", vocab_size=50),
        data=FilesData(folder=tmp_path, tokens="words"),
        workdir=tmp_path / "run",
    )


def refuse(*_):
    raise AssertionError("encoded again")


def replaced(config, **data):

    return replace(config, data=replace(config.data, **data))


def test_words_pass_unharmed_and_unseen_ones_are_no_fault(config, caplog):
    corpora = prepare(config)
    decode = corpora.tokenizer.decode
    assert decode(corpora.train_ids[0]) == ["ein ro@@ ter hund", "zwei  hunde"]
    assert decode(corpora.train_ids[1]) == ["a red dog", "two  dogs"]
    assert decode(corpora.validation_ids[0]) == ["⁇ hunde"]
    assert not caplog.records


def test_a_sentence_longer_than_a_shared_row_is_named(config):
    data = config.data.folder
    (data / "val.de").write_text("drei hunde und noch einer und keiner mehr\n")
    training = replace(config.training, packed_length=5)
    prepare(replace(config, training=training))  # validation has rows of its own
    with pytest.raises(InputError) as caught:
        prepare(replace(config, training=replace(training, packed_length=4)))
    assert str(caught.value) == (
        f"{data}/train.de, line 1: 5 tokens, more than the limit of 4; remove or "
        "split it, or raise --training.packed-length"
    )


def test_how_much_of_the_text_is_unknown_is_told(config, caplog):

    small = replace(config.model, vocab_size=5)  # room for the empty word, which is two
    prepare(replace(config, model=small))
    (record,) = caplog.records
    # 11 of 13 tokens: "zwei  hunde" and "two  dogs" hold an empty word each.
    assert "84.62 % of the training text are unknown" in record.getMessage()


def test_tokens_are_made_once_and_hosts_compare_all_of_them(config, monkeypatch):
    first = prepare(config)
    digest = hashlib.sha256("".join(first.sha256.values()).encode())
    for side in (*first.train_ids, *first.validation_ids):
        digest.update(np.array([len(row) + 1 for row in side], np.int64).tobytes())
        digest.update(np.concatenate([*side]).astype(np.int32).tobytes())
    assert first.fingerprint() == digest.hexdigest()
    monkeypatch.setattr(Tokenizer, "encode", refuse)
    assert prepare(config).fingerprint() == first.fingerprint()


def test_a_cache_that_cannot_be_written_is_one_line(config, tmp_path, monkeypatch):
    (tmp_path / "cache").write_bytes(b"a file")
    monkeypatch.setenv("ATTENTION_ZOO_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="another folder in the variable ATTENTION_Z"):
        prepare(config)
    assert not config.workdir.exists()


def test_the_tokenizer_of_the_folder_is_used_again(config):
    first = prepare(config).tokenizer
    config.workdir.mkdir()
    first.save(config.workdir / "tokenizer.model")
    (config.data.folder / "train.de").write_text("neu\nzwei\n")
    tokenizer = prepare(config).tokenizer
    (ids,) = tokenizer.encode(["ein neu"])
    assert tokenizer.labels(ids) == ["ein", "⁇"]


def test_a_sentence_that_is_too_long_is_named_by_its_line_in_the_file(config):
    with pytest.raises(InputError) as caught:
        prepare(replaced(config, max_length=4))
    path = config.data.folder / "train.de"
    assert str(caught.value).startswith(f"{path}, line 1: 5 tokens, more than the")


def test_a_verse_that_is_too_long_is_named_by_its_line_in_the_table(config):
    path = config.data.folder / "verses.tsv"
    rows = ["book\tko\ten", "A\t가\ta", "B\t나\tb", "C\t다\t", "C\t다다다\tc c"]
    path.write_text("\n".join(rows))
    data = VersesData(
        path=path,
        source="ko",
        target="en",
        validation=("A",),
        test=("B",),
        tokens="characters",
        max_length=3,
    )
    with pytest.raises(InputError) as caught:
        prepare(Config(model=config.model, data=data, workdir=config.workdir))
    assert str(caught.value).startswith(f"{path}, column ko, line 5: 4 tokens")


@pytest.mark.parametrize(
    "data",
    [
        PhrasesData(num_train=7),
        FilesData(folder=Path("a"), tokens="words"),
        TsvData(train=Path("b.tsv")),
        TfdsData(data_dir=Path("c")),
        TransliterationData(path=Path("d")),
        VersesData(path=Path("e"), validation=("Ruth",), test=("Mark", "Acts")),
    ],
)
def test_every_kind_goes_to_json_and_back(data):
    config = Config(model=model_config("transformer-tiny"), data=data)
    values = json.loads(json.dumps(config.to_json(), default=str))["data"]
    assert data_from_json(values) == data
    assert type(data_from_json(values)) is type(data)


def test_a_kind_or_a_field_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="unknown kind of data: 'File'; did you"):
        data_from_json({"kind": "File"})
    with pytest.raises(InputError, match="unknown field of TsvData: 'tran'; did you"):
        data_from_json({"kind": "TsvData", "tran": "x"})
