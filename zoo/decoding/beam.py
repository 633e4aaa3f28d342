"""Beam search: the W likeliest beginnings go on together.

It ends a sentence when W hypotheses have ended and no live one, at its present length,
scores above the worst of them.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

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
    take,
)
from zoo.decoding.phrases import Phrases, Progress, shared_continuations
from zoo.decoding.rules import Rule, pad_prefix, restrict


class _Live(NamedTuple):
    """Hypotheses that go on: tokens, log-probabilities, the model's carry, phrases."""

    tokens: Int[Array, "B W T"]
    log_probs: Float[Array, "B W"]
    carry: PyTree
    progress: Progress | None


class _Beam(NamedTuple):
    position: Int[Array, ""]
    live: _Live
    ended: Hypotheses
    done: Bool[Array, " B"]


def beam_search(
    model: Decodable,
    params: Any,
    source: PyTree,
    max_length: int,
    *,
    num_hypotheses: int,
    length_penalty: float | Float[Array, ""] = 1.0,
    prefix: Int[Array, "B P"] | None = None,
    rules: Sequence[Rule] = (),
    required: Int[Array, "B C L"] | None = None,
) -> Hypotheses:
    """Keeps the W likeliest beginnings at every step and returns the W best sentences.

    Those that ended come first, then those cut at the maximum length.

    Args:
        source: what the model's `encode` takes, as a rule tokens [B, S].
        max_length: of a hypothesis in tokens, prefix and end of sentence included.
        num_hypotheses: W, the width of the beam and the number of results.
        length_penalty: α; 0 ranks by probability, which favours short sentences.
        prefix: what each sentence must begin with, padded at the end; it is part of
            the hypothesis but not of its score.
        rules: what may follow the prefix.
        required: phrases that must appear in every hypothesis, padded at the end; one
            of padding alone asks for nothing. They do appear wherever the prefix, all
            phrases and the end of sentence fit into `max_length` and no rule forbids
            them; what lacks one is IMPOSSIBLE rather than cut. Each token of a phrase
            takes a share of the beam: let W exceed their number.

    Raises:
        ValueError: there is no room for a hypothesis, none is asked for, or the prefix
            leaves no room.
    """
    require_room(max_length, num_hypotheses)
    call = partial(model.apply, {"params": params})
    memory = read(call, source)
    batch, width = num_rows(memory), num_hypotheses
    prefix, prefix_length = pad_prefix(prefix, max_length, model.pad_id)
    phrases = None if required is None else Phrases.of(required, model.pad_id)

    def num_generated(position):
        return jnp.maximum(position - prefix_length, 1)

    def goes_on(beam):
        return (beam.position < max_length) & ~jnp.all(beam.done)

    def expand(live, position):
        last = jax.lax.dynamic_index_in_dim(
            live.tokens, position - 1, axis=2, keepdims=False
        )
        last = jnp.where(position == 0, model.start_id, last)
        carry, features = call(memory, live.carry, last, position, method="step")
        logits = call(features, method="logits")  # [B, W, V]
        forced = None if prefix is None else prefix[:, position]
        logits, normalizer = restrict(
            logits, live.tokens, position, rules, forced, model.pad_id
        )
        if phrases is None:
            return carry, _continuations(logits, normalizer, live.log_probs)
        free = True if forced is None else forced == model.pad_id
        room = jnp.where(free, max_length - position - 2, phrases.tokens.size)
        room = jnp.broadcast_to(room, batch)[:, None]
        progress = live.progress
        return carry, shared_continuations(
            logits, normalizer, live.log_probs, phrases, progress, room, model.eos_id
        )

    def advance(beam):
        live = beam.live
        carry, (log_probs, parents, tokens) = expand(live, beam.position)
        ends = tokens == model.eos_id
        length = num_generated(beam.position + 1)
        score = normalize(log_probs, length, length_penalty)
        candidates = take(live.tokens, parents).at[:, :, beam.position].set(tokens)
        ended = Hypotheses(candidates, jnp.where(ends, score, IMPOSSIBLE))
        ended = _where(beam.done, beam.ended, _end(beam.ended, ended))

        # Of those that go on, the first W in the order of the candidates.
        chosen = jnp.argsort(ends, axis=1, stable=True)[:, :width]
        log_probs = take(jnp.where(ends, IMPOSSIBLE, log_probs), chosen)
        parents, tokens = take(parents, chosen), take(tokens, chosen)
        progress = None
        if phrases is not None:
            progress = phrases.advance(live.progress, parents, tokens)
        carry = call(carry, parents, method="reorder")
        live = _Live(take(candidates, chosen), log_probs, carry, progress)
        hope = normalize(log_probs, length, length_penalty).max(axis=1)
        done = beam.done | (hope <= ended.scores[:, -1])
        return _Beam(beam.position + 1, live, ended, done)

    beam = _begin(
        jnp.full((batch, width, max_length), model.pad_id, jnp.int32),
        call(memory, width, max_length, method="start"),
        None if phrases is None else phrases.start(width),
    )
    beam = jax.lax.while_loop(goes_on, advance, beam)
    cut = _cut(beam.live, num_generated(jnp.int32(max_length)), length_penalty)
    return hide_impossible(_fill(beam.ended, cut), model.pad_id)


