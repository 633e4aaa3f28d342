"""What the hosts of a run have to have in common."""

import ctypes
import os
import signal

import jax
import numpy as np
import pytest
from rich.console import Console

from zoo.errors import InputError
from zoo.training import hosts, run
from zoo.training.config import TrainingConfig
from zoo.training.hosts import NAME_BYTES, fingerprint, require_same


def test_hosts_that_disagree_are_both_named():
    def row(name, value):
        return name.ljust(NAME_BYTES).encode() + bytes.fromhex(fingerprint(value))

    same = [row("red", {"a": 1, "b": 2}), row("blue", {"b": 2, "a": 1})]
    require_same("config", same)
    digests = [fingerprint({"a": 1, "b": 2})[:12], fingerprint({"a": 2})[:12]]
    with pytest.raises(InputError) as error:
        require_same("config", [*same, row("green", {"a": 2})])
    assert str(error.value) == (
        f"the hosts disagree on the config: process 0 (red) has {digests[0]}, process "
        f"2 (green) has {digests[1]}; give all of them the same config"
    )


def test_all_hosts_compare_what_each_of_them_has(monkeypatch):
    monkeypatch.setattr(hosts, "several", lambda: True)

    def gather(row):
        other = row.copy()
        other[NAME_BYTES] ^= 1
        return np.stack([row, other])

    monkeypatch.setattr(hosts.multihost_utils, "process_allgather", gather)
    with pytest.raises(InputError, match="disagree on the data"):
        hosts.agree("data", lambda: fingerprint(1))


def test_one_host_starts_no_device(monkeypatch):
    def start():
        raise AssertionError("this starts a device")

    monkeypatch.setattr(jax, "process_count", start)
    monkeypatch.setattr(jax, "process_index", start)
    assert hosts.is_first()
    assert hosts.number_of_first(3.0) == 3.0
    hosts.agree("data", start)


def test_hosts_that_see_another_folder_are_refused(tmp_path, monkeypatch):
    workdir, mine = tmp_path / "first", tmp_path / "other"
    workdir.mkdir(), mine.mkdir()
    digests = []
    monkeypatch.setattr(hosts, "several", lambda: True)
    monkeypatch.setattr(hosts, "wait_for_all", lambda name: None)
    monkeypatch.setattr(hosts, "agree", lambda what, digest: digests.append(digest()))
    hosts.require_one_folder(workdir)
    assert list(workdir.iterdir()) == []
    hosts.require_one_folder(workdir)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    hosts.require_one_folder(mine)
    assert len(set(digests)) == 3


@pytest.mark.parametrize("process", [0, 1])
def test_the_first_host_says_whether_a_run_is_finished(process, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(run, "is_first", lambda: process == 0)
    monkeypatch.setattr(run, "number_of_first", lambda fact: asked.append(fact) or 1.0)
    if process == 0:  # the other host does not see it yet
        (tmp_path / "result.json").write_text('{"bleu": 3}')
    result = run.finished(tmp_path, {}, Console(quiet=True))
    assert (asked, result) == (([True], {"bleu": 3}), ([False], {}))[process]


@pytest.fixture
def heard(monkeypatch):
    """Returns the signals that JAX hears of, by a handler in C as it has one."""
    heard = []
    monkeypatch.setattr(hosts, "several", lambda: True)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(heard.append)
    ctypes.pythonapi.PyOS_setsig(signal.SIGTERM, handler)
    yield heard
    signal.signal(signal.SIGTERM, before)


def test_after_training_on_several_hosts_a_signal_ends_a_process(heard):
    with hosts.stop_requests():
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_of_two_signals_to_a_host_all_hear_the_first_and_the_second_ends_it(
    heard, monkeypatch, first, second
):
    exits = []
    monkeypatch.setattr("os._exit", exits.append)
    monkeypatch.setattr(
        hosts.multihost_utils, "reached_preemption_sync_point", lambda step: step == 1
    )

    def trained():
        with hosts.stop_requests() as (received, poll):
            os.kill(os.getpid(), first)
            poll()
            assert (heard, exits, received) == ([signal.SIGTERM], [], [])
            poll()
            assert received == [first]
            os.kill(os.getpid(), second)
            assert exits == [128 + second]

    with pytest.raises(SystemExit, match=str(128 + first)):
        trained()


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (TrainingConfig(max_minutes=2), "max_minutes is 2, but several hosts"),
        (TrainingConfig(driver="pmap"), "pmap is for one host"),
    ],
)
def test_what_only_one_host_can_do_is_refused_on_several(training, message):
    TrainingConfig().check_several()
    with pytest.raises(InputError, match=message):
        training.check_several()
