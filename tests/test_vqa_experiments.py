"""The experiment of visual questions as a user runs it: commands, folders, faults."""

import json
import os
import signal
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import v1 as orbax
from PIL import Image

import zoo
from experiments.command import run
from experiments.vqa import answer, evaluate, plot, train
from experiments.vqa.config import PRESETS, data_from_json, name_of
from experiments.vqa.drawing import choose
from experiments.vqa.scoring import measure_looks
from experiments.vqa.task import _loss_of_words
from zoo.data.vqa.controls import tiled, with_blank_image, with_other_images
from zoo.data.vqa.sort_of_clevr import sort_of_clevr
from zoo.runs import read_section
from zoo.training.records import plain
from zoo.translation.translator import Translator

STEPS = 6
SIZES = ["--model.model-dim=16", "--model.cnn-dim=8", "--model.word-dim=8"]
RUN = [
    "--optimizer.warmup-steps=2",
    f"--training.num-steps={STEPS}",
    "--training.evaluation-interval=3",
    "--training.images-per-batch=8",
]
DATA = ["--data.num-train=30", "--data.num-validation=8", "--data.num-test=12"]
TINY = ["sort-of-clevr", *SIZES, "--model.attention-dim=8", *RUN, *DATA]
QUESTION = "what is the shape of the red object?"


def refused(capsys, monkeypatch, module, *arguments):
    """Runs a command in this process; returns the one line that it dies with."""
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        run(module.main)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def result_of(workdir):
    return json.loads((workdir / "result.json").read_text())


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("unbroken") / "run"
    train.main([*TINY, f"--workdir={workdir}"])
    return workdir


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (40, 60), "orange").save(path)
    return path


def test_a_run_leaves_everything_that_was_promised(unbroken):
    result = result_of(unbroken)
    assert result["task"] == "vqa"
    assert result["n"] == 240
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
    assert len(json.loads((unbroken / "results.json").read_text())) == 240
    low, high = result["intervals"]["accuracy"]
    assert low < metrics["accuracy"] < high


def assert_one_device_answers_as_all_do(workdir):
    """Compares with the answers of a run too, which all devices have given."""
    questions = data_from_json(read_section(workdir, "data")).read("test", 0)
    one = zoo.load(workdir)
    answers, probabilities = one.predict(questions)
    rows = json.loads((workdir / "results.json").read_text())
    assert [row["answer"] for row in rows] == answers
    ours, theirs = one.on_all_devices().predict(questions)[1], probabilities
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert np.ptp(theirs) > 1e-3
    return one, questions


def test_one_device_answers_and_looks_as_all_do(unbroken):
    one, questions = assert_one_device_answers_as_all_do(unbroken)
    ours, theirs = one.on_all_devices().looks(questions), one.looks(questions)
    for name, weights in theirs.items():
        np.testing.assert_allclose(ours[name], weights, atol=1e-5)


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
    assert json.loads(capsys.readouterr().out)["accuracy"] == line["accuracy"]


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
    assert sheet.read_text().count("data:image/png") == 2
    answer.main([str(picture), QUESTION, f"--model={unbroken}", f"--overlay={own}"])
    assert "<title>picture.png</title>" in own.read_text()
    assert capsys.readouterr().out.splitlines()[0] == str(sheet)


def test_a_model_that_writes_its_answers_trains_and_answers(
    tmp_path, picture, monkeypatch
):
    workdir = tmp_path / "run"
    sizes = ["--model.mlp-dim=16", "--model.num-heads=2", "--model.num-layers=1"]
    small = ["--model.model-dim=16", "--model.cnn-dim=8", "--training.num-steps=3"]
    train.main(
        ["sort-of-clevr-decoder", *sizes, *RUN, *small, *DATA, f"--workdir={workdir}"]
    )
    assert set(result_of(workdir)["metrics"]["grounding"]) == {"layer 1"}
    assert_one_device_answers_as_all_do(workdir)
    found = zoo.load(workdir).answer(picture, QUESTION)
    assert len(found) == 4
    assert 1 >= sum(x.probability for x in found) > 0


