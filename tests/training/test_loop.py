"""The loop: what happens when, with a model of one number."""

import math
import os
import signal

import jax.numpy as jnp
import numpy as np
import pytest

from zoo.training.faults import MAX_ROW
from zoo.training.loop import Observer, Schedule, fit
from zoo.training.plateau import judged
from zoo.training.step import TrainState
from zoo.training.stopping import stop_signals


class Counting:
    """A driver whose update adds one to the only parameter."""

    def place(self, state):
        return state

    def split(self, batch):
        return batch

    def step(self, state, batch):
        if batch.get("interrupt"):
            os.kill(os.getpid(), batch["interrupt"])
        new = state.replace(step=state.step + 1, params=state.params + 1.0)
        values = {"loss": batch["loss"], "count": batch["count"], "grad_norm": 2.0}
        values |= {"skipped": batch.get("skipped", 0), "longest": 0, "longest_end": 0}
        values |= batch.get("faults", {})
        return new, {name: np.float32(value) for name, value in values.items()}

    def gather(self, state):
        return state


class Log:
    """Remembers everything that the loop tells and saves."""

    def __init__(self):
        self.trained, self.validated, self.saved = [], [], []
        self.ended = []

    def train(self, step, values):
        self.trained.append((step, values))

    def validation(self, step, values):
        self.validated.append((step, values["loss"]))

    def save(self, step, state, loss, ended):
        self.saved.append((step, float(state.params), loss))
        self.ended.append(ended)


def at_step(step):
    return TrainState(jnp.array(step), jnp.array(float(step)), ())


def falling(state):
    """A validation loss that gets better all the time."""
    return 1.0 / float(state.params)


def by_step(losses):
    return lambda state: losses[int(state.step)]


def go(batches, schedule, state=None, validation_loss=falling, **options):
    log = Log()
    assert isinstance(log, Observer)
    try:
        with stop_signals() as received:
            fit(
                Counting(),
                state or at_step(0),
                batches,
                schedule,
                evaluate=lambda state: {"loss": validation_loss(state)},
                save=log.save,
                observer=log,
                received=received,
                **options,
            )
    except SystemExit as exit_:
        return log, exit_.code
    return log, 0


def batch(loss=1.0, tokens=10, interrupt=None):
    return {"loss": loss, "count": tokens, "interrupt": interrupt}


def test_evaluations_and_checkpoints_come_at_their_interval_and_at_the_end():
    log, code = go([batch()] * 20, Schedule(10, 2, 4))
    assert code == 0
    assert [step for step, _ in log.trained] == [2, 4, 6, 8, 10]
    assert [step for step, _ in log.validated] == [4, 8, 10]
    assert log.saved == [(4, 4.0, 1 / 4), (8, 8.0, 1 / 8), (10, 10.0, 1 / 10)]
    assert log.ended == [False, False, True]


def test_a_resumed_run_keeps_the_calendar_of_the_whole_one():
    log, _ = go([batch()] * 20, Schedule(10, 2, 4), at_step(5))
    assert [step for step, _ in log.trained] == [6, 8, 10]
    assert [step for step, _ in log.validated] == [8, 10]


def test_an_evaluation_between_two_logs_drops_no_measurement():
    batches = [batch(loss=float(step)) for step in range(1, 11)]
    log, _ = go(batches, Schedule(10, 4, 3))
    assert [step for step, _ in log.trained] == [3, 4, 6, 8, 9, 10]
    # Of updates 1 to 3, 4, 5 and 6, 7 and 8, 9, and 10.
    losses = [values["loss"] for _, values in log.trained]
    assert losses == [2.0, 4.0, 5.5, 7.5, 9.0, 10.0]


def test_a_loss_that_has_diverged_is_an_evaluation():
    log, _ = go([batch()] * 9, Schedule(2, 2, 2), validation_loss=lambda _: math.inf)
    assert log.saved == [(2, 2.0, math.inf)]


