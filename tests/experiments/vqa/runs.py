"""Tiny runs of the experiment of visual questions, and what they come to."""

import json

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
