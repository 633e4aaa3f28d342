"""The training step: one pure function, whatever runs it.

Losses and gradients come as sums over tokens and are divided once, after the sums of
all shards are added, so that one device, many under `jit` and many under `pmap` take
the same step.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from zoo.losses import TokenLoss

Params = Any
Batch = dict[str, Array]
LossFunction = Callable[[Params, Batch, PRNGKeyArray], TokenLoss]


class TrainState(struct.PyTreeNode):
    """All that an update changes.

    Attributes:
        step: updates done, an int32 scalar; under `pmap` it has an axis of devices as
            every leaf has.
    """

    step: Any
    params: Params
    opt_state: optax.OptState


Step = Callable[..., tuple[TrainState, dict[str, Float[Array, ""]]]]


def init_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """Returns the state before the first update."""
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def make_train_step(
    loss_function: LossFunction,
    optimizer: optax.GradientTransformation,
    key: PRNGKeyArray,
) -> Step:
    """Returns step(state, batch, axis_name=None) -> (state, metrics).

    Dropout of update n draws from `fold_in(key, n)`, so a resumed run is the same run.
    With an axis name, sums are added over that axis, and each of its shards draws its
    own dropout. Metrics are the loss in nats a token (unsmoothed), the number of target
    tokens, and the norm of the gradient before clipping.
    """

    def step(state, batch, axis_name=None):
        dropout_key = jax.random.fold_in(key, state.step)
        if axis_name is not None:
            shard = jax.lax.axis_index(axis_name)
            dropout_key = jax.random.fold_in(dropout_key, shard)

        def objective(params):
            loss = loss_function(params, batch, dropout_key)
            return loss.smoothed, loss

        gradient, loss = jax.grad(objective, has_aux=True)(state.params)
        if axis_name is not None:
            gradient, loss = jax.lax.psum((gradient, loss), axis_name)
        count = jnp.maximum(loss.count, 1.0)
        gradient = jax.tree.map(lambda leaf: leaf / count, gradient)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        metrics = {
            "loss": loss.plain / count,
            "tokens": loss.count,
            "grad_norm": optax.tree.norm(gradient),
        }
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, opt_state), metrics

    return step
