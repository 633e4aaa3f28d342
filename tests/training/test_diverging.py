"""A validation loss that is infinite is one, and no evaluation that is still due."""

import math

import jax.numpy as jnp
import numpy as np
from rich.console import Console

from zoo.checkpoints import Checkpoints
from zoo.losses import TokenLoss
from zoo.training.config import OptimizerConfig, TrainingConfig
from zoo.training.run import Task, train_to_end


def linear(params, batch, key):
    total = (params["w"] * batch["x"]).sum()
    return TokenLoss(total, total, jnp.float32(len(batch["x"])))


def test_a_checkpoint_whose_loss_has_diverged_counts_as_evaluated(tmp_path):
    losses = {2: 1.0, 4: math.inf}
    task = Task(
        unit="token",
        init=lambda key: {"w": jnp.ones(())},
        loss=linear,
        batches=lambda first: [{"x": np.ones(8, np.float32)}] * (4 - first),
        batches_per_epoch=4,
        shapes="",
        evaluate=lambda state: {"loss": losses[int(state.step)]},
    )
    train_to_end(
        tmp_path,
        task,
        TrainingConfig(num_steps=4, evaluation_interval=2),
        OptimizerConfig(warmup_steps=1),
        seed=0,
        started=0.0,
        console=Console(quiet=True),
    )
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.note(4)["evaluated"]
        assert checkpoints.last_steps(2) == [2, 4]
        assert checkpoints.best_step() == 2
