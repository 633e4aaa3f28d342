"""Optimisers: what becomes of a gradient."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from zoo.errors import unknown
from zoo.training.config import OptimizerConfig
from zoo.training.plateau import Plateau, judged
from zoo.training.step import LossFunction


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


def judge_of(config: OptimizerConfig) -> Callable[[Plateau, float], Plateau]:
    """Returns what an evaluation changes: under "plateau" the learning rate too."""
    if config.schedule != "plateau":
        return judged
    return partial(
        judged, patience=config.plateau_patience, factor=config.plateau_factor
    )


def is_learned(params: Any, frozen: Sequence[str]) -> Any:
    """Returns for each parameter whether it is learned.

    >>> params = {"tower": {"kernel": 1.0}, "tower_norm": 2.0}
    >>> is_learned(params, ["tower"])
    {'tower': {'kernel': False}, 'tower_norm': True}

    Args:
        frozen: paths of parts, with slashes, that stay as they are.

    Raises:
        InputError: there is no such part.
    """
    paths = flatten_dict(params, sep="/")
    parts = {"/".join(path.split("/")[:end]) for path in paths for end in range(1, 9)}
    for name in frozen:
        if name not in parts:
            raise unknown("part to freeze", name, parts)
    learned = {
        path: not any(f"{path}/".startswith(f"{name}/") for name in frozen)
        for path in paths
    }
    return unflatten_dict(learned, sep="/")


def hold(loss: LossFunction, frozen: Sequence[str]) -> LossFunction:
    """Returns the loss as a function of what is learned alone.

    The gradient of the frozen parts is zero, and no time is spent on it.
    """
    if not frozen:
        return loss

    def of_learned(params, batch, key):
        learned = is_learned(params, frozen)
        held = jax.tree.map(
            lambda leaf, learn: leaf if learn else jax.lax.stop_gradient(leaf),
            params,
            learned,
        )
        return loss(held, batch, key)

    return of_learned


def make_optimizer(
    config: OptimizerConfig, num_steps: int
) -> optax.GradientTransformation:
    """Returns clipping followed by AdamW under the schedule; none for frozen parts."""
    if not config.frozen:
        return _adamw(config, num_steps)

    def label(params):
        learned = is_learned(params, config.frozen)
        return jax.tree.map(lambda learn: "learned" if learn else "frozen", learned)

    return optax.partition(
        {"learned": _adamw(config, num_steps), "frozen": optax.set_to_zero()}, label
    )


def decays(params: Any) -> Any:
    """Returns for each parameter whether weight decay applies to it: matrices alone.

    Biases of heads are [H, E] and no matrices, whatever their number of axes.
    """

    def decay(path, leaf):
        is_bias = jax.tree_util.keystr(path[-1:], simple=True) == "bias"
        return leaf.ndim > 1 and not is_bias

    return jax.tree_util.tree_map_with_path(decay, params)


def _adamw(config: OptimizerConfig, num_steps: int) -> optax.GradientTransformation:
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            schedule(config, num_steps),
            b1=config.beta1,
            b2=config.beta2,
            eps=config.epsilon,
            weight_decay=config.weight_decay,
            mask=decays,
        ),
    )