def _continuations(
    logits: Float[Array, "B W V"],
    normalizer: Float[Array, "B W 1"],
    log_probs: Float[Array, "B W"],
) -> tuple[Float[Array, "B N"], Int[Array, "B N"], Int[Array, "B N"]]:
    """Returns the N = 2W best (log-probability, parent, token), the best first.

    Of 2W at most W can end, so W always remain to go on. The best of all are among the
    best of each hypothesis, so only those are normalised and compared.
    """
    batch, width, vocab_size = logits.shape
    each = min(2 * width, vocab_size)
    likeliest, tokens = k_largest(logits, each)  # [B, W, each]
    total = (likeliest - normalizer + log_probs[:, :, None]).reshape(batch, -1)
    top, index = jax.lax.top_k(total, min(2 * width, total.shape[1]))  # [B, N]
    tokens = take(tokens.reshape(batch, -1), index)
    return jnp.maximum(top, IMPOSSIBLE), index // each, tokens


def _begin(blank, carry, progress):
    """Returns a beam of which one hypothesis is possible, the empty one."""
    batch, width, _ = blank.shape
    first = jnp.where(jnp.arange(width) == 0, 0.0, IMPOSSIBLE)
    live = _Live(blank, jnp.broadcast_to(first, (batch, width)), carry, progress)
    ended = Hypotheses(blank, jnp.full((batch, width), IMPOSSIBLE))
    return _Beam(jnp.zeros((), jnp.int32), live, ended, jnp.zeros(batch, bool))


def _end(ended: Hypotheses, candidates: Hypotheses) -> Hypotheses:
    """Returns the W best of those that ended before and of those that end now.

    A hypothesis may end only among the first W, so that greedy is a beam of one.
    """
    width = ended.scores.shape[1]
    first = jax.tree.map(lambda leaf: leaf[:, :width], candidates)
    return best(_join(ended, first), width)


def _cut(
    live: _Live, length: Int[Array, "*axes"], length_penalty: float | Float[Array, ""]
) -> Hypotheses:
    """Returns those that still live at the maximum length and lack no phrase."""
    log_probs = live.log_probs
    if live.progress is not None:
        log_probs = jnp.where(live.progress.met.all(axis=2), log_probs, IMPOSSIBLE)
    scores = normalize(log_probs, length, length_penalty)
    return best(Hypotheses(live.tokens, scores), scores.shape[1])


def _join(first: Hypotheses, second: Hypotheses) -> Hypotheses:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), first, second)


def _where(condition, yes, no):
    """Chooses for each sentence of the batch."""
    return jax.tree.map(
        lambda a, b: jnp.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b),
        yes,
        no,
    )


def _fill(ended: Hypotheses, cut: Hypotheses) -> Hypotheses:
    """Returns those that ended, then as many as are missing of those cut short."""
    width = ended.scores.shape[1]
    both = _join(ended, cut)
    num_ended = (ended.scores > IMPOSSIBLE).sum(axis=1, keepdims=True)
    index = jnp.arange(width)[None]
    index = jnp.where(index < num_ended, index, width + index - num_ended)
    return jax.tree.map(lambda leaf: take(leaf, index), both)
