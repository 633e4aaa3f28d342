"""Files of others that are damaged, enormous, or lead elsewhere: a line for each."""

import json
import zipfile

import pytest

import zoo
from zoo.data import archives
from zoo.data.saved_tokens import load_tokenizer
from zoo.pretrained.directory import open_directory


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
