"""Optimisers: what becomes of a gradient."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

from zoo.training.config import OptimizerConfig
from zoo.training.plateau import Plateau, observe


def schedule(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Returns the learning rate as a function of the number of updates done.

    What "plateau" takes away later is in the state, since it depends on evaluations.
    """
    if config.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(
            0.0, config.learning_rate, config.warmup_steps, num_steps
        )

    warmup = max(config.warmup_steps, 1)
    if config.schedule == "plateau":
        return lambda step: config.learning_rate * jnp.minimum((step + 1.0) / warmup, 1)

    def inverse_sqrt(step):
        step = step + 1.0
        return config.learning_rate * jnp.minimum(step / warmup, (warmup / step) ** 0.5)

    return inverse_sqrt


def observer(config: OptimizerConfig) -> Callable[[Plateau, float], Plateau]:
    """Returns what an evaluation changes: under "plateau" the learning rate too."""
    if config.schedule != "plateau":
        return observe
    return partial(
        observe, patience=config.plateau_patience, factor=config.plateau_factor
    )


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
