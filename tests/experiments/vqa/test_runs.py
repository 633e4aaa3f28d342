"""A run of visual questions: what it leaves, and how it is taken up again."""

import json
import os
import signal
import warnings

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as orbax

import zoo
from experiments.vqa import train
from tests.commands import refused
from tests.experiments.vqa.runs import STEPS, TINY, result_of
from zoo.translation.translator import Translator


def test_a_run_leaves_everything_that_was_promised(unbroken):
    result = result_of(unbroken)
    assert result["task"] == "vqa"
    assert result["n"] == 80
    assert result["step"] == STEPS
    metrics = result["metrics"]
    assert set(metrics["controls"]) == {
        "question_only",
        "shuffled_image",
        "blank_image",
    }
    assert set(metrics["grounding"]) == {"glimpse 1", "glimpse 2"}
    assert {"closest", "furthest", "count", "non-relational"} <= set(metrics["groups"])
    for look in metrics["grounding"].values():
        assert 0 <= look["pointing_accuracy"] <= 100
        assert 0 <= look["groups"]["non-relational"]["pointing_accuracy"] <= 100
        assert look["accuracy_shown"] == pytest.approx(metrics["accuracy"], abs=1e-6)
    assert len(result["data_sha256"]["test"]) == 64
    assert (unbroken / "attention.png").read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((unbroken / "results.json").read_text())) == 80
    low, high = result["intervals"]["accuracy"]
    assert low < metrics["accuracy"] < high


def test_a_finished_run_prints_its_result_again(unbroken, capsys):
    train.main([*TINY, f"--workdir={unbroken}"])
    assert "is finished" in capsys.readouterr().out


def test_another_config_is_refused(unbroken, capsys, monkeypatch):
    arguments = [*TINY, "--seed=7", f"--workdir={unbroken}"]
    line = refused(capsys, monkeypatch, train, *arguments)
    assert "seed is 0 there and 7 here" in line


def test_a_stopped_run_goes_on_to_the_same_end(unbroken, tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    from experiments.vqa import task

    batches = task.training_batches

    def stopped(*arguments, **options):
        for number, batch in enumerate(batches(*arguments, **options)):
            if number == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(task, "training_batches", stopped)
        with pytest.raises(SystemExit) as exit_:
            train.main([*TINY, f"--workdir={workdir}"])
    assert exit_.value.code == 143
    train.main([*TINY, f"--workdir={workdir}"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sharding info not provided")
        mine, whole = (
            orbax.load(folder / "checkpoints" / str(STEPS))
            for folder in (workdir, unbroken)
        )
    for ours, theirs in zip(*map(jax.tree.leaves, (mine, whole)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_run_on_images_is_no_translator(unbroken):
    with pytest.raises(zoo.InputError, match="no translator"):
        Translator.from_run(unbroken)