@pytest.fixture
def official(tmp_path):
    """VQA v2 as a user unpacks it, with features of regions; one file is invented."""
    folder = tmp_path / "vqa"
    questions, annotations = [], []
    for part, count in (("train2014", 40), ("val2014", 6)):
        (folder / "features" / part).mkdir(parents=True)
        questions, annotations = [], []
        for image in range(count):
            rng = np.random.default_rng(image)
            name = f"COCO_{part}_{image:012}.jpg.npz"
            features = rng.normal(size=(8, 3 + image % 2)).astype(np.float32)
            np.savez(folder / "features" / part / name, x=features)
            for asked in range(2):
                ids = {"question_id": 10 * image + asked, "image_id": image}
                questions.append(
                    {**ids, "question": "Is it number " + "and " * 12 + f"{asked}?"}
                )
                given = ["yes"] * 7 + ["no"] * 3 if image % 2 else ["no"] * 10
                answers = [
                    {"answer": x, "answer_id": n, "answer_confidence": "yes"}
                    for n, x in enumerate(given, start=1)
                ]
                annotations.append(
                    {
                        **ids,
                        "question_type": "is it",
                        "answer_type": "yes/no",
                        "multiple_choice_answer": given[0],
                        "answers": answers,
                    }
                )
        (folder / f"v2_OpenEnded_mscoco_{part}_questions.json").write_text(
            json.dumps({"questions": questions})
        )
        (folder / f"v2_mscoco_{part}_annotations.json").write_text(
            json.dumps({"annotations": annotations})
        )
    return folder


