"""The presets of visual questions: what they are, that they train, what they refuse."""

import json

import numpy as np
import pytest
from PIL import Image

import zoo
from experiments.vqa import train
from experiments.vqa.config import PRESETS, data_from_json, name_of
from tests.commands import refused
from tests.experiments.vqa.runs import (
    DATA,
    QUESTION,
    RUN,
    assert_one_device_answers_as_all_do,
    result_of,
)
from zoo.training.records import plain


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


def test_pictures_of_ones_own_are_learned_from_a_folder(tmp_path):
    folder, workdir = tmp_path / "mine", tmp_path / "run"
    for part, count in (("train", 40), ("test", 4)):
        (folder / part).mkdir(parents=True)
        questions, annotations = [], []
        for number in range(count):
            ids = {"question_id": number, "image_id": number}
            questions.append({**ids, "question": "what is it?"})
            kinds = {"question_type": "what is", "answer_type": "other"}
            answer = ("a cup", "a hat")[number % 2]
            answers = {
                "multiple_choice_answer": answer,
                "answers": [{"answer": answer}],
            }
            annotations.append({**ids, **kinds, **answers})
            pixels = np.full((20 + number, 30, 3), 255 * (number % 2), np.uint8)
            name = f"COCO_{part}_{number:012}.jpg"
            Image.fromarray(pixels).save(folder / part / name)
        (folder / f"v2_OpenEnded_mscoco_{part}_questions.json").write_text(
            json.dumps({"questions": questions})
        )
        (folder / f"v2_mscoco_{part}_annotations.json").write_text(
            json.dumps({"annotations": annotations})
        )
    sizes = ["--model.model-dim=16", "--model.cnn-dim=8"]
    data = [f"--data.folder={folder}", "--data.height=32", "--data.width=32"]
    train.main(["pictures", *sizes, *RUN, *data, f"--workdir={workdir}"])
    assert result_of(workdir)["n"] == 4
    assert set(json.loads((workdir / "answers.json").read_text())) == {"a cup", "a hat"}
    answer = zoo.load(workdir).answer(np.zeros((9, 9, 3), np.uint8), "what is it?")[0]
    assert answer.text in ("a cup", "a hat")


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


@pytest.mark.parametrize(
    ("option", "claim"),
    [
        ("--seed=-1", "seed is -1, but must be a whole number from 0 and below 2^32"),
        (f"--seed={2**63}", "below 2^32"),
        ("--data.max-words=-1", "max_words is -1, but must be at least 1"),
    ],
)
def test_a_number_out_of_range_leaves_no_run(
    capsys, monkeypatch, tmp_path, option, claim
):
    options = [option, f"--workdir={tmp_path / 'x'}"]
    assert claim in refused(capsys, monkeypatch, train, "sort-of-clevr", *options)
    assert not (tmp_path / "x").exists()


def test_pixels_and_features_are_not_mistaken_for_each_other(
    capsys, monkeypatch, tmp_path
):
    options = ["--model.region-dim=8", f"--workdir={tmp_path / 'x'}"]
    line = refused(capsys, monkeypatch, train, "easy-vqa", *options)
    assert "--model.region-dim 0" in line
    assert not (tmp_path / "x").exists()
