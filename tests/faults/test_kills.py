"""The short version of `python -m benchmarks.faults.kills vqa`.

The translator's is in tests/experiments/translate/test_runs.py.
"""

from benchmarks.faults import kills


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(tmp_path):
    kills.storm("vqa", tmp_path / "whole", 0, 60, 0)
    count = kills.storm("vqa", tmp_path / "killed", 2, 60, 0)
    assert count.kills >= 1  # the run may end before the second one
    assert count.damaged == 0
    assert count.most_repeated <= kills.INTERVAL
    assert kills.parameters(tmp_path / "whole") == kills.parameters(tmp_path / "killed")
