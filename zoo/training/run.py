"""A run from its first update, or its newest checkpoint, to its end."""

import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from optax import GradientTransformation
from rich.console import Console

from zoo.checkpoints import Checkpoints
from zoo.errors import InputError
from zoo.training.config import OptimizerConfig, TrainingConfig
from zoo.training.devices import make_driver
from zoo.training.faults import MAX_RETURNS, TooManyFaults
from zoo.training.hosts import (
    agree,
    fingerprint,
    fingerprint_of_arrays,
    is_first,
    number_of_first,
    require_one_folder,
    several,
    stop_requests,
)
from zoo.training.loop import Evaluate, Schedule, fit
from zoo.training.optimizers import hold, judge_of, make_optimizer
from zoo.training.progress import Report
from zoo.training.records import Metrics, open_run, read_json
from zoo.training.step import (
    LossFunction,
    Step,
    TrainState,
    init_state,
    make_train_step,
)

_UNSEEN = Path(os.devnull)


@dataclass(frozen=True)
class Task:
    """What is learned: all that a run asks of a model and its data.

    Attributes:
        unit: what a loss is a mean of, "token" or "answer".
        init: draws the parameters.
        loss: of a batch, as `make_train_step` wants it.
        batches: returns the batches of training from an update on; of each, the rows of
            this host.
        batches_per_epoch: to say in which epoch an update is made.
        shapes: what a batch looks like, for people.
        evaluate: returns at least "loss", in nats a unit, on every host; see `fit`.
        initial: parameters to begin with; None draws them.
    """

    unit: str
    init: Callable[[jax.Array], Any]
    loss: LossFunction
    batches: Callable[[int], Iterable[dict[str, Any]]]
    batches_per_epoch: int
    shapes: str
    evaluate: Evaluate
    initial: Any = None


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


def finished(
    workdir: Path, config: dict[str, Any], console: Console
) -> dict[str, Any] | None:
    """Shows and returns the result of a run that has ended, None if it has not.

    Of several hosts, which must all ask, the first one decides, and has the result.

    Raises:
        InputError: the folder holds a run with another config.
    """
    if (workdir / "config.json").exists():
        open_run(workdir, config)
    path = workdir / "result.json"
    if not number_of_first(path.exists()):
        return None
    if not is_first():
        return {}
    console.print(f"{workdir} is finished; this is its result.json:")
    result = read_json(path)
    console.print_json(data=result)
    return result


def train_to_end(
    workdir: Path,
    task: Task,
    training: TrainingConfig,
    optimizer: OptimizerConfig,
    *,
    seed: int,
    started: float,
    console: Console,
    keep_last: int = 2,
) -> Fitted:
    """Trains until the run has ended; does nothing if it had already.

    Args:
        started: when this process began, by `time.monotonic`.
        keep_last: checkpoints that are kept beside the best one.

    Raises:
        InputError: the run cannot be trained so.
        SystemExit: with 130 after Ctrl-C or 143 after SIGTERM, once the state is saved.
    """
    if several():
        training.check_several()
    require_one_folder(workdir)
    transformation = make_optimizer(optimizer, training.num_steps)
    init_key, dropout_key = jax.random.split(jax.random.key(seed))

    def begin(key, params):
        params = task.init(key) if params is None else params
        return init_state(params, transformation, ema=training.ema_decay > 0)

    # One program, quicker than many small ones.
    state = jax.jit(begin)(init_key, task.initial)
    num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    console.print(
        f"{num_params:,} parameters, {task.batches_per_epoch} updates an epoch, "
        f"batches of {task.shapes}"
    )
    driver = make_driver(
        training.driver,
        _step(
            hold(task.loss, optimizer.frozen),
            training,
            transformation,
            dropout_key,
            optimizer.clip_norm,
        ),
        model_devices=training.model_devices,
    )
    with (
        stop_requests() as (received, poll),
        Checkpoints(workdir / "checkpoints", keep_last) as checkpoints,
    ):
        note: dict[str, Any] = {"seconds": 0.0, "ended": False, "left_out": []}
        note["evaluated"] = True
        first = 0, state, note
        step, state, note = _newest(checkpoints, state) or first
        if step:
            console.print(f"goes on from step {step}")
        left_out = note["left_out"]
        said = _other_plan(note, task.batches_per_epoch)
        if said is not None:
            console.print(said)
        agree("initial parameters", lambda: fingerprint_of_arrays(state.params))

        def clock():
            return note["seconds"] + time.monotonic() - started

        def save(step, state, loss, ended):
            now = {"seconds": clock(), "ended": ended, "left_out": left_out}
            now["evaluated"] = loss is not None
            now["batches_per_epoch"] = task.batches_per_epoch
            checkpoints.save(step, state, loss=_rank(loss), note=now)

        def train(step, state, evaluated):
            report = Report(
                Metrics(workdir / "metrics.jsonl" if is_first() else _UNSEEN, step),
                unit=task.unit,
                first_step=step,
                num_steps=training.num_steps,
                batches_per_epoch=task.batches_per_epoch,
                console=console,
            )
            with report:
                return fit(
                    driver,
                    state,
                    task.batches(step),
                    _schedule(training),
                    evaluate=task.evaluate,
                    save=save,
                    observer=report,
                    judge=judge_of(optimizer),
                    clock=clock,
                    left_out={step for row in left_out for step in range(*row)},
                    received=received,
                    poll=poll,
                    evaluated=evaluated,
                )

        ended, last = note["ended"], note
        while not ended:
            try:
                state, ended = train(step, state, last["evaluated"]), True
            except TooManyFaults as faults:
                # A run that is killed before it saves again comes to this point again.
                left_out = _left_out(left_out, faults.steps)
                step, state, last = _newest(checkpoints, first[1]) or first
                console.print(f"{faults}; goes back to step {step} and leaves them out")
        if not note["ended"]:
            _tell_early_end(console, training, state)
    return Fitted(int(state.step), num_params, clock)


