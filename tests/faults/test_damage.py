"""The short version of `python -m benchmarks.faults.damage`."""

import random
import shutil

import pytest

from benchmarks.faults import damage


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    damage.save_steps(directory)
    return directory


@pytest.mark.parametrize("kind", damage.KINDS, ids=lambda kind: kind.__name__)
def test_damage_is_detected_and_an_older_step_used(tmp_path, whole, kind):
    rng = random.Random(kind.__name__)
    for case in ("first", "second"):
        directory = tmp_path / case / "checkpoints"
        shutil.copytree(whole, directory)
        kind(directory, rng)
        assert damage.outcome(directory, kind) == "detected"


def test_what_is_not_damaged_is_no_damage(tmp_path, whole):
    directory = tmp_path / "checkpoints"
    shutil.copytree(whole, directory)
    assert damage.outcome(directory, damage.flipped_bit) == (
        "not detected: goes on from 30"
    )
