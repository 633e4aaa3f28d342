"""The training loop: steps, measurements, evaluations and checkpoints in their order.

The loop knows states, batches and devices, but no model. It asks for the value of a
metric only every `log_interval` updates, so that the host stays ahead of the device,
and it saves at every evaluation, which is where a killed run goes on. Whether a run has
ended is decided once, and saved with the state.
"""

import math
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax

from zoo.training.devices import Driver
from zoo.training.faults import MAX_ROW, TooManyFaults
from zoo.training.hosts import number_of_first
from zoo.training.plateau import Plateau, judged
from zoo.training.step import TrainState
from zoo.training.stopping import exit_if


@dataclass(frozen=True)
class Schedule:
    """When the loop does what, in updates.

    Attributes:
        num_steps: length of the run.
        log_interval: between two lines of metrics; there is one more before an
            evaluation that comes between.
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

    def train(self, step: int, values: dict[str, float]) -> None:
        """Hears means over the updates since the last call."""
        ...

    def validation(self, step: int, values: dict[str, float]) -> None:
        """Hears what an evaluation after so many updates found."""
        ...


Evaluate = Callable[[TrainState], dict[str, float]]
Judge = Callable[[Plateau, float], Plateau]
Save = Callable[[int, TrainState, float | None, bool], None]


def fit(
    driver: Driver,
    state: TrainState,
    batches: Iterable[dict[str, Any]],
    schedule: Schedule,
    *,
    evaluate: Evaluate,
    save: Save,
    observer: Observer,
    judge: Judge = judged,
    clock: Callable[[], float] = time.monotonic,
    left_out: Collection[int] = (),
    received: Sequence[int] = (),
    poll: Callable[[], None] = lambda: None,
    evaluated: bool = True,
) -> TrainState:
    """Trains from the step that the state is at to the last one.

    Args:
        state: one copy, as `init_state` or a checkpoint gives it.
        batches: begins with the batch of the state's step.
        evaluate: returns at least "loss", in nats; is given the state as it lies on the
            devices of all hosts, on each of which it is called.
        save: is called with (step, state, validation loss, whether the run has ended);
            the loss is None when the run is stopped before the step is evaluated.
        judge: returns what an evaluation changes, for example the learning rate.
        clock: the seconds that `schedule.max_seconds` speaks of.
        left_out: steps whose batches are not learned from.
        received: signals to stop, as `stop_requests` collects them.
        poll: is called after each update, to collect them.
        evaluated: whether an evaluation that was due at the state's step was made.

    Raises:
        TooManyFaults: so many updates were skipped in a row that an earlier state
            should be taken. What was saved before is from before.
        SystemExit: with 130 after Ctrl-C or 143 after SIGTERM, once the state is saved.
    """
    step = int(state.step)
    state = driver.place(state)
    window = _Window()

    def is_over():
        return step == schedule.num_steps or clock() >= schedule.max_seconds

    def validate():
        values = evaluate(driver.gather(state))
        observer.validation(step, values)
        # Whoever is not the first host decides nothing by a rounding of its own.
        return number_of_first(values["loss"])

    def validate_and_save(ended):
        loss = validate()
        after = state.replace(plateau=judge(state.plateau, loss))
        copy = driver.gather(after)
        ended |= 0 < schedule.patience <= int(copy.plateau.stale)
        save(step, copy, loss, ended)
        exit_if(received)
        return after, ended

    ended = False
    if not evaluated and (is_over() or step % schedule.evaluation_interval == 0):
        state, ended = validate_and_save(is_over())
    for batch in () if ended else batches:
        if step in left_out:
            state = state.replace(step=state.step + 1)
        else:
            state, measured = driver.step(state, driver.split(batch))
            window.add(measured)
        step += 1
        poll()
        ended = is_over()
        due = ended or step % schedule.evaluation_interval == 0
        log = due or step % schedule.log_interval == 0
        if (log or received) and (faults := window.too_many_faults()):
            exit_if(received)  # the next start comes to the same faults
            raise faults
        if log:
            observer.train(step, window.close())
        if received:
            # Whoever stops us may not wait for an evaluation; the next start makes it.
            save(step, driver.gather(state), None, False)
            exit_if(received)
        if due:
            state, ended = validate_and_save(ended)
            window = _Window()  # whose time begins now
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

    def too_many_faults(self) -> TooManyFaults | None:
        """Returns why the run should go back, None if it need not."""
        for last in jax.device_get(self._measured[-1:]):
            if last["longest"] >= MAX_ROW:
                return TooManyFaults(int(last["longest"]), int(last["longest_end"]))
        return None

    def close(self) -> dict[str, float]:
        """Returns the mean over the updates that were made; NaN if there was none."""
        measured = jax.device_get(self._measured)
        made = [one for one in measured if one["count"]]
        count = sum(float(one["count"]) for one in made)
        total = sum(float(one["loss"]) * float(one["count"]) for one in made)
        seconds = time.monotonic() - self._since
        values = {
            "loss": total / count if made else math.nan,
            "grad_norm": float(measured[-1]["grad_norm"]) if measured else math.nan,
            "per_second": count / seconds,
        }
        if measured:
            values["skipped"] = int(measured[-1]["skipped"])
        self.__init__()
        return values
