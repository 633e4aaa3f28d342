"""Tiny runs of the translation experiment, and what they leave in their folders."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

from orbax.checkpoint import v1 as orbax

ROOT = Path(__file__).resolve().parents[3]
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
    start = [sys.executable, "-m", "experiments.translate.train", *TRANSFORMER]
    return [*start, *arguments, "--workdir", workdir]


def finish(*arguments):
    done = subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done


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
