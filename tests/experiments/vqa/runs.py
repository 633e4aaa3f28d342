"""Tiny runs of the experiment of visual questions, and what they come to."""

import json

import numpy as np

import zoo
from experiments.vqa.config import data_from_json
from zoo.runs import read_section

STEPS = 6
SIZES = ["--model.model-dim=16", "--model.cnn-dim=8", "--model.word-dim=8"]
RUN = [
    "--optimizer.warmup-steps=2",
    f"--training.num-steps={STEPS}",
    "--training.evaluation-interval=3",
    "--training.images-per-batch=8",
]
DATA = ["--data.num-train=30", "--data.num-validation=8", "--data.num-test=4"]
TINY = ["sort-of-clevr", *SIZES, "--model.attention-dim=8", *RUN, *DATA]
QUESTION = "what is the shape of the red object?"


def result_of(workdir):
    return json.loads((workdir / "result.json").read_text())


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
