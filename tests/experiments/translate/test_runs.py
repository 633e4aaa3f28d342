"""A run of the translation experiment: what it leaves, and how it is taken up again."""

import json
import shutil
import signal
import subprocess
import time

import jax
import numpy as np
import pytest

import zoo
from experiments.translate import train
from tests.commands import refused
from tests.experiments.translate.runs import (
    ROOT,
    STEPS,
    TINY,
    TRANSFORMER,
    arrays,
    command,
    finish,
    measured,
)
from zoo.checkpoints import restore_params
from zoo.training.alone import alone
from zoo.translation.translator import Translator


def test_a_run_leaves_everything_that_was_promised(unbroken):
    result = json.loads((unbroken / "result.json").read_text())
    assert result["task"] == "translate"
    assert result["n"] == 40
    assert result["step"] == STEPS
    assert set(result["metrics"]) == {
        "bleu",
        "chrf",
        "chrf_pp",
        "exact_match",
        "exact_match_by_category",
    }
    assert result["seconds"] > 0
    assert result["signature"].startswith("nrefs:1")
    assert len(result["data_sha256"]["train"]) == 64
    assert (unbroken / "attention.png").read_bytes().startswith(b"\x89PNG")
    assert (unbroken / "tokenizer.model").exists()
    assert [line["step"] for line in measured(unbroken)] == [20, 40, 60]
    assert result["averaged"] == 1
    assert (unbroken / "test.txt").read_text().count("\n") == 40


def test_a_translator_of_several_checkpoints_has_their_mean(unbroken):
    directory = unbroken / "checkpoints"
    mean = Translator.from_run(unbroken, average=2).params
    kept = [restore_params(directory, step, mean) for step in (40, 60)]
    for leaf, *leaves in zip(*map(jax.tree.leaves, (mean, *kept)), strict=True):
        assert np.any(leaves[0] != leaves[1])
        np.testing.assert_allclose(leaf, (leaves[0] + leaves[1]) / 2, atol=1e-6)
    with pytest.raises(zoo.InputError, match=r"only . checkpoints to average 9"):
        Translator.from_run(unbroken, average=9)


def stop(workdir, step, number):
    """Starts a run, sends it a signal once it has a checkpoint of that step.

    Returns its status, and what it has said.
    """
    process = subprocess.Popen(
        command(workdir),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (workdir / "checkpoints" / str(step)).exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(number)
    output, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    assert not (workdir / "result.json").exists()
    return process.returncode, output


def test_an_interrupted_and_a_killed_run_go_on_to_the_same_end(unbroken, tmp_path):
    workdir = tmp_path / "run"
    status, _ = stop(workdir, 20, signal.SIGINT)
    assert status == 130
    status, output = stop(workdir, 40, signal.SIGKILL)
    assert status == -signal.SIGKILL
    assert "goes on from step 2" in output
    assert "goes on from step 40" in finish(workdir).stdout
    assert measured(workdir) == measured(unbroken)
    ours, theirs = jax.tree.leaves(arrays(workdir)), jax.tree.leaves(arrays(unbroken))
    for mine, yours in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, yours)


def test_eight_devices_under_pmap_train_as_one(unbroken, tmp_path):
    options = ["--training.num-steps=20", "--training.driver=pmap"]
    # Not in portions: batches then have as many rows as those of one device.
    options += ["--training.accumulation=1", f"--workdir={tmp_path}"]
    train.main([*TRANSFORMER, *options])
    (ours,), (theirs, *_) = measured(tmp_path), measured(unbroken)
    loss = "loss_nats_per_token"
    assert ours[loss] == pytest.approx(theirs[loss], rel=1e-3)
    assert ours["step"] == theirs["step"]


def test_a_finished_run_prints_its_result_again(unbroken, capsys):
    train.main([*TRANSFORMER, "--workdir", str(unbroken)])
    assert "is finished" in capsys.readouterr().out


def test_another_config_is_refused_and_nothing_overwritten(
    unbroken, capsys, monkeypatch
):
    before = {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")}
    arguments = [*TRANSFORMER, "--seed", "7", "--workdir", unbroken]
    line = refused(capsys, monkeypatch, train, *arguments)
    assert "seed is 0 there and 7 here" in line
    assert {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")} == before


def test_a_second_run_in_the_same_folder_is_refused(tmp_path, capsys, monkeypatch):
    with alone(tmp_path):
        line = refused(capsys, monkeypatch, train, *TRANSFORMER, "--workdir", tmp_path)
    assert f"{tmp_path} is in use by another run" in line
    assert not (tmp_path / "checkpoints").exists()


def test_a_config_is_compared_and_written_in_the_lock(tmp_path, capsys, monkeypatch):
    def opened(workdir, config):
        with pytest.raises(zoo.InputError, match="in use"), alone(workdir):
            pass
        raise zoo.InputError("it was held")

    monkeypatch.setattr("zoo.training.records.open_run", opened)
    line = refused(capsys, monkeypatch, train, *TRANSFORMER, "--workdir", tmp_path)
    assert line == "error: it was held"


def test_a_run_that_another_command_has_ended_meanwhile_is_finished(
    unbroken, tmp_path, capsys, monkeypatch
):
    from experiments.translate.corpus import prepare

    def meanwhile(*arguments):
        for name in ("config.json", "result.json"):
            shutil.copy(unbroken / name, tmp_path)
        return prepare(*arguments)

    monkeypatch.setattr("experiments.translate.corpus.prepare", meanwhile)
    train.main([*TRANSFORMER, "--workdir", str(tmp_path)])
    assert "is finished" in capsys.readouterr().out
    assert not (tmp_path / "checkpoints").exists()


def test_a_run_that_was_killed_before_its_test_goes_straight_to_it(
    tmp_path, monkeypatch
):
    options = ["phrases-rnn", *TINY, "--training.max-minutes=1e-6"]
    options += ["--decoding.average=3", f"--workdir={tmp_path / 'run'}"]

    def die(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("experiments.translate.result.conclude", die)
        with pytest.raises(KeyboardInterrupt):
            train.main(options)
    monkeypatch.setattr("zoo.training.run.fit", die)
    train.main(options)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    # Time was over after the first update, which left one checkpoint to test with.
    assert result["step"] == result["averaged"] == 1
    assert [line["step"] for line in measured(tmp_path / "run")] == [1]
