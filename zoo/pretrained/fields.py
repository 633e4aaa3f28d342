"""Fields of a config.json that others wrote: read with their kind checked."""

from collections.abc import Mapping
from typing import Any

from zoo.errors import InputError, unknown
from zoo.pretrained.directory import Directory

MOST_LAYERS = 1_000  # a model is built layer by layer, before its weights are counted


def integer(directory: Directory, name: str, default: int | None = None) -> int:
    """Returns a whole number that is not negative.

    Raises:
        InputError: it is none, or missing without a default.
    """
    value = directory.config.get(name, default)
    if type(value) is not int or value < 0:
        raise _wrong(directory, name, "but must be a whole number")
    return value


def layers(directory: Directory, name: str) -> int:
    """Returns a number of layers.

    Raises:
        InputError: it is no whole number, or beyond what anybody has trained.
    """
    value = integer(directory, name)
    if value > MOST_LAYERS:
        raise _wrong(directory, name, f"but must be at most {MOST_LAYERS:,}")
    return value


def target_size(directory: Directory) -> int:
    """Returns the number of tokens that are written: Marian's may differ in both.

    Raises:
        InputError: it is none.
    """
    separate = not flag(directory, "share_encoder_decoder_embeddings", True)
    return integer(directory, "decoder_vocab_size" if separate else "vocab_size")


def token(directory: Directory, name: str) -> int:
    """Returns the id of a special token, which both sides have.

    Raises:
        InputError: it is none, or beyond a vocabulary.
    """
    sizes = integer(directory, "vocab_size"), target_size(directory)
    value, vocab_size = integer(directory, name), min(sizes)
    if value >= vocab_size:
        raise _wrong(directory, name, f"but the vocabulary has {vocab_size} tokens")
    return value


def agree(directory: Directory, name: str, known: int, file: str) -> None:
    """Raises InputError unless a special token is the one that the tokenizer has."""
    if integer(directory, name) != known:
        raise _wrong(directory, name, f"but {file} has {known}; download both again")


def rate(directory: Directory, name: str) -> float:
    """Returns a rate of dropout, 0 where nothing is said.

    Raises:
        InputError: it is no number from 0 to 1.
    """
    value = directory.config.get(name, 0.0)
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise _wrong(directory, name, "but must be at least 0 and below 1")
    return float(value)


def flag(directory: Directory, name: str, default: bool) -> bool:
    """Returns a yes or no.

    Raises:
        InputError: it is neither.
    """
    value = directory.config.get(name, default)
    if not isinstance(value, bool):
        raise _wrong(directory, name, "but must be true or false")
    return value


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
