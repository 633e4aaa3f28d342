"""What a user may ask of translations: what they must keep, and how to draw them.

Free of jax, so that a command can check its options before it loads anything.
"""

import math
from dataclasses import dataclass
from typing import Any

from zoo.errors import InputError

MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Defaults:
    """How a model is to be searched unless the user says otherwise.

    Attributes:
        beam_size: hypotheses kept at each step; 1 is greedy.
        length_penalty: scores are log-probabilities over length to this power.
        max_length: of a translation in subwords; None leaves it to the source's.
        banned: tokens that are never written.
        forced_end: whether a translation that is cut ends all the same.
        min_length: as `Constraints` has it.
        no_repeated_ngram: as `Constraints` has it.
    """

    beam_size: int = 4
    length_penalty: float = 1.0
    max_length: int | None = None
    banned: tuple[int, ...] = ()
    forced_end: bool = False
    min_length: int = 0
    no_repeated_ngram: int = 0


def defaults_from_json(values: dict[str, Any], where: str) -> Defaults:
    """Returns the settings that were written as a dict.

    Raises:
        InputError: they are none.
    """
    kinds: dict[str, Any] = {
        "beam_size": int,
        "length_penalty": float,
        "max_length": int | None,
        "banned": list,
        "forced_end": bool,
        "min_length": int,
        "no_repeated_ngram": int,
    }
    if (
        not {*values} <= {*kinds}
        or not all(isinstance(value, kinds[name]) for name, value in values.items())
        or not all(type(token) is int for token in values.get("banned", ()))
    ):
        raise InputError(
            f"{where} holds no settings of a search of ours; restore the file"
        )
    fields: dict[str, Any] = {**values, "banned": tuple(values.get("banned", ()))}
    return Defaults(**fields)


@dataclass(frozen=True)
class Constraints:
    """What every translation of every sentence must keep; it costs no score.

    >>> Constraints(banned=("colour",), no_repeated_ngram=3).min_length
    0

    Attributes:
        min_length: in subwords, end of sentence and prefix included, as for
            `max_length`.
        no_repeated_ngram: no run of so many subwords comes twice; 0 allows all.
        banned: words, or several with spaces between, that must not appear; see
            `zoo.decoding.words`. With a tokenizer that keeps case, in this case alone.
    """

    min_length: int = 0
    no_repeated_ngram: int = 0
    banned: tuple[str, ...] = ()

    def __post_init__(self):
        check_range("min_length", self.min_length, 0)
        check_range("no_repeated_ngram", self.no_repeated_ngram, 0)


@dataclass(frozen=True)
class Sampling:
    """Translations drawn at random, one token after the other, not searched for.

    >>> Sampling(temperature=0.7, top_p=0.9).seed
    0

    Attributes:
        temperature: divides the logits; below 1 prefers the likely.
        top_k: draws from so many likeliest tokens alone; None from all.
        top_p: draws from the fewest tokens whose probability reaches p; None from all.
        seed: the samples of a sentence depend on it and on the sentence's number.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self):
        if not 0 < self.temperature < math.inf:
            raise InputError(
                f"temperature is {self.temperature}, but must be above 0; for the "
                "likeliest translation search without sampling"
            )
        if self.top_k is not None:
            check_range("top_k", self.top_k, 1)
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(
                f"top_p is {self.top_p}, but must be above 0 and at most 1"
            )
        check_range("seed", self.seed, 0, MAX_SEED)


def check_range(name: str, value: int, low: int, high: int | None = None) -> None:
    """Raises InputError unless the value lies between both, ends included."""
    if value < low or (high is not None and value > high):
        bound = f"at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"{name} is {value}, but must be {bound}")