def test_the_loss_of_a_window_is_a_mean_over_tokens():
    batches = [batch(loss=1.0, tokens=30), batch(loss=4.0, tokens=10)]
    log, _ = go(batches, Schedule(2, 2, 2))
    # (30·1 + 10·4) / 40
    assert log.trained[0][1]["loss"] == pytest.approx(1.75)
    assert log.trained[0][1]["grad_norm"] == 2.0


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_ends_the_run_after_the_update_and_a_checkpoint(number, status):
    batches = [batch(), batch(), batch(interrupt=number), batch()]
    before = signal.getsignal(number)
    log, code = go(batches, Schedule(10, 5, 5))
    assert code == status
    assert log.saved == [(3, 3.0, None)]
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("num_steps", [2, 4])
def test_a_signal_before_an_evaluation_leaves_it_to_the_next_start(num_steps):
    schedule = Schedule(num_steps, 2, 2)
    log, code = go([batch(), batch(interrupt=signal.SIGTERM)], schedule)
    assert code == 143
    assert log.saved == [(2, 2.0, None)]
    assert log.ended == [False]
    log, code = go([batch()] * 9, schedule, at_step(2), evaluated=False)
    assert code == 0
    whole = [(2, 2.0, 1 / 2), (4, 4.0, 1 / 4)]
    assert log.saved == whole[: num_steps // 2]
    assert log.ended[-1]


def test_a_signal_during_an_evaluation_saves_what_it_says():
    def interrupted(state):
        os.kill(os.getpid(), signal.SIGTERM)
        return 1.0

    log, code = go([batch()] * 9, Schedule(4, 2, 2), validation_loss=interrupted)
    assert code == 143
    assert log.saved == [(2, 2.0, 1.0)]


def test_a_signal_outweighs_too_many_faults():
    faults = {"faults": {"longest": MAX_ROW, "longest_end": 2}}
    batches = [batch(), batch(interrupt=signal.SIGTERM) | faults]
    log, code = go(batches, Schedule(10, 2, 10))
    assert code == 143
    assert log.saved == []


# Validation losses by step: the best comes at step 4, and again, no better, at step 8.
LOSSES = {2: 3.0, 4: 1.0, 6: math.nan, 8: 1.0, 10: 2.0, 12: 0.5}


def test_a_run_ends_when_its_patience_does():
    schedule = Schedule(12, 2, 2, patience=3)
    log, code = go([batch()] * 12, schedule, validation_loss=by_step(LOSSES))
    assert code == 0
    assert [step for step, _ in log.validated] == [2, 4, 6, 8, 10]
    assert log.ended == [False] * 4 + [True]


def test_patience_goes_on_where_a_stopped_run_left_it():
    batches = [batch()] * 6 + [batch(interrupt=signal.SIGTERM)]
    schedule = Schedule(12, 2, 2, patience=3)
    kept = []
    _, code = go(
        batches,
        schedule,
        validation_loss=by_step(LOSSES),
        judge=lambda *seen: kept.append(judged(*seen)) or kept[-1],
    )
    assert code == 143
    resumed = at_step(7).replace(plateau=kept[-1])
    log, _ = go([batch()] * 5, schedule, resumed, by_step(LOSSES))
    assert [step for step, _ in log.validated] == [8, 10]
    assert log.ended == [False, True]


def test_without_patience_a_run_goes_to_its_last_update():
    log, _ = go([batch()] * 12, Schedule(12, 2, 2), validation_loss=lambda _: 1.0)
    assert log.validated[-1] == (12, 1.0)


def test_the_clock_ends_a_run_with_an_evaluation_and_a_checkpoint():
    seconds = iter(range(20))
    schedule = Schedule(12, 10, 10, max_seconds=2.0)
    log, code = go([batch()] * 12, schedule, clock=lambda: next(seconds))
    assert code == 0
    # The clock shows 0, 1 and 2 after the first three updates.
    assert log.saved == [(3, 3.0, 1 / 3)]
    assert log.ended == [True]
    assert [step for step, _ in log.trained] == [3]
