"""Directories of others: what is read, and the one line that each kind of harm gets."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from zoo.errors import InputError
from zoo.pretrained.directory import open_directory

TENSORS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.array([0.5, 1.5], np.float16),
    "brain": np.array([0.5, -3.0], ml_dtypes.bfloat16),
    "ids": np.arange(3),
}


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "model"
    root.mkdir()
    (root / "config.json").write_text('{"model_type": "marian"}')
    save_file(TENSORS, root / "model.safetensors")
    return root


@pytest.fixture
def sharded(root):
    (root / "model.safetensors").unlink()
    places = {}
    for number, names in enumerate((["a", "half"], ["brain", "ids"])):
        file = f"model-{number}.safetensors"
        save_file({name: TENSORS[name] for name in names}, root / file)
        places.update(dict.fromkeys(names, file))
    write_index(root, places)
    return root, places


def write_index(root, places):
    path = root / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": places}))


def check_tensors(weights):
    assert set(weights) == set(TENSORS)
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(weights[name], tensor.astype(weights[name].dtype))
    assert {weights[name].dtype for name in ("a", "half", "brain")} == {
        np.dtype("float32")
    }
    assert weights["ids"].dtype == np.dtype("int64")


def test_tensors_of_one_file_are_read_halves_as_float32(root):
    check_tensors(open_directory(root).weights())


def test_shards_read_like_one_file(sharded):
    check_tensors(open_directory(sharded[0]).weights())


def damage_header(data):
    return data.replace(b"[2,3]", b"[9,3]")


def damage_length(data):
    return struct.pack("<Q", 1 << 60) + data[8:]


@pytest.mark.parametrize(
    "harm",
    [
        damage_header,
        damage_length,
        lambda data: data[:-3],
        lambda data: data + b"more",
        lambda data: data.replace(b'"F16"', b'"F61"'),
        lambda data: b"\x80\x04\x95pickle" * 9,
        lambda data: b"",
    ],
    ids=["shape", "length", "truncated", "longer", "dtype", "pickle", "empty"],
)
def test_a_damaged_file_of_weights_is_named(root, harm):
    path = root / "model.safetensors"
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(InputError, match=r"model\.safetensors: no sound .* again"):
        open_directory(root).weights()


def test_a_missing_shard_is_named(sharded):
    root, _ = sharded
    (root / "model-1.safetensors").unlink()
    with pytest.raises(InputError, match=r"model-1\.safetensors: no such file"):
        open_directory(root).weights()


def test_a_tensor_that_the_index_promises_in_vain_is_named(sharded):
    root, places = sharded
    write_index(root, {**places, "b": "model-1.safetensors"})
    with pytest.raises(InputError, match=r"b is to be in model-1\.safetensors"):
        open_directory(root).weights()


def test_a_tensor_of_two_shards_is_refused(sharded):
    root, _ = sharded
    save_file({"a": TENSORS["a"], "ids": TENSORS["ids"]}, root / "model-1.safetensors")
    with pytest.raises(InputError, match=r"model-1\.safetensors: a is in model-0"):
        open_directory(root).weights()


@pytest.mark.parametrize(
    "index",
    ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "{", "[" * 9999],
)
def test_an_index_that_is_none_is_refused(sharded, index):
    root, _ = sharded
    (root / "model.safetensors.index.json").write_text(index)
    with pytest.raises(InputError, match=r"index\.json: no (JSON|table)"):
        open_directory(root).weights()


@pytest.mark.parametrize("place", ["../outside.safetensors", "/etc/passwd"])
def test_an_index_cannot_name_a_file_outside(sharded, place):
    root, places = sharded
    save_file(TENSORS, root.parent / "outside.safetensors")
    write_index(root, dict.fromkeys(places, place))
    with pytest.raises(InputError, match="lies outside"):
        open_directory(root).weights()


def test_a_link_cannot_lead_outside(root):
    path = root / "model.safetensors"
    path.rename(root.parent / "outside.safetensors")
    path.symlink_to(root.parent / "outside.safetensors")
    with pytest.raises(InputError, match="lies outside"):
        open_directory(root).weights()


def test_the_cache_of_the_hub_links_to_its_blobs(tmp_path, root):
    repository = tmp_path / "models--owner--name"
    snapshot = repository / "snapshots" / "c0ffee"
    snapshot.parent.mkdir(parents=True)
    root.rename(snapshot)
    (repository / "blobs").mkdir()
    (snapshot / "model.safetensors").rename(repository / "blobs" / "0a")
    (snapshot / "model.safetensors").symlink_to("../../blobs/0a")
    check_tensors(open_directory(snapshot).weights())


def pickled(root):
    (root / "model.safetensors").unlink()
    (root / "config.json").write_text('{"architectures": ["MarianMTModel"]}')
    (root / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    return root


def test_pickled_weights_are_refused_with_the_command_that_converts_them(root):
    with pytest.raises(InputError) as raised:
        open_directory(pickled(root)).weights()
    command = f"transformers.MarianMTModel.from_pretrained('{root}').save_pretrained"
    assert f"{command}('{root}')" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_pickled_weights_of_the_hub_are_converted_outside_its_cache(tmp_path, root):
    snapshot = tmp_path / "models--owner--a-name" / "snapshots" / "c0ffee"
    snapshot.parent.mkdir(parents=True)
    pickled(root).rename(snapshot)
    (snapshot / "pytorch_model.bin").unlink()  # which is never downloaded
    with pytest.raises(InputError) as raised:
        open_directory(snapshot).weights()
    command = "from_pretrained('owner/a-name').save_pretrained('my-model')"
    assert command in str(raised.value)
    assert str(tmp_path) not in str(raised.value)


def test_a_directory_without_any_weights_is_told_so(root):
    (root / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no weights") as raised:
        open_directory(root).weights()
    assert "pickled" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"'])
def test_a_config_that_is_none_is_refused(root, text):
    (root / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json: no JSON"):
        open_directory(root)


def test_a_directory_must_be_there(tmp_path):
    with pytest.raises(InputError, match="no such directory"):
        open_directory(tmp_path / "none")
    with pytest.raises(InputError, match=r"config\.json: no such file"):
        open_directory(tmp_path)
