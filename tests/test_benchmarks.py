"""The benchmarks: what is timed is the same work, and the ratio is the median's."""

import json
import time
from functools import partial

import numpy as np
import pytest

from benchmarks import curves, decoding, training
from benchmarks.curves import CURVES
from benchmarks.pairs import Paired, measure, relative_distance, require_close
from zoo.errors import InputError


class Sleeper:
    """A side that takes as long as it is told, and computes a number."""

    def __init__(self, seconds, number, cache):
        time.sleep(0.05)
        self._seconds, self._number = seconds, number
        self._compiling = 0.2

    def check(self):
        self._compiling = 0.0
        return {"number": np.array([1.0, self._number])}

    def run(self):
        time.sleep(self._seconds + self._compiling)
        self._compiling = 0.0

    def flops(self):
        return 1e6


def paired(ours, peer):
    return Paired(
        ours=ours,
        peer=peer,
        flops=1e9,
        ours_bytes=1,
        peer_bytes=2,
        cold_seconds=3.0,
        cached_seconds=1.0,
        differences={},
    )


def test_the_ratio_is_the_median_of_the_pairs_and_lies_in_its_interval():
    drift = np.linspace(1, 3, 21)  # the machine slows down for both
    peers = 2 * drift * np.random.default_rng(0).uniform(0.9, 1.1, 21)
    found = paired(list(drift), list(peers))
    assert found.ratio == np.median(peers / drift)
    low, high = found.interval
    assert 1.8 < low < found.ratio < high < 2.2
    assert found.to_json()["gflops_per_second"] == pytest.approx(1 / 2.0)


def test_two_processes_are_timed_in_turn(tmp_path):
    found = measure(
        partial(Sleeper, seconds=0.01, number=2.0),
        partial(Sleeper, seconds=0.05, number=2.00001),
        num_pairs=3,
        difference=relative_distance,
        tolerances={"numbers": 1e-4},
        cache=tmp_path,
    )
    assert 2 < found.ratio < 6
    assert len(found.ours) == len(found.peer) == 3
    # Making the work counts, and its first run, whatever a check has done before.
    assert found.cold_seconds > 0.25
    assert found.cached_seconds > 0.25
    assert found.ours_bytes > 10e6
    assert found.differences == {"numbers": pytest.approx(1e-5 / 5**0.5, rel=1e-2)}


def test_sides_that_compute_other_numbers_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"differ by 3.2e-01"):
        measure(
            partial(Sleeper, seconds=0.0, number=2.0),
            partial(Sleeper, seconds=0.0, number=3.0),
            num_pairs=1,
            difference=relative_distance,
            tolerances={"numbers": 1e-4},
            cache=tmp_path,
        )


def test_one_pair_is_refused_before_anything_is_timed():
    with pytest.raises(InputError, match="num_pairs is 1"):
        decoding.main(["--num-pairs", "1"])


def test_searches_differ_by_sentences_or_by_scores():
    tokens, scores = np.arange(8).reshape(4, 2), np.array([-1.0, -2.0, -3.0, -4.0])
    ours = {"tokens": tokens, "scores": scores}
    assert decoding.difference(ours, ours) == {"sentences": 0, "scores": 0}
    found = decoding.difference(ours, {**ours, "scores": 1.1 * scores})
    assert found == {"sentences": 0, "scores": pytest.approx(1 - 1 / 1.1)}
    other = np.where(tokens == 5, 9, tokens)
    found = decoding.difference(ours, {**ours, "tokens": other})
    assert found == {"sentences": 0.25, "scores": 0}


def test_scores_must_be_nearer_than_sentences():
    require_close({"sentences": 1 / 64, "scores": 1e-4}, decoding.TOLERANCES)
    with pytest.raises(
        ValueError, match=r"the scores of both sides differ by 1\.0e-02"
    ):
        require_close({"sentences": 0.0, "scores": 0.01}, decoding.TOLERANCES)
    with pytest.raises(ValueError, match="the sentences of both"):
        require_close({"sentences": 0.03, "scores": 0.0}, decoding.TOLERANCES)
    with pytest.raises(ValueError, match="the scores of both"):
        require_close({"sentences": 0.0, "scores": np.nan}, decoding.TOLERANCES)


def test_some_rows_do_not_take_the_place_of_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "benchmarks.tables.measure",
        lambda *_, **__: paired([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]),
    )
    training.main(["rnn-128x32"])
    training.main([])
    folder = tmp_path / "runs/benchmarks"
    names = {"training.json": len(training.ROWS), "training-rnn-128x32.json": 1}
    assert {path.name for path in folder.iterdir()} == set(names)
    for name, number in names.items():
        assert len(json.loads((folder / name).read_text())["rows"]) == number


def test_some_curves_do_not_take_the_place_of_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        curves, "measure", lambda _, value, runs: curves.Measured(value, value / 1e3, 1)
    )
    curves.main(["decoding by beam"])
    names = {path.name for path in (tmp_path / "runs/benchmarks").iterdir()}
    assert names == {"curves-decoding-by-beam.json", "curves-decoding-by-beam.png"}


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_changes_one_size(name):
    curve = CURVES[name]
    row = curve.row(curve.values[-1])
    found = {**row.overrides, **vars(row)}
    assert found[curve.size] == curve.values[-1]
    same = {**curve.base.overrides, **vars(curve.base)}
    changed = {key for key in found if found[key] != same.get(key)} - {"overrides"}
    assert changed - {"bar"} <= {curve.size, "mlp_dim"}
