"""Times updates of the zoo's translators beside those of the same models in PyTorch.

Forward, backward, clipping and Adam, float32, dropout and label smoothing on. Both
sides get the same weights and the same full batch, without padding; that they compute
the same loss, logits and gradient is checked first, without dropout.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.pairs import keep_compiled
from experiments.command import run
from zoo.catalogue import model_config

SMOOTHING = 0.1
CLIP_NORM = 1.0
LEARNING_RATE = 1e-4
Precision = Literal["float32", "bfloat16"]


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
    bar: float = math.nan


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


class ZooWork:
    """Updates of a model under the zoo's own step, as the experiments run them.

    Args:
        params: of the model; the peer finds them in `cache`.
        loss: (params, batch, key) -> TokenLoss; without a key, no dropout.
        precision: of the updates.
    """

    def __init__(
        self,
        params: Any,
        loss: Any,
        batch: Any,
        cache: Path,
        precision: Precision = "float32",
    ):
        import jax
        from flax.traverse_util import flatten_dict

        from zoo.training.config import OptimizerConfig
        from zoo.training.devices import make_driver
        from zoo.training.optimizers import make_optimizer
        from zoo.training.step import init_state, make_train_step

        np.savez(cache / "params.npz", **flatten_dict(params, sep="/"))
        self.params, self.loss, self.batch = params, loss, batch
        config = OptimizerConfig(
            learning_rate=LEARNING_RATE, warmup_steps=1, clip_norm=CLIP_NORM
        )
        optimizer = make_optimizer(config, 1_000_000)
        key = jax.random.key(1)
        step = make_train_step(loss, optimizer, key, precision=precision)
        self.driver = make_driver("jit", step)
        self.state = self.driver.place(init_state(params, optimizer))

    def loss_and_gradient(self) -> tuple[Any, Any]:
        """Returns the mean loss of the batch without dropout, and its gradient."""
        import jax

        def mean(params):
            loss = self.loss(params, self.batch, None)
            return loss.smoothed / loss.count

        return jax.jit(jax.value_and_grad(mean))(self.params)

    def run(self):
        batch = self.driver.split(self.batch)
        self.state, metrics = self.driver.step(self.state, batch)
        metrics["loss"].block_until_ready()


class Ours(ZooWork):
    """The zoo's translators."""

    def __init__(self, row: Row, cache: Path, precision: Precision = "float32"):
        import jax

        from zoo.losses import sequence_loss
        from zoo.models.contract import initialize

        keep_compiled(cache)
        self.model: Any = self.build(row)
        params = jax.jit(partial(initialize, self.model))(jax.random.key(0))
        loss = partial(sequence_loss, self.model, label_smoothing=SMOOTHING)
        super().__init__(params, loss, batch_of(row), cache, precision)

    def build(self, row: Row) -> Any:
        """Returns the model of a row."""
        from zoo.catalogue import create_model

        return create_model(row.model, **row.overrides)

    def check(self):
        import jax

        loss, gradient = self.loss_and_gradient()
        tables = ("embedding", "target_embedding")
        table = next(gradient[name]["table"] for name in tables if name in gradient)
        source, inputs = (self.batch[name][:2] for name in ("source", "inputs"))
        logits = jax.jit(self.model.apply)({"params": self.params}, source, inputs)
        found = {"loss": loss, "gradient": table, "logits": logits}
        return {name: np.asarray(value) for name, value in found.items()}


class TorchWork:
    """Updates of a model in PyTorch, eager, with the fused Adam."""

    def __init__(self, model: Any, device: str = "cpu"):
        import torch

        self.torch, self.model = torch, model.to(device)
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            LEARNING_RATE,
            betas=(0.9, 0.98),
            weight_decay=0.0,
            fused=True,
        )

    def loss(self) -> Any:
        """Returns the loss of the batch."""
        raise NotImplementedError

    def run(self):
        self.update(self.loss)

    def update(self, loss: Callable[[], Any]) -> None:
        """Takes one update, to which a loss leads."""
        self.optimizer.zero_grad(set_to_none=True)
        loss().backward()
        parameters = self.model.parameters()
        self.torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        self.optimizer.step()

    def flops(self):
        """Returns those of matrix products, of which torch sees none in fused kernels.

        So attention and LSTMs take their plain path once.
        """
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.utils.flop_counter import FlopCounterMode

        mkldnn = self.torch.backends.mkldnn
        (fused, *_) = mkldnn.set_flags(False)
        try:
            with (
                self.torch.backends.cudnn.flags(enabled=False),
                sdpa_kernel(SDPBackend.MATH),
                self.torch.no_grad(),
                FlopCounterMode(display=False) as counter,
            ):
                self.loss()
        finally:
            mkldnn.set_flags(fused)
        return 3.0 * counter.get_total_flops()  # forward, twice as much backward


class Torch(TorchWork):
    """The same in PyTorch."""

    def __init__(self, row: Row, cache: Path, device: str = "cpu"):
        import torch

        from benchmarks.torch_twins import twin

        config = model_config(row.model, **row.overrides)
        with np.load(cache / "params.npz") as params:
            super().__init__(twin(row.model, dict(params), config), device)
        self.batch = {
            name: torch.from_numpy(value.astype(np.int64)).to(device)
            for name, value in batch_of(row).items()
        }

    def loss(self):
        from benchmarks.torch_twins import translation_loss

        return translation_loss(self.model, self.batch, SMOOTHING)

    def check(self):
        self.model.eval()
        loss = self.loss()
        loss.backward()
        with self.torch.no_grad():
            logits = self.model(self.batch["source"][:2], self.batch["inputs"][:2])
        found = {"loss": loss, "gradient": self.model.table.grad, "logits": logits}
        self.model.train()
        return {name: value.detach().cpu().numpy() for name, value in found.items()}


def main(arguments: list[str]) -> None:
    """Times as the command line says."""
    from benchmarks.tables import compare  # which reads the command line with tyro

    compare("training", ROWS, Ours, Torch, arguments, description=__doc__)


if __name__ == "__main__":
    run(main)
