"""Fields of a config.json that others wrote: read with their kind checked."""

from collections.abc import Mapping
from typing import Any

from zoo.errors import InputError, unknown
from zoo.pretrained.directory import Directory


def integer(directory: Directory, name: str) -> int:
    """Returns a whole number that is not negative.

    Raises:
        InputError: it is none, or missing.
    """
    value = directory.config.get(name)
    if type(value) is not int or value < 0:
        raise _wrong(directory, name, "but must be a whole number")
    return value


def rate(directory: Directory, name: str) -> float:
    """Returns a rate of dropout, 0 where nothing is said.

    Raises:
        InputError: it is no number from 0 to 1.
    """
    value = directory.config.get(name, 0.0)
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise _wrong(directory, name, "but must be at least 0 and below 1")
    return float(value)


def choose(directory: Directory, name: str, known: Mapping[str, Any]) -> Any:
    """Returns what we call a word of theirs.

    Raises:
        InputError: we have no such thing.
    """
    value = directory.config.get(name)
    if not isinstance(value, str) or value not in known:
        raise unknown(f"{name} in {directory.root}/config.json", str(value), known)
    return known[value]


def require(
    directory: Directory, name: str, expected: Any, *, default: Any = None
) -> None:
    """Raises InputError unless a field has the one value that our model expresses."""
    if directory.config.get(name, default) != expected:
        raise _wrong(directory, name, f"but the zoo's model has {expected!r} there")


def _wrong(directory: Directory, name: str, reason: str) -> InputError:
    value = directory.config.get(name)
    return InputError(f"{directory.root}/config.json: {name} is {value!r}, {reason}")
