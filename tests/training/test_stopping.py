"""Signals to stop, once and twice, while a run trains and while it waits."""

import json
import os
import signal
import threading
import time

import pytest

from tests.training.test_faults import STEPS, go, last_checkpoint
from zoo.checkpoints import Checkpoints
from zoo.training.stopping import stop_signals


def signalled(number, error=None):
    with stop_signals() as received:
        os.kill(os.getpid(), number)
        assert received == [number]
        if error:
            raise error


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_that_nobody_asked_about_is_not_lost(number, status):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit, match=str(status)):
        signalled(number)
    assert signal.getsignal(number) is before


def test_an_error_outweighs_a_signal():
    with pytest.raises(KeyError):
        signalled(signal.SIGTERM, KeyError())


def test_a_second_signal_exits_at_once_while_a_checkpoint_is_waited_for(
    tmp_path, monkeypatch
):
    complete, wait = Checkpoints._complete, Checkpoints.wait
    waited, left, exits = threading.Event(), threading.Event(), []

    def slow(checkpoints, step, record):
        if not exits:
            os.kill(os.getpid(), signal.SIGINT)
            assert waited.wait(10)
            # While one signal is pending, another may go to a thread that cannot act.
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGTERM)
            assert left.wait(10)
        complete(checkpoints, step, record)

    def seen(checkpoints):
        if checkpoints._pending is not None:
            waited.set()
        wait(checkpoints)

    def leave(status):
        exits.append(status)
        left.set()

    monkeypatch.setattr(Checkpoints, "_complete", slow)
    monkeypatch.setattr(Checkpoints, "wait", seen)
    monkeypatch.setattr("os._exit", leave)
    with pytest.raises(SystemExit) as exit_:
        go(tmp_path, {})
    assert exits == [143]
    assert exit_.value.code == 130


class StoppedAt(dict):
    """Batches without fault, one of which comes with a signal."""

    def __init__(self, last):
        super().__init__()
        self.last = last

    def get(self, step, default=None):
        if step == self.last:
            os.kill(os.getpid(), signal.SIGTERM)
        return default


def test_a_run_that_is_stopped_before_an_evaluation_makes_it_at_its_next_start(
    tmp_path,
):
    for last in (19, STEPS - 1):
        with pytest.raises(SystemExit):
            go(tmp_path, StoppedAt(last))
        step, note = last_checkpoint(tmp_path)
        assert (step, note["evaluated"], note["ended"]) == (last + 1, False, False)
    seen, _ = go(tmp_path, {})
    assert seen == []
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    found = [line for line in map(json.loads, lines) if line["split"] == "validation"]
    assert [line["step"] for line in found] == [10, 20, 30, 40, 50, 60]
    assert last_checkpoint(tmp_path)[1]["ended"]
