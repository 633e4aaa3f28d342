"""How the processes of a run on several hosts work together: who does what, and when.

JAX has joined them and finds out about a host that is lost. All of them evaluate, each
on its devices (`zoo.spreading`); the first process writes the records and finishes
checkpoints, and the others wait for it. On one host all of this does nothing.
"""

import ctypes
import hashlib
import itertools
import json
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

from zoo.data.loading import Share
from zoo.errors import InputError
from zoo.training.stopping import exit_if, stop_signals

Result = TypeVar("Result")

WAIT_SECONDS = 7 * 86_400  # for the first host; one that is lost is noticed sooner
NAME_BYTES = 64
TOKEN = ".hosts"  # a file of the first host, in the folder of a run


def several() -> bool:
    """Returns whether there are other hosts; asked on one host, it starts no device.

    >>> several()
    False
    """
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Returns whether this process writes records."""
    return not several() or jax.process_index() == 0


def own_share() -> Share:
    """Returns which rows of every batch this host makes."""
    return Share(jax.process_index(), jax.process_count())


def fingerprint_of_arrays(tree: Any) -> str:
    """Returns a digest of the arrays of a tree."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def fingerprint(value: Any) -> str:
    """Returns a digest of what JSON can hold, equal for equal values.

    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def agree(what: str, digest: Callable[[], str]) -> None:
    """Does nothing if all hosts have the same of something; all must ask.

    Args:
        what: what is compared, for a message.
        digest: returns that of what this host has, in hexadecimal.

    Raises:
        InputError: on every host, with the names of two that differ.
    """
    if not several():
        return
    name = socket.gethostname().encode()[:NAME_BYTES].ljust(NAME_BYTES)
    rows = multihost_utils.process_allgather(
        np.frombuffer(name + bytes.fromhex(digest()), np.uint8)
    )
    require_same(what, [bytes(row.astype(np.uint8)) for row in rows])


def require_same(what: str, rows: Sequence[bytes]) -> None:
    """Raises InputError if the digests behind the names of some hosts differ."""
    names = [row[:NAME_BYTES].decode(errors="replace").strip() for row in rows]
    digests = [row[NAME_BYTES:].hex()[:12] for row in rows]
    for place, digest in enumerate(digests):
        if digest != digests[0]:
            raise InputError(
                f"the hosts disagree on the {what}: process 0 ({names[0]}) has "
                f"{digests[0]}, process {place} ({names[place]}) has {digest}; give "
                f"all of them the same {what}"
            )


def wait_for_all(name: str) -> None:
    """Returns when every host has come to this point.

    The hosts wait outside of any program, which would give up sooner.
    """
    barrier = multihost.get_barrier_sync_fn()
    barrier(key=f"zoo/{name}", timeout_ms=1_000 * WAIT_SECONDS)


def require_one_folder(workdir: Path) -> None:
    """Does nothing if all hosts see one and the same folder; all must ask.

    Raises:
        InputError: some of them see another one of that name.
    """
    if not several():
        return
    token = workdir / TOKEN
    by_first("token", lambda: token.write_text(secrets.token_hex()))

    def digest():
        return fingerprint(token.read_text() if token.exists() else None)

    agree(f"folder {workdir}", digest)
    if is_first():
        token.unlink()


def by_first(name: str, work: Callable[[], Result]) -> Result | None:
    """Returns what the first host's work returns, None on others, when it is done."""
    done = work() if is_first() else None
    wait_for_all(name)
    return done


def number_of_first(number: float) -> float:
    """Returns a number of the first host on all of them, as float32; all must ask."""
    if not several():
        return number
    return float(multihost_utils.broadcast_one_to_all(np.float32(number)))


def _tells_all_hosts() -> Callable[[int], None]:
    """Returns what JAX does at a SIGTERM: all hosts hear of it, at their next poll.

    It is a function in C, for which Python has no name.
    """
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
    find = ctypes.PYFUNCTYPE(handler, ctypes.c_int)
    return find(("PyOS_getsig", ctypes.pythonapi))(signal.SIGTERM)


@contextmanager
def stop_requests() -> Iterator[tuple[Sequence[int], Callable[[], None]]]:
    """Collects signals to stop; gives them, and what to call after each update.

    On one host that does nothing. On several a signal to any of them reaches all of
    them, each between the same two updates, so that they save the same step; JAX does
    so with a SIGTERM, and Ctrl-C is handed to it too. A second one ends the process at
    once, as on one host, and the others as by a host that is lost. On leaving, SIGTERM
    ends a process at once again, as nobody polls any more.

    Raises:
        SystemExit: as `stop_signals`.
    """
    if not several():
        with stop_signals() as received:
            yield received, lambda: None
        return
    received, own, updates = [], [], itertools.count()
    tell = _tells_all_hosts()

    def receive(number, frame):
        if own:
            os._exit(128 + number)
        own.append(number)
        tell(signal.SIGTERM)

    def poll():
        # Not the step: a run that goes back comes to a step twice.
        if multihost_utils.reached_preemption_sync_point(next(updates)):
            received.append((own or [signal.SIGTERM])[0])

    previous = signal.signal(signal.SIGINT, receive)
    signal.signal(signal.SIGTERM, receive)
    try:
        yield received, poll
    finally:
        signal.signal(signal.SIGINT, previous)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    exit_if(received)
