"""The short version of `python -m benchmarks.faults.hostile`."""

import gzip
import tracemalloc

import pytest

from benchmarks.faults import hostile
from zoo.checkpoints import Checkpoints
from zoo.data import lines
from zoo.data.lines import read_lines
from zoo.data.vqa import image_files
from zoo.errors import InputError, read_limited


@pytest.mark.parametrize("kind", hostile.CLASSES, ids=lambda kind: kind.__name__)
def test_every_case_ends_as_one_line_or_was_sound(tmp_path, kind):
    cases = 4 if kind is hostile.damaged_checkpoint else 20
    counts = hostile.count(kind, cases, tmp_path)
    assert sum(counts.values()) == cases
    assert not hostile.defects(kind, counts), counts
    assert counts["refused"] >= cases / 2


def test_what_is_read_is_a_defect_where_no_case_is_sound(tmp_path, monkeypatch):
    # As if nothing looked whether a checkpoint is what was written.
    monkeypatch.setattr(Checkpoints, "restore", lambda *_: None)
    counts = hostile.count(hostile.damaged_checkpoint, 2, tmp_path)
    assert hostile.defects(hostile.damaged_checkpoint, counts) == 2


def test_a_bomb_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MAX_BYTES", 1_000_000)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(100_000_000), compresslevel=1))
    tracemalloc.start()
    with pytest.raises(InputError, match="more than 1,000,000 bytes"):
        read_lines(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_an_array_larger_than_its_file_is_not_made_room_for(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "MAX_BYTES", 1_000_000)
    path = tmp_path / "regions.npz"
    path.write_bytes(hostile._npz("x.npy", bytes(20_000_000)))
    with pytest.raises(InputError, match="larger than 1,000,000 bytes; copy"):
        image_files.RegionFiles([path], 4, 8)[0]


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_limited(path, 5) == b"12345"
    with pytest.raises(InputError, match="5 bytes, but at most 4 are read"):
        read_limited(path, 4)
    with pytest.raises(InputError, match="/dev/zero: no regular file"):
        read_limited("/dev/zero", 5)
