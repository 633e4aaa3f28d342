"""The short version of `python -m benchmarks.faults.kills vqa`.

The translator's is in tests/experiments/translate/test_runs.py.
"""

import json
import math
import sys
from dataclasses import asdict

import pytest

from benchmarks.faults import kills


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    tmp_path, monkeypatch, capsys
):
    count = kills._killed("vqa", tmp_path, 2, 60, 1, math.inf)
    assert count.kills >= 1  # the run may end before the second one
    assert capsys.readouterr().out.count("vqa, seed 1") == count.kills

    def again(*arguments, **options):
        raise AssertionError("this was done before")

    monkeypatch.setattr(kills, "storm", again)
    assert kills._killed("vqa", tmp_path, 2, 60, 1, math.inf) == count


@pytest.mark.parametrize(
    ("count", "final", "message"),
    [
        (kills.Count(2), "other", "the final parameters differ"),
        (kills.Count(2, damaged=1), "same", "1 checkpoints damaged"),
        (kills.Count(2, most_repeated=21), "same", "21 updates were repeated"),
    ],
)
def test_what_a_kill_must_not_do_is_told(tmp_path, monkeypatch, count, final, message):
    record = json.dumps({"count": asdict(count)})
    (tmp_path / "kills.json").write_text(record)
    monkeypatch.setattr(kills, "storm", lambda *arguments, **options: count)
    monkeypatch.setattr(
        kills, "parameters", lambda run: final if run.name == "killed" else "same"
    )
    with pytest.raises(SystemExit, match=message):
        kills._killed("vqa", tmp_path, 2, 60, 0, math.inf)


def test_runs_are_killed_until_it_was_often_enough_or_the_time_is_over(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        kills, "_killed", lambda task, place, left, *_: kills.Count(min(left, 3), 1)
    )
    assert kills.suffer("vqa", tmp_path, 7, 60, math.inf)
    assert "7 kills of 3 runs, 3 while a checkpoint" in capsys.readouterr().out
    assert not kills.suffer("vqa", tmp_path, 7, 60, 0.0)
    assert "3 kills of 1 runs" in capsys.readouterr().out


def test_a_run_that_dies_by_itself_is_no_kill(tmp_path, monkeypatch):
    crash = "import os; os.kill(os.getpid(), 6)"
    monkeypatch.setattr(kills, "command", lambda *_: [sys.executable, "-c", crash])
    with pytest.raises(SystemExit, match="0 kills: ended with -6 by itself"):
        kills.storm("vqa", tmp_path / "run", 0, 60, 0)


def test_what_was_left_unfinished_before_is_not_written_now(tmp_path):
    folder = tmp_path / "checkpoints"
    for name in ("20", ".partial-40", ".partial-deleted-20"):
        (folder / name).mkdir(parents=True)
    left = kills._unfinished(tmp_path)
    assert [name for name, _ in left] == [".partial-40"]
    (folder / ".partial-60").mkdir()
    assert [name for name, _ in kills._unfinished(tmp_path) - left] == [".partial-60"]
