"""A file is the old one or the new one, whenever a process or a machine stops."""

import errno
import os

import pytest

from zoo.errors import InputError
from zoo.files import write_whole


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    path, done = tmp_path / "a", []
    path.write_bytes(b"old")
    sync, replace = os.fsync, os.replace

    def synced(descriptor):
        done.append(("synced", os.fstat(descriptor).st_size, path.read_bytes()))
        sync(descriptor)

    def replaced(*paths):
        done.append("replaced")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_whole(path, b"the new one")
    assert done == [("synced", 11, b"old"), "replaced"]
    assert path.read_bytes() == b"the new one"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, name
):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, name, full)
    with pytest.raises(InputError) as caught:
        write_whole(path, b"new")
    assert str(caught.value) == f"{path}: cannot be written: No space left on device"
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_what_a_killed_process_left_is_written_over(tmp_path):
    (tmp_path / "a.tmp").write_bytes(b"half")
    write_whole(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == ["a"]
