"""The one exception for what a user can cause and mend, and the commonest checks."""

import difflib
import math
import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any


class InputError(Exception):
    """Says in one line what is wrong with a file, a line or a value, and the remedy.

    The commands under `experiments/` print the message and exit with status 2;
    any other exception is a defect of ours and keeps its traceback. No ValueError,
    because parsers of command lines catch those and wrap the message.
    """


def unknown(what: str, given: str, known: Collection[str]) -> InputError:
    """Returns the error for a name that is none of the known ones; names the nearest.

    >>> unknown("model", "transformer-tinny", ["rnn-gru", "transformer-tiny"])
    InputError("unknown model: 'transformer-tinny'; did you mean transformer-tiny?")
    """
    near = difflib.get_close_matches(given, known, n=3, cutoff=0.4) or known
    return InputError(
        f"unknown {what}: {given!r}; did you mean {', '.join(sorted(near))}?"
    )


def file_size(path: str | os.PathLike[str]) -> int:
    """Returns the bytes of a file that somebody else may have made.

    Raises:
        InputError: it is no regular file, from some of which reading would never end.
        OSError: there is no such file.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path}: no regular file; give the path of one")
    return found.st_size


def read_limited(path: str | os.PathLike[str], limit: int) -> bytes:
    """Returns what a file holds that somebody else may have made.

    Raises:
        InputError: it is no regular file, or larger than the limit in bytes.
        OSError: it cannot be read.
    """
    if (size := file_size(path)) > limit:
        raise InputError(
            f"{path}: {size:,} bytes, but at most {limit:,} are read; give a smaller "
            "file"
        )
    return Path(path).read_bytes()


def require_positive(config: Any, *names: str) -> None:
    """Raises InputError unless the named fields of a config are 1 or more."""
    for name in names:
        if getattr(config, name) < 1:
            raise InputError(
                f"{name} is {getattr(config, name)}, but must be at least 1"
            )


def require_seed(config: Any) -> None:
    """Raises InputError unless the seed of a config is one: of 32 bits, from 0."""
    if not 0 <= config.seed < 2**32:
        raise InputError(
            f"seed is {config.seed}, but must be a whole number from 0 and below 2^32"
        )


def require_finite(config: Any, *names: str) -> None:
    """Raises InputError unless the named fields of a config are ordinary numbers."""
    for name in names:
        if not math.isfinite(getattr(config, name)):
            raise InputError(f"{name} is {getattr(config, name)}, but must be finite")


def require_rate(config: Any, *names: str) -> None:
    """Raises InputError unless the named fields of a config lie in [0, 1)."""
    for name in names:
        if not 0.0 <= getattr(config, name) < 1.0:
            raise InputError(
                f"{name} is {getattr(config, name)}, but must be at least 0 and below 1"
            )
