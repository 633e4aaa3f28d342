"""A translator of one's own text: what trains, and how a fault in it is named."""

import gzip
import json

import pytest

from experiments.translate import train
from tests.commands import refused
from tests.experiments.translate.runs import TRANSFORMER


@pytest.fixture
def corpus(tmp_path):
    """A folder of aligned text, as --data.folder expects it."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for split, count in (("train", 200), ("val", 20), ("test", 20)):
        for language, words in (("de", "eins zwei drei"), ("en", "one two three")):
            lines = [f"{words} {number}" for number in range(count)]
            (folder / f"{split}.{language}").write_text("\n".join(lines) + "\n")
    return folder


def from_files(folder, workdir, *extra):
    small = [option for option in TRANSFORMER if not option.startswith("--data")]
    places = [f"--data.folder={folder}", f"--workdir={workdir}"]
    return ["files", *small, "--model.num-layers=1", *places, *extra]


def test_own_files_train_compressed_or_not(corpus, tmp_path):
    path = corpus / "train.en"
    (corpus / "train.en.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    workdir = tmp_path / "run"
    train.main(from_files(corpus, workdir, "--training.num-steps=6"))
    assert json.loads((workdir / "result.json").read_text())["n"] == 20


def break_lengths(corpus):
    with (corpus / "train.en").open("a") as file:
        file.write("one more\n")


def break_encoding(corpus):
    lines = (corpus / "train.en").read_bytes().split(b"\n")
    lines[6] = b"caf\xe9"
    (corpus / "train.en").write_bytes(b"\n".join(lines))


def break_line(corpus):
    lines = (corpus / "val.de").read_text().split("\n")
    lines[2] = "  "
    (corpus / "val.de").write_text("\n".join(lines))


def break_all(corpus):
    (corpus / "train.de").write_text("")


def break_limit(corpus):
    lines = (corpus / "train.de").read_text().split("\n")
    lines[4] = "eins " * 300
    (corpus / "train.de").write_text("\n".join(lines))


def remove_file(corpus):
    (corpus / "test.en").unlink()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (break_lengths, "train.en has 201"),
        (break_encoding, "train.en, line 7: no valid UTF-8"),
        (break_line, "val.de, line 3: empty"),
        (break_all, "train.de: the file is empty"),
        (break_limit, "train.de, line 5: "),
        (remove_file, "test.en: no such file"),
    ],
)
def test_bad_text_is_named_by_file_and_line(
    corpus, tmp_path, capsys, monkeypatch, fault, message
):
    fault(corpus)
    arguments = from_files(corpus, tmp_path / "run")
    assert message in refused(capsys, monkeypatch, train, *arguments)
