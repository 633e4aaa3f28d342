"""Times updates in bfloat16 beside PyTorch's, on an accelerator.

Transformer base and big at 8 x 4,096 tokens; the peer is compiled, with SDPA, autocast
and the fused AdamW. Recurrent models with attention beside PyTorch's cuDNN LSTM and
GRU, in float32 as tensor cores take it (TF32 on both sides): autocast gives cuDNN's
recurrent layers float16. That both sides compute the same loss, logits and gradient is
checked first, in full float32 and without dropout, on a few rows of the batch.

    python -m benchmarks.accelerators.updates base
    python -m benchmarks.accelerators.updates big
    python -m benchmarks.accelerators.updates luong bahdanau

A run is several updates, so that the host may be ahead of the device, with a batch that
lies there. The sides take turns in processes of their own.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import training
from benchmarks.accelerators.command import add_rows, chosen, pair, parser_of
from benchmarks.pairs import process_peak_bytes, relative_distance

NUM_CHECKED = 8  # rows of the batch; devices of a test divide them
TOLERANCES = {"numbers": 5e-3}
NUM_PAIRS = 15


@dataclass(frozen=True)
class Row(training.Row):
    """A model, its batch, and how both sides compute.

    Attributes:
        updates: of one timed run.
        compiler: of PyTorch's side, a backend of `torch.compile`; None is eager.
    """

    precision: training.Precision = "bfloat16"
    updates: int = 10
    compiler: str | None = "inductor"


LARGE = {"vocab_size": 32_000}
RECURRENT: dict[str, Any] = {"precision": "float32", "updates": 5, "compiler": None}
ROWS = {
    "base": Row("transformer-base", LARGE, 512, 64, 1.0),
    "big": Row("transformer-big", LARGE, 512, 64, 1.0),
    "luong": Row("rnn-luong-general", {"vocab_size": 10_000}, 256, 32, **RECURRENT),
    "bahdanau": Row("rnn-bahdanau", {"vocab_size": 10_000}, 256, 32, **RECURRENT),
}
SMALL = {"vocab_size": 40, "model_dim": 16}
NARROW = {**SMALL, "mlp_dim": 32, "num_layers": 1, "num_heads": 2}
TOYS = {
    name: replace(
        row,
        overrides=NARROW if row.model.startswith("transformer") else SMALL,
        batch=16,
        length=4,
        updates=2,
        compiler=row.compiler and "aot_eager",
    )
    for name, row in ROWS.items()
}


class Ours(training.Ours):
    """The zoo's translators on the device that JAX has."""

    def __init__(self, row: Row, cache: Path):
        import jax

        super().__init__(row, cache, row.precision)
        self._num_updates = row.updates
        self._whole = self.driver.split(self.batch)
        few = {name: rows[:NUM_CHECKED] for name, rows in self.batch.items()}
        self.batch = jax.device_put(few)

    def check(self):
        import jax

        with jax.default_matmul_precision("highest"):
            return super().check()

    def run(self):
        import jax

        for _ in range(self._num_updates):
            self.state, _ = self.driver.step(self.state, self._whole)
        jax.block_until_ready(self.state)

    def peak_bytes(self) -> int:
        return device_peak_bytes()


class Torch(training.Torch):
    """The same in PyTorch, on a GPU if there is one."""

    def __init__(self, row: Row, cache: Path):
        import torch

        from benchmarks.torch_twins import translation_loss

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        super().__init__(row, cache, self._device)
        self._row, self._whole = row, self.batch
        self.batch = {name: rows[:NUM_CHECKED] for name, rows in self.batch.items()}
        self._loss = translation_loss
        if row.compiler is not None:
            self._loss = torch.compile(translation_loss, backend=row.compiler)

    def check(self):
        # In training mode alone has cuDNN gradients of its recurrent layers.
        with self.torch.backends.cudnn.flags(enabled=False):
            return super().check()

    def run(self):
        self.torch.set_float32_matmul_precision("high")
        for _ in range(self._row.updates):
            self.update(self._mixed_loss)
        if self._device == "cuda":
            self.torch.cuda.synchronize()

    def _mixed_loss(self):
        mixed = self._row.precision == "bfloat16"
        with self.torch.autocast(self._device, self.torch.bfloat16, enabled=mixed):
            return self._loss(self.model, self._whole, training.SMOOTHING)

    def flops(self):
        runs = self._row.updates * self._row.batch / NUM_CHECKED
        return runs * super().flops()

    def peak_bytes(self) -> int:
        if self._device == "cuda":
            return self.torch.cuda.max_memory_allocated()
        return process_peak_bytes()


def device_peak_bytes() -> int:
    """Returns the most memory that JAX has held on its device, or that this process."""
    import jax

    found = jax.local_devices()[0].memory_stats()
    return found["peak_bytes_in_use"] if found else process_peak_bytes()


def main(arguments: list[str]) -> None:
    """Times as the command line says."""
    parser = parser_of("benchmarks.accelerators.updates", __doc__)
    add_rows(parser, ROWS)
    asked = parser.parse_args(arguments)
    pair(
        "updates",
        chosen(parser, asked.rows, TOYS if asked.toy else ROWS),
        Ours,
        Torch,
        output=asked.output,
        num_pairs=2 if asked.toy else NUM_PAIRS,
        difference=relative_distance,
        tolerances=TOLERANCES,
        toy=asked.toy,
        named=asked.rows,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
