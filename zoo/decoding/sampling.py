"""Greedy search and sampling: hypotheses that are written token by token, each alone.

Both are one loop; they differ in how the next token is chosen from the logits.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from zoo.decoding.hypotheses import (
    IMPOSSIBLE,
    Decodable,
    Hypotheses,
    best,
    hide_impossible,
    k_largest,
    normalize,
    num_rows,
    read,
    require_room,
)
from zoo.decoding.rules import Rule, pad_prefix, restrict

Choose = Callable[[Float[Array, "B W V"], Int[Array, ""]], Int[Array, "B W"]]


def greedy_search(
    model: Decodable,
    params: Any,
    source: PyTree,
    max_length: int,
    *,
    length_penalty: float | Float[Array, ""] = 1.0,
    prefix: Int[Array, "B P"] | None = None,
    rules: Sequence[Rule] = (),
) -> Hypotheses:
    """Takes the likeliest token at every step; equals beam search of width one.

    Where the rules leave no token, the hypothesis is IMPOSSIBLE.

    Args:
        source: what the model's `encode` takes, as a rule tokens [B, S].
        max_length: of a hypothesis in tokens, prefix and end of sentence included.
        length_penalty: α of the score; the tokens do not depend on it.
        prefix: what each sentence must begin with, padded at the end; it is part of
            the hypothesis but not of its score.
        rules: what may follow the prefix.

    Raises:
        ValueError: there is no room for a hypothesis, or the prefix leaves none.
    """

    def likeliest(logits, position):
        return first_of_largest(logits)

    return _write(
        model,
        params,
        source,
        max_length,
        likeliest,
        num_hypotheses=1,
        length_penalty=length_penalty,
        prefix=prefix,
        rules=rules,
    )


def sample(
    model: Decodable,
    params: Any,
    source: PyTree,
    max_length: int,
    *,
    keys: Key[Array, " B"],
    num_hypotheses: int = 1,
    temperature: float | Float[Array, ""] = 1.0,
    top_k: int | None = None,
    top_p: float | Float[Array, ""] | None = None,
    length_penalty: float | Float[Array, ""] = 1.0,
    prefix: Int[Array, "B P"] | None = None,
    rules: Sequence[Rule] = (),
) -> Hypotheses:
    """Draws sentences at random, each of its own, and returns the best scored first.

    The score is the model's log-probability, before temperature and truncation.

    Args:
        source: what the model's `encode` takes, as a rule tokens [B, S].
        max_length: of a hypothesis in tokens, prefix and end of sentence included.
        keys: one for each sentence, so that its samples do not depend on its batch.
        temperature: divides the logits; below 1 prefers the likely.
        top_k: draws from the k likeliest tokens alone; None from all.
        top_p: draws from the fewest tokens whose probability reaches p, from one
            upwards (Holtzman et al. 2020, section 3.1); None from all. Temperature and
            rules come before truncation, k before p. Without k it sorts the vocabulary.
        prefix: as in `greedy_search`.
        rules: as in `greedy_search`.

    Raises:
        ValueError: as `greedy_search`, no hypothesis is asked for, or temperature, k or
            p is out of its range.
    """
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}, but must be at least 1")
    if isinstance(temperature, int | float) and temperature <= 0:
        raise ValueError(f"temperature is {temperature}, but must be above 0")
    if isinstance(top_p, int | float) and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}, but must be above 0 and at most 1")
    keys = jax.vmap(lambda key: jax.random.split(key, num_hypotheses))(keys)  # [B, W]

    def draw(logits, position):
        kept, tokens = truncate(logits / temperature, top_k, top_p)
        step_keys = jax.vmap(jax.vmap(lambda key: jax.random.fold_in(key, position)))
        drawn = jax.vmap(jax.vmap(jax.random.categorical))(step_keys(keys), kept)
        return jnp.take_along_axis(tokens, drawn[:, :, None], axis=2)[:, :, 0]

    return _write(
        model,
        params,
        source,
        max_length,
        draw,
        num_hypotheses=num_hypotheses,
        length_penalty=length_penalty,
        prefix=prefix,
        rules=rules,
    )


def first_of_largest(scores: Float[Array, "*axes V"]) -> Int[Array, "*axes"]:
    """Returns what argmax does, by two reductions that a CPU can do on many at once.

    >>> first_of_largest(jnp.array([[1.0, 3.0, 3.0], [2.0, -1.0, 0.0]])).tolist()
    [1, 0]
    """
    last = scores.shape[-1] - 1
    largest = scores == scores.max(axis=-1, keepdims=True)
    return jnp.where(largest, jnp.arange(last + 1), last).min(axis=-1)


def truncate(
    logits: Float[Array, "B W V"],
    top_k: int | None,
    top_p: float | Float[Array, ""] | None,
) -> tuple[Float[Array, "B W N"], Int[Array, "B W N"]]:
    """Returns the logits to draw from, -inf for what is dropped, and their tokens."""
    vocab_size = logits.shape[-1]
    if top_k is None and top_p is None:
        return logits, jnp.broadcast_to(jnp.arange(vocab_size), logits.shape)
    logits, tokens = k_largest(logits, min(top_k or vocab_size, vocab_size))
    if top_p is not None:
        probs = jax.nn.softmax(logits, axis=-1)
        before = jnp.cumsum(probs, axis=-1) - probs
        kept = (before < top_p) | (jnp.arange(logits.shape[-1]) == 0)
        logits = jnp.where(kept, logits, -jnp.inf)
    return logits, tokens


def _write(
    model: Decodable,
    params: Any,
    source: PyTree,
    max_length: int,
    choose: Choose,
    *,
    num_hypotheses: int,
    length_penalty: float | Float[Array, ""],
    prefix: Int[Array, "B P"] | None,
    rules: Sequence[Rule],
) -> Hypotheses:
    """Returns hypotheses of which `choose` has chosen every token."""
    require_room(max_length, num_hypotheses)
    call = partial(model.apply, {"params": params})
    memory = read(call, source)
    shape = (num_rows(memory), num_hypotheses)
    prefix, prefix_length = pad_prefix(prefix, max_length, model.pad_id)

    def goes_on(state):
        position, _, _, _, ended, _ = state
        return (position < max_length) & ~jnp.all(ended)

    def advance(state):
        position, tokens, last, log_prob, ended, carry = state
        carry, features = call(memory, carry, last, position, method="step")
        logits = call(features, method="logits")  # [B, W, V]
        forced = None if prefix is None else prefix[:, position]
        logits, normalizer = restrict(
            logits, tokens, position, rules, forced, model.pad_id
        )
        chosen = choose(logits, position).astype(jnp.int32)
        gain = jnp.take_along_axis(logits, chosen[:, :, None], axis=2) - normalizer
        log_prob += jnp.where(ended, 0.0, gain[:, :, 0])
        log_prob = jnp.maximum(log_prob, IMPOSSIBLE)
        last = jnp.where(ended, model.pad_id, chosen)
        tokens = tokens.at[:, :, position].set(last)
        ended |= last == model.eos_id
        return position + 1, tokens, last, log_prob, ended, carry

    state = (
        jnp.zeros((), jnp.int32),
        jnp.full((*shape, max_length), model.pad_id, jnp.int32),
        jnp.full(shape, model.start_id, jnp.int32),
        jnp.zeros(shape),
        jnp.zeros(shape, bool),
        call(memory, num_hypotheses, max_length, method="start"),
    )
    _, tokens, _, log_prob, ended, _ = jax.lax.while_loop(goes_on, advance, state)
    first_end = jnp.argmax(tokens == model.eos_id, axis=2) + 1
    length = jnp.where(ended, first_end, max_length) - prefix_length
    scores = normalize(log_prob, jnp.maximum(length, 1), length_penalty)
    found = best(Hypotheses(tokens, scores), num_hypotheses)
    return hide_impossible(found, model.pad_id)
