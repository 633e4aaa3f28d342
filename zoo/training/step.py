"""The training step: one pure function, whatever runs it.

Losses and gradients come as sums over labels and are divided once, after the sums of
all shards are added, so that one device, many under `jit` and many under `pmap` take
the same step. So do the portions of a batch that is too large to be taken at once.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, PRNGKeyArray

from zoo.losses import TokenLoss
from zoo.training.faults import Faults, is_harmless, no_faults, remember
from zoo.training.plateau import Plateau, no_plateau

Params = Any
Batch = dict[str, Array]
Precision = Literal["float32", "bfloat16"]
LossFunction = Callable[[Params, Batch, PRNGKeyArray], TokenLoss]


class TrainState(struct.PyTreeNode):
    """All that a run changes.

    Attributes:
        step: updates done, an int32 scalar; under `pmap` it has an axis of devices as
            every leaf has.
        ema: the exponential moving average of `params`, None where none is kept.
        plateau: what the evaluations have come to.
        faults: which updates were skipped, and what gradients are usual.
    """

    step: Any
    params: Params
    opt_state: optax.OptState
    ema: Params | None = None
    plateau: Plateau = struct.field(default_factory=no_plateau)
    faults: Faults = struct.field(default_factory=no_faults)

    @property
    def eval_params(self) -> Params:
        """Returns what to validate and to decode with: the average if there is one."""
        return self.params if self.ema is None else self.ema


Step = Callable[..., tuple[TrainState, dict[str, Float[Array, ""]]]]


def init_state(
    params: Params, optimizer: optax.GradientTransformation, *, ema: bool = False
) -> TrainState:
    """Returns the state before the first update.

    Args:
        ema: whether a moving average of the parameters is kept.
    """
    # Copies, so that a step may consume both.
    average = jax.tree.map(jnp.array, params) if ema else None
    step = jnp.zeros((), jnp.int32)
    return TrainState(step, params, optimizer.init(params), average)


def make_train_step(
    loss_function: LossFunction,
    optimizer: optax.GradientTransformation,
    key: PRNGKeyArray,
    *,
    accumulation: int = 1,
    precision: Precision = "float32",
    ema_decay: float = 0.0,
    clip_norm: float = 0.0,
) -> Step:
    """Returns step(state, batch, axis_name=None) -> (state, metrics).

    Dropout of update n draws from `fold_in(key, n)`, so a resumed run is the same run.
    With an axis name, sums are added over that axis, and each of its shards draws its
    own dropout. Metrics are the mean loss in nats (unsmoothed), the number of labels
    that it is a mean of, the norm of the gradient before clipping, and what is known of
    faults: an update that would do harm changes nothing but these and the step.

    Args:
        accumulation: portions in which a batch is taken, one after the other, so that
            the activations of one portion only need be held.
        precision: in which the loss is computed, from a copy of the parameters;
            parameters, gradients and their sums are float32.
        ema_decay: of `state.ema`, which the state must have if this is not 0.
        clip_norm: to which the optimizer clips; see `zoo.training.faults.is_harmless`.
    """

    def objective(params, batch, key):
        loss = loss_function(_cast(params, precision), batch, key)
        return loss.smoothed, loss

    gradient_and_loss = jax.grad(objective, has_aux=True)

    def step(state, batch, axis_name=None):
        dropout_key = jax.random.fold_in(key, state.step)
        if axis_name is not None:
            shard = jax.lax.axis_index(axis_name)
            dropout_key = jax.random.fold_in(dropout_key, shard)
        if accumulation == 1:
            sums = gradient_and_loss(state.params, batch, dropout_key)
        else:
            sums = _sum_over_portions(
                partial(gradient_and_loss, state.params),
                _portions(batch, accumulation),
                jax.random.split(dropout_key, accumulation),
            )
        if axis_name is not None:
            sums = jax.lax.psum(sums, axis_name)
        gradient, loss = sums
        count = jnp.maximum(loss.count, 1.0)
        gradient = jax.tree.map(lambda leaf: leaf / count, gradient)
        norm = optax.tree.norm(gradient)
        new = _updated(state, optimizer, gradient, ema_decay)
        made = is_harmless(state.faults, loss.smoothed, norm, clip_norm)
        made &= jnp.isfinite(optax.tree.norm(new.params))
        state = jax.tree.map(lambda old, new: jnp.where(made, new, old), state, new)
        faults = remember(state.faults, state.step, norm, made)
        metrics = {
            "loss": loss.plain / count,
            "count": jnp.where(made, loss.count, 0.0),
            "grad_norm": norm,
            "skipped": faults.skipped,
            "longest": faults.longest,
            "longest_end": faults.longest_end,
        }
        return state.replace(step=state.step + 1, faults=faults), metrics

    return step


def _updated(state, optimizer, gradient, ema_decay):
    """Returns the state after an update, but for its step."""
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    updates = jax.tree.map(lambda leaf: leaf * state.plateau.scale, updates)
    params = optax.apply_updates(state.params, updates)
    ema = state.ema
    if ema_decay:
        ema = moving_average(ema, params, state.step + 1, ema_decay)
    return state.replace(params=params, opt_state=opt_state, ema=ema)


def moving_average(
    average: Params, params: Params, num_updates: Int[Array, ""], decay: float
) -> Params:
    """Returns the exponential moving average with one more value in it.

    The decay is min(decay, (1 + n) / (10 + n)) at update n, so that the random values
    of the beginning are soon forgotten; so do TensorFlow's
    `tf.train.ExponentialMovingAverage` when it is told `num_updates`, and diffusers.
    The average begins as the parameters themselves, and is a model at any moment.
    """
    kept = jnp.minimum(decay, (1.0 + num_updates) / (10.0 + num_updates))
    return jax.tree.map(
        lambda old, new: kept * old + (1.0 - kept) * new, average, params
    )


def _cast(params, precision):
    """Returns the parameters as the model computes with them."""
    if precision == "float32":
        return params
    return jax.tree.map(lambda leaf: leaf.astype(precision), params)


def _portions(batch, number):
    """Cuts [B, …] to [number, B / number, …], each portion with rows of every device.

    Portion p takes the rows p, p + number, …: wherever the rows of a device are a
    multiple of the portions, none has to move to another device.
    """

    def cut(rows):
        if rows.shape[0] % number:
            raise ValueError(
                f"{rows.shape[0]} rows do not divide into {number} portions; make "
                "batches of a multiple of devices x portions"
            )
        return rows.reshape(-1, number, *rows.shape[1:]).swapaxes(0, 1)

    return jax.tree.map(cut, batch)


def _sum_over_portions(compute, portions, keys):
    """Returns the sum of compute(portion, key), one after the other."""

    def add(total, inputs):
        return jax.tree.map(jnp.add, total, compute(*inputs)), None

    first = jax.tree.map(lambda leaf: leaf[0], (portions, keys))
    shapes = jax.eval_shape(compute, *first)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    total, _ = jax.lax.scan(add, zeros, (portions, keys))
    return total
