"""The translation experiment as a user runs it: commands, folders, faults."""

import dataclasses
import errno
import gzip
import json
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as orbax

import zoo
from experiments.command import plain_console, run
from experiments.translate import evaluate, plot, train, translate
from experiments.translate.config import PRESETS, FilesData
from experiments.vqa.config import PRESETS as VISUAL_PRESETS
from zoo.checkpoints import restore_params
from zoo.training.alone import alone
from zoo.training.config import HostsConfig
from zoo.translation.translator import Translator

ROOT = Path(__file__).resolve().parent.parent
STEPS = 60
TINY = [
    "--data.num-train=300",
    "--data.num-validation=40",
    "--data.num-test=40",
    "--model.vocab-size=600",
    "--model.model-dim=16",
    "--optimizer.warmup-steps=5",
    f"--training.num-steps={STEPS}",
    "--training.tokens-per-batch=512",
    "--training.num-buckets=1",
    "--training.evaluation-interval=20",
]
TRANSFORMER = [
    *TINY,
    "--model.mlp-dim=16",
    "--model.num-heads=2",
    # All that a run carries along from step to step.
    "--training.accumulation=2",
    "--training.ema-decay=0.9",
    "--optimizer.schedule=plateau",
    "--optimizer.plateau-patience=1",
]


def command(workdir, *arguments):
    """Returns the command of a run that uses one device, as a user has it."""
    module = "experiments.translate.train"
    return [
        sys.executable,
        "-m",
        module,
        *TRANSFORMER,
        *arguments,
        "--workdir",
        workdir,
    ]


def finish(*arguments):
    done = subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done


def refused(capsys, monkeypatch, module, *arguments):
    """Runs a command in this process; returns the one line that it dies with."""
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        run(module.main)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def arrays(workdir):
    """Returns everything in the last checkpoint: parameters, moments, counters."""
    with warnings.catch_warnings():
        # Orbax: where the arrays were is not asked for, but read from the checkpoint.
        warnings.filterwarnings("ignore", message="Sharding info not provided")
        return orbax.load(workdir / "checkpoints" / str(STEPS))


def measured(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    values = [json.loads(line) for line in lines]
    for line in values:
        line.pop("tokens_per_second", None)
    # An interruption cuts the window of a training line, but no validation.
    return [line for line in values if line["split"] == "validation"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("unbroken")
    finish(workdir)
    return workdir


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


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)],
)
def test_a_stopped_run_goes_on_to_the_same_end(unbroken, tmp_path, number, status):
    workdir = tmp_path / "run"
    process = subprocess.Popen(
        command(workdir),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    checkpoint = workdir / "checkpoints" / "20"
    while not checkpoint.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    assert not (workdir / "result.json").exists()
    assert "goes on from step" in finish(workdir).stdout
    assert measured(workdir) == measured(unbroken)
    ours, theirs = jax.tree.leaves(arrays(workdir)), jax.tree.leaves(arrays(unbroken))
    for mine, yours in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, yours)


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


def test_a_config_is_compared_and_written_in_the_lock(tmp_path, capsys, monkeypatch):
    def opened(workdir, config):
        with pytest.raises(zoo.InputError, match="in use"), alone(workdir):
            pass
        raise zoo.InputError("it was held")

    monkeypatch.setattr("zoo.training.records.open_run", opened)
    line = refused(capsys, monkeypatch, train, *TRANSFORMER, "--workdir", tmp_path)
    assert line == "error: it was held"


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


def test_a_disk_that_is_full_is_one_line(tmp_path, capsys, monkeypatch):
    def write(*_):
        raise OSError(errno.ENOSPC, "No space left on device", tmp_path / "config.json")

    monkeypatch.setattr("zoo.training.records.write_json", write)
    line = refused(capsys, monkeypatch, train, *TRANSFORMER, "--workdir", tmp_path)
    assert line == f"error: {tmp_path}/config.json: No space left on device"


