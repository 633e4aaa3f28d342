"""What a search is compiled for: what was asked, or else what the model is used to."""

import math
from dataclasses import dataclass

from zoo.errors import InputError
from zoo.translation.options import Constraints, Defaults, Sampling, check_range

WIDEST = 64


@dataclass(frozen=True)
class Plan:
    """What a search is compiled for, beside the shapes of its arrays.

    Attributes:
        num_hypotheses: width of the beam, or samples of each sentence.
        top_k: of samples; None draws from all tokens.
        banned: tokens that the model never writes.
        forced_end: whether the last token that there is room for is the end.
    """

    num_hypotheses: int
    length_penalty: float
    min_length: int = 0
    no_repeated_ngram: int = 0
    top_k: int | None = None
    banned: tuple[int, ...] = ()
    forced_end: bool = False


def plan_of(
    defaults: Defaults,
    limit: int,
    *,
    beam_size: int | None,
    length_penalty: float | None,
    num_best: int,
    max_length: int | None,
    constraints: Constraints,
    sampling: Sampling | None,
) -> Plan:
    """Returns the plan of a search; the options are those of `Translator.translate`.

    Args:
        defaults: of the model, for what is None.
        limit: longest translation that the model can write, in subwords.

    Raises:
        InputError: a number is out of its range.
    """
    if beam_size is None:
        beam_size = max(defaults.beam_size, min(num_best, WIDEST))
    if length_penalty is None:
        length_penalty = defaults.length_penalty
    check_range("beam_size", beam_size, 1, WIDEST)
    check_range("num_best", num_best, 1, WIDEST if sampling else beam_size)
    longest = limit if max_length is None else max_length
    check_range("max_length", longest, 1, limit)
    check_range("min_length", constraints.min_length, 0, longest)
    require_penalty(length_penalty)
    # The shorter run: where none of two comes twice, none of three does.
    ngrams = constraints.no_repeated_ngram, defaults.no_repeated_ngram
    return Plan(
        num_best if sampling else beam_size,
        length_penalty,
        max(constraints.min_length, min(defaults.min_length, longest)),
        min(filter(None, ngrams), default=0),
        sampling.top_k if sampling else None,
        defaults.banned,
        defaults.forced_end,
    )


def require_penalty(length_penalty: float) -> None:
    """Raises InputError unless a length penalty is one."""
    if not 0 <= length_penalty < math.inf:
        raise InputError(
            f"length_penalty is {length_penalty}, but must be 0 or above; 1 is usual"
        )
