"""Optimisers: what becomes of a gradient."""

import jax
import optax

from zoo.errors import InputError
from zoo.training.config import OptimizerConfig


def schedule(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Returns the learning rate as a function of the number of updates done.

    Raises:
        InputError: the run ends before its warm-up.
    """
    if config.warmup_steps >= num_steps:
        raise InputError(
            f"{config.warmup_steps} warm-up updates do not fit into a run of "
            f"{num_steps}; lower --optimizer.warmup-steps or train longer"
        )
    if config.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(
            0.0, config.learning_rate, config.warmup_steps, num_steps
        )

    def inverse_sqrt(step):
        step = step + 1.0
        warmup = max(config.warmup_steps, 1)
        return config.learning_rate * jax.numpy.minimum(
            step / warmup, (warmup / step) ** 0.5
        )

    return inverse_sqrt


def make_optimizer(
    config: OptimizerConfig, num_steps: int
) -> optax.GradientTransformation:
    """Returns clipping followed by AdamW under the schedule."""

    def is_matrix(params):
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            schedule(config, num_steps),
            b1=config.beta1,
            b2=config.beta2,
            eps=config.epsilon,
            weight_decay=config.weight_decay,
            mask=is_matrix,
        ),
    )
