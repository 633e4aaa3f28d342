"""The commands of the translation experiment on the folder of a run."""

import json
import subprocess
import sys
import time

import pytest

from experiments.translate import evaluate, plot, translate
from tests.commands import refused
from tests.experiments.translate.runs import ROOT


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


def test_a_translator_without_a_run_is_refused(tmp_path, capsys, monkeypatch):
    for module in (translate, evaluate):
        line = refused(capsys, monkeypatch, module, "--model", tmp_path / "none")
        assert "no config.json" in line


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
