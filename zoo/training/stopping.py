"""Requests to stop: Ctrl-C, and the SIGTERM of a scheduler."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def stop_signals() -> Iterator[Sequence[int]]:
    """Collects SIGINT and SIGTERM, so that what is under way can be saved.

    A second one ends the process at once, whatever it waits for. What Python would do
    at its end, joining the thread that writes a checkpoint for one, is left out: a
    checkpoint that is not finished is not there.

    Raises:
        SystemExit: with 130 after SIGINT or 143 after SIGTERM, on leaving.
    """
    received: list[int] = []
    handled = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.getsignal(number) for number in handled}

    def receive(number, frame):
        if received:
            os._exit(128 + number)
        received.append(number)

    for number in handled:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    exit_if(received)


def exit_if(received: Sequence[int]) -> None:
    """Ends the process with the status that says which signal came first, if any."""
    if received:
        raise SystemExit(128 + received[0])
