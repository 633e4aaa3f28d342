"""One run at a time in a folder."""

import subprocess
import sys

import pytest

from zoo.errors import InputError
from zoo.training.alone import alone

HOLDER = """
import sys, time
from pathlib import Path
from zoo.training.alone import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_while_the_first_lasts(tmp_path):
    with alone(tmp_path):
        with (
            pytest.raises(InputError, match="is in use by another run"),
            alone(tmp_path),
        ):
            pass
        (tmp_path / "other").mkdir()
        with alone(tmp_path / "other"):
            pass
    with alone(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_killed_run_leaves_no_lock(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="is in use"), alone(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with alone(tmp_path):
        pass


def test_the_folder_is_made_or_a_line_says_why_not(tmp_path):
    with alone(tmp_path / "new" / "run"):
        assert (tmp_path / "new" / "run").is_dir()
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"cannot hold a run: .*choose another"),
        alone(tmp_path / "file"),
    ):
        pass


def test_where_there_are_no_locks_a_line_says_so(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with alone(tmp_path):
        pass
    (record,) = caplog.records
    assert "cannot be locked (No locks available)" in record.getMessage()
