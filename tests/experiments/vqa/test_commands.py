"""The commands of visual questions on the folder of a run."""

import json

import numpy as np
import pytest
from PIL import Image

import zoo
from experiments.vqa import answer, evaluate, plot
from tests.commands import refused
from tests.experiments.vqa.runs import QUESTION, result_of


def test_evaluate_repeats_the_result_and_scores_its_results_file(
    unbroken, tmp_path, capsys
):
    output = tmp_path / "results.json"
    evaluate.main([f"--model={unbroken}", f"--output={output}"])
    line = json.loads(capsys.readouterr().out)
    metrics = result_of(unbroken)["metrics"]
    assert line["accuracy"] == pytest.approx(metrics["accuracy"])
    assert line["controls"] == pytest.approx(metrics["controls"])
    evaluate.main([f"--model={unbroken}", f"--results={output}"])
    scored = json.loads(capsys.readouterr().out)
    assert scored["accuracy"] == line["accuracy"]
    blind = line["controls"]["question_only"]
    assert scored["controls"] == {"question_only": blind}


def test_a_results_file_without_an_answer_is_refused(
    unbroken, tmp_path, capsys, monkeypatch
):
    results = json.loads((unbroken / "results.json").read_text())
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results[1:]))
    arguments = [f"--model={unbroken}", f"--results={path}"]
    assert "no answer" in refused(capsys, monkeypatch, evaluate, *arguments)


def test_a_picture_of_ones_own_is_answered_and_drawn(
    unbroken, picture, tmp_path, capsys
):
    drawn = tmp_path / "look.png"
    options = [f"--model={unbroken}", "--top=2", f"--overlay={drawn}"]
    answer.main([str(picture), QUESTION, *options])
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == str(drawn)
    assert drawn.read_bytes().startswith(b"\x89PNG")
    found = zoo.load(unbroken).answer(picture, QUESTION, top=2)
    assert lines == [f"{100 * x.probability:.1f} %\t{x.text}" for x in found]
    assert 1 > found[0].probability > found[1].probability
    looked = zoo.load(unbroken).look(np.array(Image.open(picture)), QUESTION)
    assert looked["glimpse 1"].sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("?", "no word"),
        ("what is the shape of the purple object?", "purple"),
        ("red " * 40, "40 words"),
    ],
)
def test_a_question_that_cannot_be_read_is_refused(
    unbroken, picture, capsys, monkeypatch, question, message
):
    arguments = [picture, question, f"--model={unbroken}"]
    assert message in refused(capsys, monkeypatch, answer, *arguments)


def test_a_picture_that_cannot_be_read_is_refused(
    unbroken, picture, tmp_path, capsys, monkeypatch
):
    model = f"--model={unbroken}"
    for content in (picture.read_bytes()[:60], b"no picture"):
        path = tmp_path / "broken.png"
        path.write_bytes(content)
        arguments = [path, QUESTION, model]
        assert str(path) in refused(capsys, monkeypatch, answer, *arguments)
    missing = tmp_path / "missing.png"
    line = refused(capsys, monkeypatch, answer, missing, QUESTION, model)
    assert str(missing) in line


def test_plot_draws_a_group_and_mistakes(unbroken, tmp_path, capsys, monkeypatch):
    path = tmp_path / "sheet.svg"
    options = [f"--model={unbroken}", f"--output={path}", "--rows=2"]
    plot.main([*options, "--group=left", "--wrong"])
    assert "<svg" in path.read_text()
    line = refused(capsys, monkeypatch, plot, *options, "--group=lefft")
    assert "left?" in line


def test_pages_show_the_test_questions_and_a_picture_of_ones_own(
    unbroken, picture, tmp_path, capsys
):
    sheet, own = tmp_path / "sheet.html", tmp_path / "own.html"
    plot.main([f"--model={unbroken}", f"--output={sheet}", "--rows=2"])
    # Two pictures, and each pale, below its cells.
    assert sheet.read_text().count("data:image/png") == 4
    answer.main([str(picture), QUESTION, f"--model={unbroken}", f"--overlay={own}"])
    assert "<title>picture.png</title>" in own.read_text()
    assert capsys.readouterr().out.splitlines()[0] == str(sheet)
