"""An entry is made once, is whole or not there, and made anew where it is damaged."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from zoo.data import cache
from zoo.data.cache import append, cache_folder, entry, scratch
from zoo.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTENTION_ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make(folder):
    (folder / "one").write_bytes(b"first")
    (folder / "other").write_bytes(b"")


def refuse(folder):
    raise AssertionError("made again")


def visible(folder):
    return [path.name for path in folder.iterdir() if not path.name.startswith(".lock")]


def test_what_is_made_is_found_again(folder):
    path = entry("key", make)
    assert path == folder / "key"
    assert entry("key", refuse) == path
    assert (path / "one").read_bytes() == b"first"
    assert visible(folder) == ["key"]


def test_the_folder_is_named_by_the_variable_or_is_the_users_own(monkeypatch):
    monkeypatch.setenv("HOME", "/home/of")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/of")
    monkeypatch.setenv("ATTENTION_ZOO_CACHE", "~/mine")
    assert cache_folder() == Path("/home/of/mine")
    monkeypatch.delenv("ATTENTION_ZOO_CACHE")
    assert cache_folder() == Path("/var/of/attention-zoo")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/home/of/.cache/attention-zoo")


def flipped(path):
    (path / "one").write_bytes(b"fIrst")


def cut(path):
    (path / "one").write_bytes(b"fir")


def lacking(path):
    (path / "other").unlink()


def added(path):
    (path / "third").touch()


def unsigned(path):
    (path / "manifest.json").unlink()


def nonsense(path):
    (path / "manifest.json").write_bytes(b"[" * 10_000)


def huge(path):
    with (path / "manifest.json").open("r+b") as manifest:
        manifest.truncate(10**12)


def no_folder(path):
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    path.write_bytes(b"x")


@pytest.mark.parametrize(
    "damage", [flipped, cut, lacking, added, unsigned, nonsense, huge, no_folder]
)
def test_a_damaged_entry_is_made_anew_with_a_line(folder, damage, caplog):
    path = entry("key", make)
    damage(path)
    assert entry("key", make) == path
    (record,) = caplog.records
    assert record.getMessage() == f"{path}: damaged; it is made anew"
    assert (path / "one").read_bytes() == b"first"
    assert sorted(json.loads((path / "manifest.json").read_text())) == ["one", "other"]
    assert entry("key", refuse) == path
    assert visible(folder) == ["key"]


def test_what_fails_leaves_nothing(folder):
    def fail(place):
        make(place)
        raise InputError("line 3")

    with pytest.raises(InputError, match="line 3"):
        entry("key", fail)
    assert visible(folder) == []


def test_a_full_disk_is_one_line_that_names_the_variable(folder):
    def fill(place):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError) as caught:
        entry("key", fill)
    assert str(caught.value) == (
        f"{folder}: the cache cannot be written (No space left on device); make room, "
        "or name another folder in the variable ATTENTION_ZOO_CACHE"
    )


@pytest.mark.parametrize("use", [lambda: entry("key", make), scratch])
def test_a_folder_that_cannot_be_is_refused(folder, use):
    folder.write_bytes(b"a file")
    with pytest.raises(InputError, match=f"{folder}: the cache cannot be .*_ZOO_CACHE"):
        use()


def test_an_entry_is_seen_by_nobody_before_it_is_whole(folder):
    half, go_on = threading.Event(), threading.Event()

    def slowly(place):
        (place / "one").write_bytes(b"first")
        half.set()
        assert go_on.wait(10)
        (place / "other").write_bytes(b"")

    thread = threading.Thread(target=entry, args=("key", slowly))
    thread.start()
    assert half.wait(10)
    assert not (folder / "key").exists()
    # Whoever comes meanwhile makes its own, which stays.
    path = entry("key", make)
    before = (path / "one").stat().st_ino
    go_on.set()
    thread.join(10)
    assert (path / "one").stat().st_ino == before
    assert entry("key", refuse) == path
    assert visible(folder) == ["key"]


@pytest.mark.parametrize("damaged", [False, True])
def test_processes_that_race_all_read_the_same(folder, damaged):
    if damaged:
        flipped(entry("key", make))
    lines = """import sys, time
from zoo.data.cache import entry
def make(folder):
    (folder / "one").write_bytes(b"first" * 1000)
    time.sleep(0.2)
    (folder / "other").write_bytes(b"second")
print("ready", flush=True)
sys.stdin.readline()
path = entry("key", make)
print((path / "one").read_bytes() == b"first" * 1000, (path / "other").read_bytes())
"""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", lines],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    for child in children:
        assert child.communicate(timeout=30)[0] == "True b'second'\n"
        assert child.returncode == 0
    assert visible(folder) == ["key"]
    assert entry("key", refuse)


def test_what_a_killed_process_left_is_removed_a_day_later(folder):
    for name in (".partial-old", ".partial-new"):
        (folder / name / "made").mkdir(parents=True)
        (folder / name / "made" / "ids").touch()
    for path in (folder / ".partial-old").rglob("*"):
        os.utime(path, (1, 1))
    entry("first", make)
    assert len(visible(folder)) == 3  # its folder is of today
    os.utime(folder / ".partial-old", (1, 1))
    entry("second", make)
    assert sorted(visible(folder)) == [".partial-new", "first", "second"]


def test_a_scratch_file_has_no_name_and_takes_what_is_written(folder):
    with scratch() as file:
        append(file, b"text")
        file.seek(0)
        assert file.read() == b"text"
        assert visible(folder) == []


def test_the_suite_has_a_cache_of_its_own():
    assert Path.home() not in cache.cache_folder().parents
