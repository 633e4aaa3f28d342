"""Commands as a test runs them, in its own process."""

import sys

import pytest

from experiments.command import run


def refused(capsys, monkeypatch, module, *arguments):
    """Runs a command; returns the one line that it dies with."""
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        run(module.main)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line
