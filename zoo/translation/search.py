"""How sentences become the arrays of one search, and the search that is compiled.

What changes from call to call (params, sentences, prefixes, words, temperature, seed)
is traced; what shapes the program is a `Plan`, and each plan is one jitted function
with a compilation for each shape. Sentences are padded to a few lengths and their
number to a few sizes. The lengths depend on the sentence and what is asked of it alone,
and so does its translation.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from zoo.decoding import (
    Decodable,
    Hypotheses,
    ban,
    beam_search,
    force_end,
    greedy_search,
    no_repeated_ngrams,
    require_length,
    sample,
)
from zoo.decoding.words import Banned, without_words
from zoo.translation.options import Sampling
from zoo.translation.plans import Plan
from zoo.translation.requests import Request

SHORTEST = 16
FEWEST_REQUIRED = 4  # phrases of a sentence, and tokens of a phrase
ROWS = (1, 8, 64)


class Shape(NamedTuple):
    """The lengths that a request is padded to; 0 where there is nothing.

    Attributes:
        max_length: of the translation, at which it is cut.
    """

    source: int
    prefix: int
    num_required: int
    required: int
    max_length: int


class Draw(NamedTuple):
    """What samples depend on, beside the model."""

    seed: Key[Array, ""]
    numbers: Int[Array, " B"]  # of the sentences
    temperature: Float[Array, ""]
    top_p: Float[Array, ""] | None


class Given(NamedTuple):
    """The arrays of one search; with a draw, samples."""

    source: Int[Array, "B S"]
    prefix: Int[Array, "B P"] | None = None
    required: Int[Array, "B C L"] | None = None
    banned: Banned | None = None
    draw: Draw | None = None


@lru_cache(maxsize=64)
def compiled(
    model: Decodable, vocab_size: int, plan: Plan, max_length: int
) -> Callable[[Any, Given], Hypotheses]:
    """Returns the jitted search, a function of the params and what is given."""
    # Where a model starts with what it ends with, that may not be banned.
    never = {model.pad_id, model.start_id, *plan.banned} - {model.eos_id}
    fixed = [ban(sorted(never), vocab_size)]
    if plan.forced_end:
        fixed.append(force_end(max_length, model.eos_id, vocab_size))
    if plan.min_length > 1:
        fixed.append(require_length(plan.min_length, model.eos_id, vocab_size))
    if plan.no_repeated_ngram:
        fixed.append(no_repeated_ngrams(plan.no_repeated_ngram, vocab_size))

    def search(params, given):
        task = model, params, given.source, max_length
        words = [] if given.banned is None else [without_words(given.banned)]
        options = {
            "length_penalty": plan.length_penalty,
            "prefix": given.prefix,
            "rules": [*fixed, *words],
        }
        if given.draw is not None:
            seed, numbers, temperature, top_p = given.draw
            return sample(
                *task,
                keys=jax.vmap(lambda number: jax.random.fold_in(seed, number))(numbers),
                num_hypotheses=plan.num_hypotheses,
                temperature=temperature,
                top_k=plan.top_k,
                top_p=top_p,
                **options,
            )
        if plan.num_hypotheses == 1 and given.required is None:
            return greedy_search(*task, **options)
        return beam_search(
            *task,
            num_hypotheses=plan.num_hypotheses,
            required=given.required,
            **options,
        )

    return jax.jit(search)


def bucket(length: int, longest: int, shortest: int = SHORTEST) -> int:
    """Returns the length to pad to: the shortest, doubled until it fits; 0 stays 0."""
    padded = shortest if length else 0
    while padded < length:
        padded *= 2
    return min(padded, longest)


def shape_of(
    request: Request, longest: int, max_length: int | None, min_length: int
) -> Shape:
    """Returns the lengths that a request is padded to.

    Args:
        longest: sentence that the model can read or write.
        max_length: of the translation; None leaves it to the source's.
    """
    source = bucket(len(request.source), longest)
    prefix = bucket(len(request.prefix), longest)
    num_required = bucket(len(request.required), longest, FEWEST_REQUIRED)
    widest = max(map(len, request.required), default=0)
    required = bucket(widest, longest, FEWEST_REQUIRED)
    if max_length is None:
        room = 2 * source + prefix + num_required * required
        max_length = min(max(room, min_length), longest)
    return Shape(source, prefix, num_required, required, max_length)


def chunks(shapes: Sequence[Any], most: int = ROWS[-1]) -> Iterator[tuple[Any, Any]]:
    """Yields (shape, numbers of what has it), at most so many numbers at once.

    What has no shape, None, is left out. The last number is repeated until there are as
    many as one of ROWS: repeated rather than padded, because a row of nothing might
    never end.
    """
    waiting = {}
    for number, shape in enumerate(shapes):
        if shape is not None:
            waiting.setdefault(shape, []).append(number)
    for shape, numbers in sorted(waiting.items()):
        for first in range(0, len(numbers), most):
            chunk = numbers[first : first + most]
            size = min(rows for rows in ROWS if rows >= len(chunk))
            yield shape, chunk + chunk[-1:] * (size - len(chunk))


def given(
    requests: Sequence[Request],
    shape: Shape,
    banned: Banned | None,
    draw: Draw | None,
    pad_id: int,
) -> Given:
    """Returns the arrays of requests of one shape."""
    prefix = required = None
    if shape.prefix:
        width = min(shape.prefix, shape.max_length - 1)
        prefix = pad([request.prefix for request in requests], width, pad_id)
    if shape.required:
        size = len(requests), shape.num_required, shape.required
        rows = np.full(size, pad_id, np.int32)
        for phrases, request in zip(rows, requests, strict=True):
            for phrase, tokens in zip(phrases, request.required, strict=False):
                phrase[: len(tokens)] = tokens
        required = jnp.asarray(rows)
    source = pad([request.source for request in requests], shape.source, pad_id)
    return Given(source, prefix, required, banned, draw)


def draw(sampling: Sampling, numbers: Sequence[int]) -> Draw:
    """Returns what the samples of the sentences with these numbers depend on."""
    return Draw(
        jax.random.key(sampling.seed),
        jnp.asarray(numbers, jnp.int32),
        jnp.asarray(sampling.temperature, jnp.float32),
        None if sampling.top_p is None else jnp.asarray(sampling.top_p, jnp.float32),
    )


def pad(rows: Sequence[Sequence[int]], length: int, pad_id: int) -> Int[Array, "B T"]:
    """Returns the rows under one length, with padding at the end."""
    padded = np.full((len(rows), length), pad_id, np.int32)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return jnp.asarray(padded)
