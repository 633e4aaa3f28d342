"""Times updates of stacked attention beside those of the same model in PyTorch.

Float32, dropout on, forward, backward, clipping and Adam; on both sides an image is
encoded once for all of its questions. Both get the same weights and the same random
pictures and questions, without padding; that they compute the same loss, logits and
gradient is checked first, without dropout.
"""

import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pairs import keep_compiled
from benchmarks.tables import compare
from benchmarks.training import TorchWork, ZooWork
from experiments.command import run
from zoo.catalogue import model_config

MODEL = "stacked-attention-tiny"
SIDE = 64  # pixels


@dataclass(frozen=True)
class Row:
    """How many images are in a batch, and how many questions of how many words each."""

    images: int
    questions: int
    words: int
    bar: float = math.nan
    overrides: dict[str, Any] = field(default_factory=dict)


ROWS = {
    "easy-vqa": Row(images=64, questions=10, words=8),
    "sort-of-clevr": Row(images=32, questions=20, words=12),
}


def batch_of(row: Row) -> dict[str, np.ndarray]:
    """Returns random pictures and questions with their answers."""
    generator = np.random.default_rng(0)
    config: Any = model_config(MODEL, **row.overrides)
    shape = (row.images, row.questions)
    words = (*shape, row.words)
    return {
        "image": generator.integers(0, 256, (row.images, SIDE, SIDE, 3), np.uint8),
        "questions": generator.integers(1, config.vocab_size, words, np.int32),
        "labels": generator.integers(0, config.num_answers, shape, np.int32),
        "valid": np.ones(shape, bool),
    }


class Ours(ZooWork):
    """The zoo's model."""

    def __init__(self, row: Row, cache: Path):
        import jax

        from zoo.catalogue import create_model
        from zoo.losses import label_smoothed_cross_entropy
        from zoo.models.visual_contract import initialize

        keep_compiled(cache)
        self.model: Any = create_model(MODEL, **row.overrides)
        params = jax.jit(partial(initialize, self.model))(jax.random.key(0))
        # Norms that begin at zero would hide what stands before them.
        params = jax.tree.map(lambda leaf: leaf + 0.01, params)

        def loss(params, batch, key):
            noise = {} if key is None else {"rngs": {"dropout": key}}
            logits = self.model.apply(
                {"params": params},
                batch["image"],
                batch["questions"],
                deterministic=key is None,
                **noise,
            )
            return label_smoothed_cross_entropy(
                logits, batch["labels"], batch["valid"], 0.0
            )

        super().__init__(params, loss, batch_of(row), cache)

    def check(self):
        import jax

        loss, gradient = self.loss_and_gradient()
        logits = jax.jit(self.model.apply)(
            {"params": self.params}, self.batch["image"], self.batch["questions"]
        )
        stage = gradient["image_encoder"]["stages_0"]
        found = {
            "loss": loss,
            "logits": logits,
            "gradient of words": gradient["embedding"]["table"],
            "gradient of pixels": stage["first"]["kernel"].transpose(3, 2, 0, 1),
        }
        return {name: np.asarray(value) for name, value in found.items()}


class Torch(TorchWork):
    """The same in PyTorch, eager, with the fused Adam."""

    def __init__(self, row: Row, cache: Path):
        import torch

        from benchmarks.visual_twins import StackedAttention

        config = model_config(MODEL, **row.overrides)
        with np.load(cache / "params.npz") as params:
            super().__init__(StackedAttention(dict(params), config))
        batch = batch_of(row)
        self.image = torch.from_numpy(batch["image"].astype(np.float32))
        self.questions = torch.from_numpy(batch["questions"].astype(np.int64))
        self.labels = torch.from_numpy(batch["labels"].astype(np.int64))

    def loss(self):
        logits = self.model(self.image, self.questions)
        return self.torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), self.labels.flatten()
        )

    def check(self):
        self.model.eval()
        loss = self.loss()
        loss.backward()
        with self.torch.no_grad():
            logits = self.model(self.image, self.questions)
        found = {
            "loss": loss,
            "logits": logits,
            "gradient of words": self.model.table.grad,
            "gradient of pixels": self.model.stages[0].first.weight.grad,
        }
        self.model.train()
        return {name: value.detach().numpy() for name, value in found.items()}


def main(arguments: list[str]) -> None:
    """Times as the command line says."""
    compare("visual", ROWS, Ours, Torch, arguments, description=__doc__)


if __name__ == "__main__":
    run(main)