def test_translate_keeps_order_and_lines(unbroken, tmp_path, capsys, monkeypatch):
    sentences = ["May 3, 2021", "", "3:45 PM", "10 kilometers and 5 grams"]
    path = tmp_path / "input.txt"
    path.write_text("\n".join(sentences) + "\n")
    options = ["--model", str(unbroken), "--beam-size", "2"]
    translate.main([*options, "--input", str(path)])
    from_file = capsys.readouterr().out
    assert from_file.count("\n") == 4
    assert from_file.split("\n")[1] == ""
    translate.main([*options, *sentences])
    assert capsys.readouterr().out == from_file
    piped = subprocess.run(
        [sys.executable, "-m", "experiments.translate.translate", *options],
        cwd=ROOT,
        input=path.read_bytes(),
        capture_output=True,
        check=True,
    )
    assert len(piped.stdout.decode().splitlines()) == 4
    translate.main([*options, "--n-best", "2", "--scores", "3:45 PM"])
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["1", "2"]
    assert float(rows[0][1]) >= float(rows[1][1])


def test_evaluate_repeats_the_result_and_scores_files(unbroken, tmp_path, capsys):
    evaluate.main(["--model", str(unbroken), "--beam-size", "1"])
    line = json.loads(capsys.readouterr().out)
    result = json.loads((unbroken / "result.json").read_text())
    assert line["n"] == 40
    assert line["chrf"] == pytest.approx(result["metrics"]["chrf"], abs=0.5)
    source, reference = tmp_path / "a.en", tmp_path / "a.ko"
    source.write_text("3:45 PM\n")
    reference.write_text("오후 3:45\n")
    output = tmp_path / "out.ko"
    files = ["--source", source, "--reference", reference, "--output", output]
    evaluate.main(["--model", str(unbroken), *map(str, files)])
    assert json.loads(capsys.readouterr().out)["n"] == 1
    assert output.read_text().count("\n") == 1


def test_plot_draws_a_given_pair(unbroken, tmp_path, capsys):
    picture = tmp_path / "map.svg"
    model = ["--model", str(unbroken), "--output", str(picture)]
    plot.main(["3:45 PM", "오후 3:45", *model])
    assert "<svg" in picture.read_text()
    plot.main(["3:45 PM", *model, "--layer", "1"])
    assert str(picture) in capsys.readouterr().out


def test_plot_writes_a_page(unbroken, tmp_path, capsys, monkeypatch):
    path = tmp_path / "map.HTML"
    model = ["--model", str(unbroken), "--output", str(path)]
    plot.main(["3:45 PM", "오후 3:45", *model])
    assert capsys.readouterr().out == f"{path}\n"
    assert path.read_text().startswith("<!DOCTYPE html>")
    line = refused(capsys, monkeypatch, plot, "3:45 PM", *model, "--layer", "1")
    assert "--layer is of pictures" in line


def test_plot_refuses_a_layer_that_is_not_there(unbroken, capsys, monkeypatch):
    arguments = ["3:45 PM", "오후", "--model", unbroken, "--layer", "9"]
    assert "layer 9" in refused(capsys, monkeypatch, plot, *arguments)


@pytest.mark.parametrize("preset", ["phrases-rnn", "phrases-bahdanau"])
def test_the_recurrent_presets_train_too(preset, tmp_path, capsys):
    workdir = tmp_path / "run"
    extra = ["--model.attention-dim=16"] if preset == "phrases-bahdanau" else []
    short = ["--training.num-steps=20", "--training.evaluation-interval=10"]
    average = ["--decoding.average=2", "--workdir", str(workdir)]
    train.main([preset, *TINY, *extra, *short, *average])
    assert json.loads((workdir / "result.json").read_text())["averaged"] == 2
    own, asked = Translator.from_run(workdir), Translator.from_run(workdir, average=2)
    for leaf, other in zip(
        *map(jax.tree.leaves, (own.params, asked.params)), strict=True
    ):
        np.testing.assert_array_equal(leaf, other)
    has_attention = preset == "phrases-bahdanau"
    assert (workdir / "attention.png").exists() == has_attention


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