def test_vqa_v2_goes_from_the_official_files_to_the_official_accuracy(
    official, tmp_path, capsys
):
    workdir = tmp_path / "run"
    sizes = ["--model.model-dim=16", "--model.word-dim=8", "--model.mlp-dim=16"]
    sizes += ["--model.num-heads=2", "--model.num-layers=1", "--model.pooling-dim=8"]
    data = [f"--data.folder={official}", f"--data.features={official / 'features'}"]
    data += ["--data.num-regions=4", "--data.region-dim=8", "--model.region-dim=8"]
    train.main(["vqa-v2", *sizes, *RUN, *data, f"--workdir={workdir}"])
    metrics = result_of(workdir)["metrics"]
    assert metrics["grounding"] == {}
    results = json.loads((workdir / "results.json").read_text())
    by_id = {x["question_id"]: x["answer"] for x in results}
    worth = {("yes", 1): 100.0, ("no", 1): 90.0, ("no", 0): 100.0, ("yes", 0): 0.0}
    scores = [worth[x, number // 10 % 2] for number, x in by_id.items()]
    assert len(scores) == 12
    assert metrics["accuracy"] == pytest.approx(np.mean(scores))
    assert not (workdir / "attention.png").exists()
    # The classes are the answers of more than 8 training questions.
    assert set(json.loads((workdir / "answers.json").read_text())) == {"yes", "no"}


def test_a_missing_folder_leaves_no_run(tmp_path, capsys, monkeypatch):
    for preset in ("shapes", "daquar", "vqa-v2", "clevr"):
        name = "data-dir" if preset == "clevr" else "folder"
        options = [f"--data.{name}={tmp_path / 'none'}", f"--workdir={tmp_path / 'x'}"]
        assert "none" in refused(capsys, monkeypatch, train, preset, *options)
        assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_comes_back_from_json(name):
    _, config = PRESETS[name]
    values = plain(config.to_json())
    assert data_from_json(values["data"]) == config.data
    assert name_of(config) == name


def test_a_model_that_writes_learns_no_soft_scores(capsys, monkeypatch, tmp_path):
    options = ["--training.loss=sigmoid", f"--workdir={tmp_path / 'x'}"]
    line = refused(capsys, monkeypatch, train, "easy-vqa-decoder", *options)
    assert "softmax" in line


def test_controls_take_the_picture_away():
    questions = sort_of_clevr("test", 5, 0)
    other = with_other_images(questions)
    assert (other.image_of != questions.image_of).all()
    assert len(set(zip(other.image_of, questions.image_of, strict=True))) == 5
    blank = with_blank_image(questions)
    assert len(blank.images) == 1
    assert len(np.unique(blank.images[0].reshape(-1, 3), axis=0)) == 1
    assert abs(blank.images[0].mean() - questions.images.mean()) < 1


def test_tiled_images_keep_their_boxes_on_the_object():
    questions = sort_of_clevr("test", 5, 0)
    wide = tiled(questions, 8)
    assert wide.images.shape == (5, 80, 80, 3)
    np.testing.assert_array_equal(wide.images[:, 2:77, 2:77], questions.images)
    pixels = np.rint(wide.boxes * 80) - np.rint(questions.boxes * 75)
    np.testing.assert_array_equal(pixels, 2)
    assert tiled(wide, 8) is wide


class Oracle:
    """Looks at the middle of the named object; sees its shape if that is not hidden."""

    grid, cell_size = (10, 10), 8

    def looks(self, questions):
        weights = np.zeros((len(questions), 100), np.float32)
        weights[np.arange(len(questions)), self.cells(questions)] = 1
        return {"glimpse 1": weights}

    def predict(self, questions):
        cells = self.cells(questions)
        answers = []
        for image, cell, right in zip(
            questions.image_of, cells, questions.top_answers, strict=True
        ):
            row, column = 8 * (cell // 10), 8 * (cell % 10)
            pixels = questions.images[int(image)][row : row + 8, column : column + 8]
            answers.append(right if (pixels != 255).any() else "hidden")
        return answers, np.ones(len(answers))

    def cells(self, questions):
        boxes = questions.boxes
        rows = 10 * (boxes[:, 0] + boxes[:, 2]) / 2
        return 10 * rows.astype(int) + (10 * (boxes[:, 1] + boxes[:, 3]) / 2).astype(
            int
        )


def test_looks_are_measured_by_kind_and_hiding_takes_the_right_cell():
    questions = sort_of_clevr("test", 5, 0)
    found = measure_looks(Oracle(), questions)["glimpse 1"]
    assert found.all.pointing_accuracy == 1
    assert found.all.count == 100
    assert found.groups["non-relational"].count == 50
    assert found.groups["answer: number"].count == found.groups["count"].count
    assert found.groups["left"].attention_mass > 0.5 > found.all.uniform_pointing
    assert found.shown == 100
    assert found.hidden == 0
    assert found.hidden_random > 80


def test_a_sheet_shows_groups_in_turn_and_mistakes_at_the_end():
    questions = sort_of_clevr("test", 12, 0)
    scores = np.ones(len(questions))
    scores[[45, 170]] = 0
    chosen = choose(questions, scores, 8)
    assert chosen[6:] == [45, 170]
    assert len({questions.groups[n] for n in chosen[:6]}) == 6
    assert len({int(questions.image_of[n]) for n in chosen}) == 8
    # Without mistakes, and in a sheet of one row, what is right has the room.
    assert scores[choose(questions, np.ones(len(questions)), 8)].all()
    assert len(choose(questions, np.ones(len(questions)), 8)) == 8
    assert scores[choose(questions, scores, 1)].all()


class Uniform:
    """Writes every word with the same probability."""

    start_id, pad_id = 1, 0

    def apply(self, variables, *arguments, method, **options):
        if method == "output":
            return jnp.zeros((7, 2)), None
        _, inputs = arguments
        assert inputs.tolist() == [[1, 4, 5], [1, 6, 2], [1, 6, 2]]
        return jnp.zeros((*inputs.shape, 2))


def test_the_loss_of_written_answers_is_in_nats_an_answer():
    # Answers of three and two tokens, ends included; the third slot has no question.
    table = jnp.array([[4, 5, 2], [6, 2, 0]])
    batch = {
        "image": jnp.zeros((1, 8, 8, 3)),
        "questions": jnp.ones((1, 3, 4), jnp.int32),
        "labels": jnp.array([[0, 1, -1]]),
        "valid": jnp.array([[True, True, False]]),
    }
    loss = _loss_of_words(Uniform(), table, {}, batch, None, smoothing=0.0)
    assert float(loss.count) == 2
    assert float(loss.plain) == pytest.approx(5 * np.log(7), rel=1e-5)


def test_pixels_and_features_are_not_mistaken_for_each_other(
    capsys, monkeypatch, tmp_path
):
    options = ["--model.region-dim=8", f"--workdir={tmp_path / 'x'}"]
    line = refused(capsys, monkeypatch, train, "easy-vqa", *options)
    assert "--model.region-dim 0" in line
    assert not (tmp_path / "x").exists()


def test_a_run_on_images_is_no_translator(unbroken):
    with pytest.raises(zoo.InputError, match="no translator"):
        Translator.from_run(unbroken)
