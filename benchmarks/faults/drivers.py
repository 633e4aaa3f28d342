"""Trains the tiny Transformer on one device, on eight, on two hosts: is it the same?

Eight virtual devices of a CPU, then two processes with four each. Ten updates with SGD,
without dropout, on batches whose shards hold very different numbers of tokens; the rate
is so high that parameters move by a hundredth and more. Each line says by how much the
parameters differ from those that one device has learned.

SiLU stands for ReLU here, whose gradient jumps at zero: among all the units and tokens
one lies so close to it that rounding, 1e-7, decides on the side, and the parameters are
1e-4 and more apart at once, by no fault of a driver.

    python -m benchmarks.faults.drivers
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

import zoo
from zoo.data.loading import WHOLE, Share
from zoo.layers.feedforward import FeedForward
from zoo.losses import tied_cross_entropy
from zoo.models.contract import Seq2Seq, initialize
from zoo.models.transformer import Transformer
from zoo.training.config import HostsConfig
from zoo.training.devices import make_driver
from zoo.training.hosts import by_first, own_share
from zoo.training.joining import join
from zoo.training.step import LossFunction, init_state, make_train_step

# SGD: the gradient of a key's bias is zero, and Adam makes ±lr of its rounding.
OPTIMIZER = optax.sgd(0.5)
ROWS, LENGTH, UPDATES = 32, 24, 10
TOLERANCE = 1e-5
# What make_driver and make_train_step are given.
ON_EIGHT: dict[str, dict[str, Any]] = {
    "pmap": {"name": "pmap"},
    "data": {"name": "jit"},
    "sharded": {"name": "sharded"},
    "2 x 4": {"name": "jit", "model_devices": 4},
    "data, accumulation": {"name": "jit", "accumulation": 2},
    "sharded, accumulation": {"name": "sharded", "accumulation": 2},
}


def loss_of(model: Seq2Seq) -> LossFunction:
    """Returns the label-smoothed loss of a model, without dropout."""

    def loss(params, batch, key):
        features = model.apply(
            {"params": params}, batch["source"], batch["inputs"], method="features"
        )
        table, bias = model.apply({"params": params}, method="output")
        labels = batch["labels"]
        return tied_cross_entropy(features, table, labels, labels != 0, 0.1, bias)

    return loss


def uneven_batches(
    count: int, *, vocab_size: int, rows: int, length: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yields batches of int32 [rows, length]: the first row is one token, the last all.

    So shards hold very different numbers of tokens.
    """
    rng = np.random.default_rng(0)
    for _ in range(count):
        lengths = 1 + np.arange(rows) * (length - 1) // (rows - 1)
        valid = np.arange(length) < lengths[:, None]
        words = rng.integers(3, vocab_size, (3, rows, length))
        source, inputs, labels = np.where(valid, words, 0).astype(np.int32)
        inputs[:, 0] = 1
        yield {"source": source, "inputs": inputs, "labels": labels}


def smooth(model: Transformer) -> Transformer:
    """Returns a model with SiLU in its feed-forward layers."""

    def block(maker):
        plain = maker.keywords["feed_forward"]
        sizes = plain.args[:2]
        return partial(maker, feed_forward=partial(FeedForward, *sizes, nn.silu))

    return model.clone(
        encoder_block=block(model.encoder_block),
        decoder_block=block(model.decoder_block),
    )


def learned(
    num_devices: int | None, name: str, share: Share = WHOLE, **options: int
) -> tuple[Any, Any]:
    """Returns the tiny preset's parameters before and after the updates.

    Args:
        num_devices: the first so many; None takes all of all hosts.
        share: this host's part of each batch.
    """
    model = smooth(zoo.create_model("transformer-tiny", dropout_rate=0.0))
    params = jax.jit(partial(initialize, model))(jax.random.key(1))
    before = jax.device_get(params)
    accumulation = options.pop("accumulation", 1)
    step = make_train_step(
        loss_of(model), OPTIMIZER, jax.random.key(0), accumulation=accumulation
    )
    devices = None if num_devices is None else jax.devices()[:num_devices]
    driver = make_driver(name, step, devices, **options)
    state = driver.place(init_state(params, OPTIMIZER))
    for batch in uneven_batches(
        UPDATES, vocab_size=model.vocab_size, rows=ROWS, length=LENGTH
    ):
        own = {key: array[share.rows(ROWS)] for key, array in batch.items()}
        state, _ = driver.step(state, driver.split(own))
    return before, jax.device_get(driver.gather(state).params)


def apart(ours: Any, theirs: Any) -> float:
    """Returns the largest difference between two trees of arrays."""
    leaves = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    # Not max, which lets a NaN pass.
    return float(np.max([np.abs(a - b).max() for a, b in leaves]))


def _by_two_hosts(template: Any) -> Any:
    """Returns the parameters that two processes with four devices each learn."""
    with tempfile.TemporaryDirectory() as folder:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        both = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "benchmarks.faults.drivers"),
                    *("--port", port, "--process", str(process), "--folder", folder),
                ],
                env={**os.environ, "XLA_FLAGS": _devices(4)},
            )
            for process in (0, 1)
        ]
        try:
            if any(process.wait(timeout=600) for process in both):
                raise SystemExit("a host has failed")
        finally:
            for process in both:
                process.kill()
        with np.load(Path(folder) / "params.npz") as found:
            leaves = list(found.values())
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _as_one_of_two(port: int, process: int, folder: Path) -> None:
    join(HostsConfig(f"127.0.0.1:{port}", 2, process))
    _, after = learned(None, "jit", own_share())
    by_first("left", lambda: np.savez(folder / "params.npz", *jax.tree.leaves(after)))


def _devices(count: int) -> str:
    return f"--xla_force_host_platform_device_count={count}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, kind in (("port", int), ("process", int), ("folder", Path)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.process is not None:
        _as_one_of_two(arguments.port, arguments.process, arguments.folder)
        return
    # Before anything is computed: only now are the devices made.
    os.environ.update({"XLA_FLAGS": _devices(8), "NPROC": "32", "JAX_PLATFORMS": "cpu"})
    before, alone = learned(1, "jit")
    print(f"jax {jax.__version__}; parameters move by up to {apart(before, alone):.3f}")
    worst = 0.0
    for title, options in ON_EIGHT.items():
        difference = apart(learned(8, **options)[1], alone)
        print(f"{title:24} {difference:.1e}", flush=True)
        worst = np.maximum(worst, difference)
    difference = apart(_by_two_hosts(alone), alone)
    print(f"{'two hosts of 4':24} {difference:.1e}")
    worst = np.maximum(worst, difference)
    raise SystemExit(not (worst <= TOLERANCE and apart(before, alone) >= 1e-2))


if __name__ == "__main__":
    main()