def test_pmap_trains_as_jit_does(tmp_path):
    losses = []
    for driver in ("jit", "pmap"):
        workdir = tmp_path / driver
        options = ["--training.num-steps=20", f"--training.driver={driver}"]
        train.main([*TRANSFORMER, *options, "--workdir", str(workdir)])
        losses.append(measured(workdir)[-1]["loss_nats_per_token"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.fixture
def corpus(tmp_path):
    """A folder of aligned text, as --data.folder expects it."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for split, count in (("train", 200), ("val", 20), ("test", 20)):
        for language, words in (("de", "eins zwei drei"), ("en", "one two three")):
            lines = [f"{words} {number}" for number in range(count)]
            (folder / f"{split}.{language}").write_text("\n".join(lines) + "\n")
    return folder


def from_files(folder, workdir, *extra):
    small = [option for option in TRANSFORMER if not option.startswith("--data")]
    return ["files", *small, f"--data.folder={folder}", f"--workdir={workdir}", *extra]


def test_own_files_train_compressed_or_not(corpus, tmp_path):
    path = corpus / "train.en"
    (corpus / "train.en.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    workdir = tmp_path / "run"
    train.main(from_files(corpus, workdir, "--training.num-steps=20"))
    assert json.loads((workdir / "result.json").read_text())["n"] == 20


def break_lengths(corpus):
    with (corpus / "train.en").open("a") as file:
        file.write("one more\n")


def break_encoding(corpus):
    lines = (corpus / "train.en").read_bytes().split(b"\n")
    lines[6] = b"caf\xe9"
    (corpus / "train.en").write_bytes(b"\n".join(lines))


def break_line(corpus):
    lines = (corpus / "val.de").read_text().split("\n")
    lines[2] = "  "
    (corpus / "val.de").write_text("\n".join(lines))


def break_all(corpus):
    (corpus / "train.de").write_text("")


def break_limit(corpus):
    lines = (corpus / "train.de").read_text().split("\n")
    lines[4] = "eins " * 300
    (corpus / "train.de").write_text("\n".join(lines))


def remove_file(corpus):
    (corpus / "test.en").unlink()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (break_lengths, "train.en has 201"),
        (break_encoding, "train.en, line 7: no valid UTF-8"),
        (break_line, "val.de, line 3: empty"),
        (break_all, "train.de: the file is empty"),
        (break_limit, "train.de, line 5: "),
        (remove_file, "test.en: no such file"),
    ],
)
def test_bad_text_is_named_by_file_and_line(
    corpus, tmp_path, capsys, monkeypatch, fault, message
):
    fault(corpus)
    arguments = from_files(corpus, tmp_path / "run")
    assert message in refused(capsys, monkeypatch, train, *arguments)


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
        (["--data.num-test=0"], "cannot make 0 phrases"),
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


@pytest.mark.parametrize("name", ["train", "evaluate", "translate", "plot"])
def test_help_answers_within_a_second_and_without_jax(name):
    module = f"experiments.translate.{name}"
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", module, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = time.monotonic() - started
    assert "usage" in done.stdout
    assert not any(line.endswith((" jax", " flax")) for line in done.stderr.split("\n"))
    assert seconds < 5, "a slow machine may take longer than the second promised"


def test_a_translator_without_a_run_is_refused(tmp_path, capsys, monkeypatch):
    for module in (translate, evaluate):
        line = refused(capsys, monkeypatch, module, "--model", tmp_path / "none")
        assert "no config.json" in line


def test_where_a_run_computes_is_not_in_its_config():
    # No result depends on the hosts. What runs of before did not know is written only
    # where it is asked for.
    for presets in (PRESETS, VISUAL_PRESETS):
        config = next(iter(presets.values()))[1]
        values = config.to_json()
        assert not {"hosts", "workdir"} & set(values)
        assert "remat" not in values["training"]
        other = dataclasses.replace(config, hosts=HostsConfig(workers=2))
        assert other.to_json() == values
        training = dataclasses.replace(config.training, remat=True)
        changed = dataclasses.replace(config, training=training).to_json()
        assert changed["training"].pop("remat") is True
        assert changed == values
    phrases = PRESETS["phrases"][1]
    training = dataclasses.replace(phrases.training, packed_length=64)
    packed = dataclasses.replace(phrases, training=training).to_json()
    assert packed["training"].pop("packed_length") == 64
    assert packed == phrases.to_json()


def test_every_preset_goes_to_json_and_knows_its_name():
    from experiments.translate.config import data_from_json, name_of

    for name, (_, config) in PRESETS.items():
        values = json.loads(json.dumps(config.to_json(), default=str))
        assert data_from_json(values["data"]) == config.data
        assert name_of(dataclasses.replace(config, seed=3)) == name
        assert zoo.catalogue.config_from_json(values["model"]) == config.model
    assert isinstance(PRESETS["multi30k"][1].data, FilesData)
