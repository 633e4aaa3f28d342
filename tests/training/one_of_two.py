"""One of two processes that train together; test_two_hosts.py starts both.

    python -m tests.training.one_of_two FOLDER PORT PROCESS [STOP | refused]

The first start goes on with what one host has begun, and leaves what came of it; then
it trains a run in which process 1 is sent SIGTERM at step STOP; later ones go on with
it. "refused" is
a run of which process 1 finds something that somebody must mend.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from rich.console import Console

from experiments.command import on_hosts
from tests.test_spreading import measured
from tests.training import test_devices as devices
from tests.training.test_faults import linear
from zoo.checkpoints import Checkpoints, restore_params
from zoo.data.loading import made_ahead
from zoo.errors import InputError
from zoo.training.config import HostsConfig, OptimizerConfig, TrainingConfig
from zoo.training.devices import make_driver
from zoo.training.hosts import (
    agree,
    by_first,
    is_first,
    own_share,
    wait_for_all,
)
from zoo.training.joining import join
from zoo.training.run import Task, train_to_end
from zoo.training.step import init_state

ROWS, STEPS, INTERVAL = 8, 400, 50
# In shards, so that a checkpoint has arrays of which each host holds a part.
TRAINING = TrainingConfig(
    num_steps=STEPS, evaluation_interval=INTERVAL, driver="sharded"
)
OPTIMIZER = OptimizerConfig(warmup_steps=1)


def train_as_one(folder):
    """Trains the tiny preset on to ten steps; leaves parameters, loss and tokens."""
    loss, params = devices.loss_and_params()
    driver = make_driver("sharded", devices.make_step(loss, 1))
    with Checkpoints(folder / "begun") as checkpoints:
        abstract = init_state(params, devices.OPTIMIZER)
        step, state, _ = checkpoints.restore_newest(abstract)
    # As a run's translator is read, when nothing says on which device.
    shapes = jax.eval_shape(lambda: params)
    weights = restore_params(folder / "begun", step, shapes)
    jax.tree.map(np.testing.assert_array_equal, weights, state.params)
    state = driver.place(state)
    for batch in list(devices.batches(10))[step:]:
        own = own_share().rows(devices.ROWS)
        rows = {name: array[own] for name, array in batch.items()}
        state, _ = driver.step(state, driver.split(rows))
    state = driver.gather(state)
    found_loss, found = measured(state.params)
    values = [[float(x) for x in found_loss], [x.tokens for x in found]]
    leaves = process_allgather(jax.tree.leaves(state.params), tiled=True)

    def leave():
        np.savez(folder / "params.npz", *leaves)
        (folder / "measured.json").write_text(json.dumps(values))

    by_first("left", leave)


def begin(key):
    """Returns parameters, which divide over the devices of a test too."""
    return {"w": jnp.ones(8)}


def task(share, stop=None):
    """Returns what is learned: equal numbers, from batches that take their time."""

    def batch(step):
        if step == stop:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.005)
        rows = np.random.default_rng(step).normal(1.0, 1.0, ROWS)
        return {"x": rows[share.rows(ROWS)].astype(np.float32)}

    return Task(
        unit="row",
        init=begin,
        loss=lambda params, batch, key: linear({"w": params["w"].mean()}, batch, key),
        batches=lambda step: made_ahead(batch, STEPS, first_step=step),
        batches_per_epoch=10,
        shapes="rows",
        evaluate=lambda state: {"loss": float(state.params["w"].mean())},
    )


def fit(workdir, learned):
    return train_to_end(
        workdir,
        learned,
        TRAINING,
        OPTIMIZER,
        seed=0,
        started=time.monotonic(),
        console=Console(file=sys.stdout, quiet=not is_first()),
    )


def refused(port, process):
    with on_hosts(
        HostsConfig(f"127.0.0.1:{port}", 2, int(process), heartbeat_seconds=3)
    ):
        if process == "1":
            raise InputError("mend this")
        wait_for_all("never")


def main(folder, port, process, stop=None):
    if stop == "refused":
        refused(port, process)
    several = join(HostsConfig(f"127.0.0.1:{port}", 2, int(process)))
    assert several
    agree("folder", lambda: folder.encode().hex().ljust(64, "0")[:64])
    if stop is not None:
        train_as_one(Path(folder))
        by_first("made", (Path(folder) / "run").mkdir)
    stop = int(stop) if stop is not None and process == "1" else None
    fit(Path(folder) / "run", task(own_share(), stop))


if __name__ == "__main__":
    main(*sys.argv[1:])
