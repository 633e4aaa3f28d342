"""What the command that trains a translator refuses before it writes anything."""

import errno

import pytest

from experiments.command import plain_console
from experiments.translate import train
from tests.commands import refused
from tests.experiments.translate.runs import TRANSFORMER
from zoo.training.alone import alone


def test_brackets_and_what_acts_on_a_terminal_are_printed_as_they_are(
    tmp_path, capsys, monkeypatch
):
    workdir = tmp_path / "[/x] :bug: \x1b[31m\x07\x9b"
    with alone(workdir):
        line = refused(capsys, monkeypatch, train, *TRANSFORMER, "--workdir", workdir)
    assert line.count("[/x] :bug: \\x1b[31m\\x07\\x9b") == 1

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", workdir)

    monkeypatch.setattr("experiments.translate.corpus.prepare", full)
    line = refused(capsys, monkeypatch, train, *TRANSFORMER, "--workdir", workdir)
    assert line.endswith("[31m\\x07\\x9b: No space left on device")
    plain_console().print("[/x] [bold] :bug:")
    assert capsys.readouterr().out == "[/x] [bold] :bug:\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["phrases-rnn", "--training.remat"], "has no blocks of a Transformer"),
        (
            ["phrases-bahdanau", "--training.packed-length=64"],
            "BahdanauSeq2Seq reads a row as one sentence; leave "
            "--training.packed-length out",
        ),
        (
            ["bible-learned", "--training.packed-length=256"],
            "packed_length is 256, but the model has 192 positions to learn",
        ),
    ],
)
def test_what_a_model_cannot_do_is_refused_before_any_text_is_read(
    tmp_path, capsys, monkeypatch, arguments, message
):
    monkeypatch.setattr("experiments.translate.corpus.prepare", None)
    arguments = [*arguments, "--workdir", tmp_path / "run"]
    assert message in refused(capsys, monkeypatch, train, *arguments)
    assert not (tmp_path / "run").exists()


def test_a_disk_that_is_full_is_one_line(tmp_path, capsys, monkeypatch):
    def write(*_):
        raise OSError(errno.ENOSPC, "No space left on device", tmp_path / "config.json")

    monkeypatch.setattr("zoo.training.records.write_json", write)
    line = refused(capsys, monkeypatch, train, *TRANSFORMER, "--workdir", tmp_path)
    assert line == f"error: {tmp_path}/config.json: No space left on device"


def test_an_unknown_locale_is_refused_by_name(tmp_path, capsys, monkeypatch):
    workdir = tmp_path / "run"
    arguments = [*TRANSFORMER, "--data.target-locale=xx", "--workdir", workdir]
    assert "'xx'" in refused(capsys, monkeypatch, train, *arguments)
    assert not workdir.exists(), "a refused config leaves no folder behind"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["phrase"], "did you mean phrases"),
        (["--model.num-heads=3"], "model_dim 128 is not a multiple"),
        (["--model.dropout-rate=1"], "dropout_rate is 1.0"),
        (["--training.num-steps=0"], "num_steps is 0"),
        (["--training.num-steps=9"], "warm-up"),
        (["--optimizer.learning-rate=-1"], "learning_rate is -1.0"),
        (["--decoding.beam-size=0"], "beam_size is 0"),
        (["--decoding.average=9"], "average is 9, but 1100 updates have only 3"),
        (["--training.accumulation=0"], "accumulation is 0"),
        (["--training.ema-decay=1"], "ema_decay is 1.0"),
        (["--training.patience=-1"], "patience is -1"),
        (["--training.packed-length=-1"], "packed_length is -1"),
        (["--training.max-minutes=-1"], "max_minutes is -1.0"),
        (["--optimizer.plateau-factor=0"], "plateau_factor is 0.0"),
        (["--data.num-train=0"], "cannot make 0 phrases for train"),
    ],
)
def test_a_value_out_of_range_is_refused_before_anything_is_written(
    tmp_path, capsys, monkeypatch, arguments, message
):
    workdir = tmp_path / "run"
    arguments = [*arguments, "--workdir", workdir]
    assert message in refused(capsys, monkeypatch, train, *arguments)
    assert not workdir.exists()


def test_an_unknown_option_is_refused(capsys):
    with pytest.raises(SystemExit) as exit_:
        train.main(["--model.num-layer", "2"])
    assert exit_.value.code == 2
    assert "num-layers" in capsys.readouterr().err
