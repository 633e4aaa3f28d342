"""Times updates of the zoo's translators beside those of the same models in PyTorch.

Forward, backward, clipping and Adam, float32, dropout and label smoothing on. Both
sides get the same weights and the same full batch, without padding; that they compute
the same loss, logits and gradient is checked first, without dropout.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from benchmarks.pairs import measure, write_report
from experiments.command import plain_console, run
from zoo.catalogue import model_config

SMOOTHING = 0.1
CLIP_NORM = 1.0
LEARNING_RATE = 1e-4


@dataclass(frozen=True)
class Row:
    """A model and the shape of its batch.

    Attributes:
        bar: the ratio to reach, PyTorch's time over ours.
    """

    model: str
    overrides: dict[str, Any]
    batch: int
    length: int
    bar: float


TINY = {"vocab_size": 10_000, "dropout_rate": 0.3}
ROWS = {
    "tiny-128x32": Row("transformer-tiny", TINY, 128, 32, 1.45),
    "tiny-64x64": Row("transformer-tiny", TINY, 64, 64, 1.6),
    "base-32x64": Row("transformer-base", {"vocab_size": 32_000}, 32, 64, 1.1),
    "bahdanau-128x32": Row("rnn-bahdanau", {"vocab_size": 10_000}, 128, 32, 0.95),
    "luong-128x32": Row("rnn-luong-general", {"vocab_size": 10_000}, 128, 32, 1.1),
    "rnn-128x32": Row("rnn-gru", {"vocab_size": 10_000}, 128, 32, 1.1),
}


def batch_of(row: Row) -> dict[str, np.ndarray]:
    """Returns random sentences of the row's length, without padding."""
    generator = np.random.default_rng(0)
    vocab_size = row.overrides["vocab_size"]
    shape = (row.batch, row.length)
    return {
        name: generator.integers(3, vocab_size, shape, dtype=np.int32)
        for name in ("source", "inputs", "labels")
    }


