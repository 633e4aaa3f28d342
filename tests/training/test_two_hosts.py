"""Two processes on one machine train as one does, stop together, and go on."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests.test_spreading import measured
from tests.training import one_of_two, test_devices
from zoo.checkpoints import Checkpoints
from zoo.data.loading import WHOLE
from zoo.training.optimizers import make_optimizer
from zoo.training.step import init_state


def start_both(folder, *arguments):
    """Returns the statuses and the outputs of both processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.training.one_of_two", folder, str(port)]
    both = [
        subprocess.Popen(
            [*command, str(process), *arguments],
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in (0, 1)
    ]
    try:
        outputs = [process.communicate(timeout=240)[0] for process in both]
    finally:
        for process in both:
            process.kill()
    return [process.returncode for process in both], outputs


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Returns the folder of a run of two hosts, one of which was sent SIGTERM."""
    folder = tmp_path_factory.mktemp("hosts")
    loss, params = test_devices.loss_and_params()
    state, _ = test_devices.trained(loss, params, "sharded", 8, steps=5)
    with Checkpoints(folder / "begun") as checkpoints:
        checkpoints.save(5, state, loss=1.0, note={})
    statuses, outputs = start_both(folder, "20")
    assert statuses == [143, 143], outputs
    shutil.copytree(folder / "run", folder / "moved")
    return folder


def test_two_hosts_go_on_as_one_device_would_and_evaluate_as_one(stopped):
    loss, params = test_devices.loss_and_params()
    state, _ = test_devices.trained(loss, params, "jit", 1)
    found_loss, tokens = json.loads((stopped / "measured.json").read_text())
    expected_loss, expected = measured(state.params)
    np.testing.assert_allclose(found_loss, expected_loss, rtol=1e-5)
    assert tokens == [list(x.tokens) for x in expected]
    with np.load(stopped / "params.npz") as found:
        for ours, theirs in zip(
            found.values(), jax.tree.leaves(state.params), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def last_checkpoint(workdir):
    """Returns the last step of a run, what it has learned, and its note."""
    optimizer = make_optimizer(one_of_two.OPTIMIZER, one_of_two.STEPS)
    state = init_state(one_of_two.begin(None), optimizer)
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        step = checkpoints.steps()[-1]
        return (
            step,
            checkpoints.restore(step, state).params["w"],
            checkpoints.note(step),
        )


def test_a_signal_to_one_host_stops_both_at_one_step_and_both_go_on(stopped, tmp_path):
    workdir = stopped / "run"
    step, _, note = last_checkpoint(workdir)
    # Batch 20 brings the signal, and is made up to nine updates ahead; JAX looks for it
    # about once a second.
    assert 20 - 9 <= step < one_of_two.STEPS
    assert not note["ended"]
    statuses, outputs = start_both(stopped)
    assert statuses == [0, 0], outputs
    assert f"goes on from step {step}" in outputs[0]
    assert "step" not in outputs[1]
    end, ours, note = last_checkpoint(workdir)
    assert (end, note["ended"]) == (one_of_two.STEPS, True)

    # What nobody stopped, and what goes on in one process, with eight devices.
    for alone in (tmp_path, stopped / "moved"):
        one_of_two.fit(alone, one_of_two.task(WHOLE))
        np.testing.assert_allclose(ours, last_checkpoint(alone)[1], rtol=1e-6)
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(steps)


def test_a_host_that_is_refused_ends_with_2_and_leaves_the_other_one_lost(tmp_path):
    (left, refused), outputs = start_both(tmp_path, "refused")
    assert refused == 2, outputs
    assert "error: mend this" in outputs[1]
    assert left in (134, -signal.SIGABRT), outputs  # by us, or by JAX itself
