"""The training loop: steps, measurements, evaluations and checkpoints in their order.

The loop knows states, batches and devices, but no model. It asks for the value of a
metric only every `log_interval` updates, so that the host stays ahead of the device,
and it saves at every evaluation, which is where a killed run goes on. Whether a run has
ended is decided once, and saved with the state.
"""

import math
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax

from zoo.training.devices import Driver
from zoo.training.plateau import Plateau, observe
from zoo.training.step import TrainState


@dataclass(frozen=True)
class Schedule:
    """When the loop does what, in updates.

    Attributes:
        num_steps: length of the run.
        log_interval: between two lines of metrics.
        evaluation_interval: between two evaluations, each followed by a checkpoint;
            the last update is always evaluated.
        patience: evaluations in a row without a better loss after which the run ends;
            0 is never.
        max_seconds: of the run's clock, after which the run ends.
    """

    num_steps: int
    log_interval: int
    evaluation_interval: int
    patience: int = 0
    max_seconds: float = math.inf


@runtime_checkable
class Observer(Protocol):
    """Who is told how the run goes: a progress bar, a file, both."""

    def train(self, step: int, values: dict[str, float]) -> None: ...

    def validation(self, step: int, values: dict[str, float]) -> None: ...


Evaluate = Callable[[TrainState], dict[str, float]]
Observe = Callable[[Plateau, float], Plateau]
Save = Callable[[int, TrainState, float, bool], None]


def fit(
    driver: Driver,
    state: TrainState,
    batches: Iterable[dict[str, Any]],
    schedule: Schedule,
    *,
    evaluate: Evaluate,
    save: Save,
    observer: Observer,
    observe: Observe = observe,
    clock: Callable[[], float] = time.monotonic,
) -> TrainState:
    """Trains from the step that the state is at to the last one.

    Args:
        state: one copy, as `init_state` or a checkpoint gives it.
        batches: begins with the batch of the state's step.
        evaluate: returns at least "loss", in nats.
        save: is called with (step, state, validation loss, whether the run has ended);
            the loss is infinite when the run is interrupted between evaluations.
        observe: what an evaluation changes, for example the learning rate.
        clock: the seconds that `schedule.max_seconds` speaks of.

    Raises:
        SystemExit: with 130 after Ctrl-C or 143 after SIGTERM, once the state is saved.
    """
    step = int(state.step)
    state = driver.place(state)
    window = _Window()
    with _stop_signals() as received:
        for batch in batches:
            state, measured = driver.step(state, driver.split(batch))
            window.add(measured)
            step += 1
            ended = step == schedule.num_steps or clock() >= schedule.max_seconds
            if ended or step % schedule.log_interval == 0:
                observer.train(step, window.close())
            if ended or step % schedule.evaluation_interval == 0:
                values = evaluate(driver.gather(state))
                observer.validation(step, values)
                state = state.replace(plateau=observe(state.plateau, values["loss"]))
                copy = driver.gather(state)
                ended |= 0 < schedule.patience <= int(copy.plateau.stale)
                save(step, copy, values["loss"], ended)
                window = _Window()
            elif received:
                save(step, driver.gather(state), math.inf, False)
            if received:
                raise SystemExit(128 + received[0])
            if ended:
                break
    return driver.gather(state)


class _Window:
    """Measurements since the last line of metrics, left on the device till then."""

    def __init__(self):
        self._measured = []
        self._since = time.monotonic()

    def add(self, measured):
        self._measured.append(measured)

    def close(self) -> dict[str, float]:
        measured = jax.device_get(self._measured)
        count = sum(float(one["count"]) for one in measured)
        total = sum(float(one["loss"]) * float(one["count"]) for one in measured)
        seconds = time.monotonic() - self._since
        values = {
            "loss": total / max(count, 1.0),
            "grad_norm": float(measured[-1]["grad_norm"]),
            "per_second": count / seconds,
        }
        self.__init__()
        return values


@contextmanager
def _stop_signals():
    """Collects SIGINT and SIGTERM; a second one acts as if nobody had listened."""
    received: list[int] = []
    handled = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.getsignal(number) for number in handled}

    def restore():
        for number, handler in previous.items():
            signal.signal(number, handler)

    def receive(number, frame):
        received.append(number)
        restore()

    for number in handled:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        restore()