class Ours:
    """The zoo's model under its own step, as `experiments.translate.train` runs it."""

    def __init__(self, row: Row, cache: Path):
        import jax
        from flax.traverse_util import flatten_dict

        from zoo.catalogue import create_model
        from zoo.losses import sequence_loss
        from zoo.models.contract import initialize
        from zoo.training.config import OptimizerConfig
        from zoo.training.devices import make_driver
        from zoo.training.optimizers import make_optimizer
        from zoo.training.step import init_state, make_train_step

        jax.config.update("jax_compilation_cache_dir", str(cache / "jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        self.model = create_model(row.model, **row.overrides)
        self.params = jax.jit(lambda key: initialize(self.model, key))(
            jax.random.key(0)
        )
        flat = flatten_dict(self.params, sep="/")
        np.savez(cache / "params.npz", **flat)
        self.batch = batch_of(row)

        def loss(params, batch, key):
            return sequence_loss(self.model, params, batch, key, smoothing=SMOOTHING)

        self.loss = loss
        config = OptimizerConfig(
            learning_rate=LEARNING_RATE, warmup_steps=1, clip_norm=CLIP_NORM
        )
        optimizer = make_optimizer(config, 1_000_000)
        step = make_train_step(loss, optimizer, jax.random.key(1))
        self.driver = make_driver("jit", step)
        self.state = self.driver.place(init_state(self.params, optimizer))

    def check(self):
        import jax

        def mean(params):
            loss = self.loss(params, self.batch, None)
            return loss.smoothed / loss.count

        loss, gradient = jax.jit(jax.value_and_grad(mean))(self.params)
        tables = ("embedding", "target_embedding")
        table = next(gradient[name]["table"] for name in tables if name in gradient)
        source, inputs = (self.batch[name][:2] for name in ("source", "inputs"))
        logits = jax.jit(self.model.apply)({"params": self.params}, source, inputs)
        found = {"loss": loss, "gradient": table, "logits": logits}
        return {name: np.asarray(value) for name, value in found.items()}

    def run(self):
        batch = self.driver.split(self.batch)
        self.state, metrics = self.driver.step(self.state, batch)
        metrics["loss"].block_until_ready()


class Torch:
    """The same in PyTorch, eager, with the fused Adam."""

    def __init__(self, row: Row, cache: Path):
        import torch

        from benchmarks.torch_twins import twin

        self.torch = torch
        config = model_config(row.model, **row.overrides)
        with np.load(cache / "params.npz") as params:
            self.model = twin(row.model, dict(params), config)
        self.batch = {
            name: torch.from_numpy(value.astype(np.int64))
            for name, value in batch_of(row).items()
        }
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            LEARNING_RATE,
            betas=(0.9, 0.98),
            weight_decay=0.0,
            fused=True,
        )

    def loss(self):
        logits = self.model(self.batch["source"], self.batch["inputs"])
        return self.torch.nn.functional.cross_entropy(
            logits.flatten(0, 1),
            self.batch["labels"].flatten(),
            ignore_index=0,
            label_smoothing=SMOOTHING,
        )

    def check(self):
        self.model.eval()
        loss = self.loss()
        loss.backward()
        with self.torch.no_grad():
            logits = self.model(self.batch["source"][:2], self.batch["inputs"][:2])
        found = {"loss": loss, "gradient": self.model.table.grad, "logits": logits}
        self.model.train()
        return {name: value.detach().numpy() for name, value in found.items()}

    def run(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss()
        loss.backward()
        parameters = self.model.parameters()
        self.torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        self.optimizer.step()

    def flops(self):
        from torch.utils.flop_counter import FlopCounterMode

        with self.torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.loss()
        return 3.0 * counter.get_total_flops()  # forward, twice as much backward


@dataclass(frozen=True)
class Arguments:
    """Which rows, how often, and where to write."""

    rows: Annotated[tuple[str, ...], tyro.conf.Positional] = tuple(ROWS)
    """Names of rows; all by default."""
    num_pairs: int = 15
    """Timed updates of each side."""
    output: Path = Path("runs/benchmarks/training.json")
    """Where the numbers go."""


def main(arguments: list[str]) -> None:
    """Times as the command line says."""
    from rich.table import Table

    from zoo.errors import unknown

    asked = tyro.cli(
        Arguments,
        prog="python -m benchmarks.training",
        description=__doc__,
        args=arguments,
    )
    for name in asked.rows:
        if name not in ROWS:
            raise unknown("row", name, ROWS)
    results, console = {}, plain_console()
    for name in asked.rows:
        row = ROWS[name]
        with tempfile.TemporaryDirectory() as cache:
            paired = measure(
                Ours,
                Torch,
                num_pairs=asked.num_pairs,
                tolerance=1e-4,
                cache=Path(cache),
                row=row,
            )
        results[name] = {"bar": row.bar, **paired.to_json()}
        write_report(asked.output, results)
        low, high = paired.interval
        console.print(f"{name}: {paired.ratio:.2f} ({low:.2f} – {high:.2f})")
    heads = ("row", "ms", "PyTorch ms", "ratio (95 %)", "bar", "GFLOP/s", "MB")
    table = Table(*heads, "PyTorch MB", "first s", "cached s")
    for name, result in results.items():
        low, high = result["interval"]
        table.add_row(
            name,
            f"{1e3 * result['median_seconds']:.0f}",
            f"{1e3 * result['peer_median_seconds']:.0f}",
            f"{result['ratio']:.2f} ({low:.2f} – {high:.2f})",
            f"{result['bar']}",
            f"{result['gflops_per_second']:.0f}",
            f"{result['ours_bytes'] / 1e6:.0f}",
            f"{result['peer_bytes'] / 1e6:.0f}",
            f"{result['cold_seconds']:.1f}",
            f"{result['cached_seconds']:.1f}",
        )
    console.print(table)


if __name__ == "__main__":
    run(main)
