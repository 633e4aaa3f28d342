"""A run from its first update, or its newest checkpoint, to its end."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
from optax import GradientTransformation
from rich.console import Console

from experiments.translate.config import Config, TrainingConfig
from experiments.translate.corpus import Corpora
from experiments.translate.validation import Validation, batch_loss
from zoo.catalogue import build
from zoo.checkpoints import Checkpoints
from zoo.data.batching import BatchPlan, lengths_with_end, training_batches
from zoo.models.contract import Seq2Seq, initialize
from zoo.training.devices import Driver, make_driver
from zoo.training.loop import Schedule, fit
from zoo.training.optimizers import observer
from zoo.training.progress import Report
from zoo.training.records import Metrics
from zoo.training.step import TrainState, init_state, make_train_step


@dataclass(frozen=True)
class Fitted:
    """What training leaves beside its checkpoints.

    Attributes:
        step: updates done.
        params: their number.
        clock: returns the seconds spent on the run, interruptions not counted.
    """

    step: int
    params: int
    clock: Callable[[], float]


def train_to_end(
    config: Config,
    corpora: Corpora,
    optimizer: GradientTransformation,
    started: float,
    console: Console,
) -> Fitted:
    """Trains until the run has ended; does nothing if it had already.

    Args:
        started: when this process began, by `time.monotonic`.
    """
    training = config.training
    model = build(replace(config.model, vocab_size=corpora.tokenizer.vocab_size))
    plan = batch_plan(config, corpora)
    init_key, dropout_key = jax.random.split(jax.random.key(config.seed))
    params = initialize(model, init_key)
    state = init_state(params, optimizer, ema=training.ema_decay > 0)
    num_params = sum(leaf.size for leaf in jax.tree.leaves(params))
    _announce(console, num_params, plan)
    # The best and one to fall back on, or as many as are averaged.
    keep_last = max(2, config.decoding.average)
    with Checkpoints(config.workdir / "checkpoints", keep_last) as checkpoints:
        note = {"seconds": 0.0, "ended": False}
        if steps := checkpoints.steps():
            state = checkpoints.restore(steps[-1], state)
            note = checkpoints.note(steps[-1])
            console.print(f"goes on from step {steps[-1]}")

        def clock():
            return note["seconds"] + time.monotonic() - started

        def save(step, state, loss, ended):
            now = {"seconds": clock(), "ended": ended}
            checkpoints.save(step, state, loss=loss, note=now)

        first_step = int(state.step)
        report = Report(
            Metrics(config.workdir / "metrics.jsonl", first_step),
            first_step=first_step,
            num_steps=training.num_steps,
            batches_per_epoch=plan.batches_per_epoch,
            console=console,
        )
        if not note["ended"]:
            with report:
                state = fit(
                    _driver(training, model, optimizer, dropout_key),
                    state,
                    training_batches(plan, *corpora.train_ids, first_step=first_step),
                    _schedule(training),
                    evaluate=Validation(config, corpora, model),
                    save=save,
                    observer=report,
                    observe=observer(config.optimizer),
                    clock=clock,
                )
            _tell_early_end(console, training, state)
    return Fitted(int(state.step), num_params, clock)


def batch_plan(config: Config, corpora: Corpora) -> BatchPlan:
    """Returns which pairs each update sees."""
    training = config.training
    return BatchPlan(
        *map(lengths_with_end, corpora.train_ids),
        tokens_per_batch=training.tokens_per_batch,
        num_buckets=training.num_buckets,
        num_steps=training.num_steps,
        seed=config.seed,
        # Every device has as many rows of every portion.
        rows_multiple=math.lcm(8, jax.local_device_count() * training.accumulation),
    )


def _driver(
    training: TrainingConfig,
    model: Seq2Seq,
    optimizer: GradientTransformation,
    key: jax.Array,
) -> Driver:
    step = make_train_step(
        partial(batch_loss, model, smoothing=training.label_smoothing),
        optimizer,
        key,
        accumulation=training.accumulation,
        precision=training.precision,
        ema_decay=training.ema_decay,
    )
    return make_driver(training.driver, step)


def _schedule(training: TrainingConfig) -> Schedule:
    return Schedule(
        training.num_steps,
        log_interval=20,
        evaluation_interval=training.evaluation_interval,
        patience=training.patience,
        max_seconds=60 * training.max_minutes or math.inf,
    )


def _announce(console: Console, num_params: int, plan: BatchPlan) -> None:
    shapes = ", ".join(
        f"{bucket.rows} x ({bucket.source_length} + {bucket.target_length})"
        for bucket in plan.buckets
    )
    console.print(
        f"{num_params:,} parameters, {plan.batches_per_epoch} updates an epoch, "
        f"batches of {shapes} tokens"
    )


def _tell_early_end(
    console: Console, training: TrainingConfig, state: TrainState
) -> None:
    if state.step < training.num_steps:
        reason = f"{training.max_minutes:g} minutes are over"
        if 0 < training.patience <= state.plateau.stale:
            reason = f"no better validation loss in {state.plateau.stale} evaluations"
        console.print(f"the run ends at step {state.step}: {reason}")