def _newest(
    checkpoints: Checkpoints, state: TrainState
) -> tuple[int, TrainState, dict[str, Any]] | None:
    """Returns from where a run goes on, which is the same on all hosts."""
    found = checkpoints.restore_newest(state)
    agree("checkpoint", lambda: fingerprint([found[0], found[2]] if found else None))
    return found


def _other_plan(note: dict[str, Any], batches_per_epoch: int) -> str | None:
    """Returns what to say if steps are other batches than before, None if they are not.

    A batch has a multiple of as many rows as there are devices.

    Raises:
        InputError: batches are left out by the numbers of their steps.
    """
    before = note.get("batches_per_epoch", batches_per_epoch)
    if note["ended"] or before == batches_per_epoch:
        return None
    if note["left_out"]:
        raise InputError(
            f"the run had {before} updates an epoch and would now have "
            f"{batches_per_epoch}, but the batches that it leaves out are known by "
            "their steps; go on with as many devices as before"
        )
    return (
        f"{batches_per_epoch} updates an epoch, not {before} as before, with this "
        "number of devices: from here on the order of the data is another one"
    )


def _rank(loss: float | None) -> float:
    """Returns what a checkpoint is ranked by: infinity is for those not evaluated."""
    if loss is None:
        return math.inf
    return loss if math.isfinite(loss) else math.nan


def _left_out(before: list[list[int]], steps: range) -> list[list[int]]:
    """Returns the rows of steps that are left out, with one more.

    Raises:
        InputError: there have been enough.
    """
    if len(before) == MAX_RETURNS:
        raise InputError(
            f"{len(steps)} updates up to step {steps.stop} had no usable loss or "
            f"gradient, and the run has gone back {MAX_RETURNS} times already; lower "
            "--optimizer.learning-rate or look at the data"
        )
    return [*before, [steps.start, steps.stop]]


def _step(
    loss: LossFunction,
    training: TrainingConfig,
    optimizer: GradientTransformation,
    key: jax.Array,
    clip_norm: float,
) -> Step:
    return make_train_step(
        loss,
        optimizer,
        key,
        accumulation=training.accumulation,
        precision=training.precision,
        ema_decay=training.ema_decay,
        clip_norm=clip_norm,
    )


def _schedule(training: TrainingConfig) -> Schedule:
    return Schedule(
        training.num_steps,
        log_interval=20,
        evaluation_interval=training.evaluation_interval,
        patience=training.patience,
        max_seconds=60 * training.max_minutes or math.inf,
    )


def _tell_early_end(
    console: Console, training: TrainingConfig, state: TrainState
) -> None:
    if state.step < training.num_steps:
        reason = f"{training.max_minutes:g} minutes are over"
        if 0 < training.patience <= state.plateau.stale:
            reason = f"no better validation loss in {state.plateau.stale} evaluations"
        console.print(f"the run ends at step {state.step}: {reason}")
