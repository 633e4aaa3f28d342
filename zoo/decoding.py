"""Decoding: from probabilities to sentences, for every model that keeps the contract.

Greedy and beam search are pure functions of (model, params, source), to be jitted by
the caller; each is one `jax.lax.while_loop` that ends when every sentence of the batch
has. What a sentence becomes does not depend on the others of its batch.

One scoring rule everywhere: the sum of log p of the generated tokens, end of sentence
counted, divided by length^α (with α = 1 the mean; Wu et al. 2016, section 7, without
their coverage term). Beam search ends a sentence when W hypotheses have ended and no
live one, at its present length, scores above the worst of them.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from zoo.models.contract import Seq2Seq

IMPOSSIBLE = -1e30


class Hypotheses(NamedTuple):
    """Decoded sentences, the best first.

    Attributes:
        tokens: ends with end of sentence, then padding; a hypothesis that was cut at
            the maximum length has no end of sentence.
        scores: log-probability in nats over length^α; IMPOSSIBLE where there are fewer
            hypotheses than were asked for.
    """

    tokens: Int[Array, "B W T"]
    scores: Float[Array, "B W"]


class _Live(NamedTuple):
    """Hypotheses that go on: their tokens, log-probabilities and the model's carry."""

    tokens: Int[Array, "B W T"]
    log_probs: Float[Array, "B W"]
    carry: PyTree


class _Beam(NamedTuple):
    position: Int[Array, ""]
    live: _Live
    ended: Hypotheses
    done: Bool[Array, " B"]


def greedy_search(
    model: Seq2Seq,
    params: Any,
    source: Int[Array, "B S"],
    max_length: int,
    *,
    length_penalty: float = 1.0,
) -> Hypotheses:
    """Takes the likeliest token at every step; equals beam search of width one.

    Args:
        max_length: of a hypothesis in tokens, end of sentence included.
        length_penalty: α of the score; the tokens do not depend on it.
    """
    call = partial(model.apply, {"params": params})
    memory = call(source, method="encode")
    batch = source.shape[0]

    def goes_on(state):
        position, _, _, _, ended, _ = state
        return (position < max_length) & ~jnp.all(ended)

    def advance(state):
        position, tokens, last, log_prob, ended, carry = state
        carry, features = call(memory, carry, last, position, method="step")
        logits = call(features, method="logits")[:, 0].astype(jnp.float32)  # [B, V]
        best = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        gain = jnp.max(logits, axis=-1) - jax.nn.logsumexp(logits, axis=-1)
        log_prob += jnp.where(ended, 0.0, gain)
        last = jnp.where(ended, model.pad_id, best)
        tokens = tokens.at[:, position].set(last)
        ended |= last == model.eos_id
        return position + 1, tokens, last[:, None], log_prob, ended, carry

    state = (
        jnp.zeros((), jnp.int32),
        jnp.full((batch, max_length), model.pad_id, jnp.int32),
        jnp.full((batch, 1), model.start_id, jnp.int32),
        jnp.zeros(batch),
        jnp.zeros(batch, bool),
        call(memory, 1, max_length, method="start"),
    )
    _, tokens, _, log_prob, ended, _ = jax.lax.while_loop(goes_on, advance, state)
    first_end = jnp.argmax(tokens == model.eos_id, axis=1) + 1
    length = jnp.where(ended, first_end, max_length).astype(jnp.float32)
    score = _normalize(log_prob, length, length_penalty)
    return Hypotheses(tokens[:, None], score[:, None])


def beam_search(
    model: Seq2Seq,
    params: Any,
    source: Int[Array, "B S"],
    max_length: int,
    *,
    num_hypotheses: int,
    length_penalty: float = 1.0,
) -> Hypotheses:
    """Keeps the W likeliest beginnings at every step and returns the W best sentences.

    Args:
        max_length: of a hypothesis in tokens, end of sentence included.
        num_hypotheses: W, the width of the beam and the number of results.
        length_penalty: α; 0 ranks by probability, which favours short sentences.
    """
    width = num_hypotheses
    call = partial(model.apply, {"params": params})
    memory = call(source, method="encode")
    batch = source.shape[0]

    def goes_on(beam):
        return (beam.position < max_length) & ~jnp.all(beam.done)

    def advance(beam):
        last = jax.lax.dynamic_index_in_dim(
            beam.live.tokens, beam.position - 1, axis=2, keepdims=False
        )
        last = jnp.where(beam.position == 0, model.start_id, last)
        carry, features = call(
            memory, beam.live.carry, last, beam.position, method="step"
        )
        logits = call(features, method="logits")  # [B, W, V]
        log_probs, parents, tokens = _continuations(logits, beam.live.log_probs, width)
        ends = tokens == model.eos_id

        # A hypothesis may end only among the W best, so that greedy is a beam of one.
        may_end = ends & (jnp.arange(tokens.shape[1]) < width)
        length = (beam.position + 1).astype(jnp.float32)
        score = _normalize(log_probs, length, length_penalty)
        candidates = Hypotheses(
            _extend(beam.live.tokens, parents, tokens, beam.position),
            jnp.where(may_end, score, IMPOSSIBLE),
        )
        ended = _best(_join(beam.ended, candidates), width)
        ended = _where(beam.done, beam.ended, ended)

        log_probs, chosen = jax.lax.top_k(jnp.where(ends, IMPOSSIBLE, log_probs), width)
        parents = jnp.take_along_axis(parents, chosen, axis=1)
        live = _Live(
            jnp.take_along_axis(candidates.tokens, chosen[:, :, None], axis=1),
            log_probs,
            call(carry, parents, method="reorder"),
        )
        hope = _normalize(log_probs[:, 0], length, length_penalty)
        worst = ended.scores[:, -1]
        done = beam.done | ((worst > IMPOSSIBLE) & (hope <= worst))
        return _Beam(beam.position + 1, live, ended, done)

    blank = jnp.full((batch, width, max_length), model.pad_id, jnp.int32)
    first = jnp.where(jnp.arange(width) == 0, 0.0, IMPOSSIBLE)
    beam = _Beam(
        jnp.zeros((), jnp.int32),
        _Live(
            blank,
            jnp.broadcast_to(first, (batch, width)),
            call(memory, width, max_length, method="start"),
        ),
        Hypotheses(blank, jnp.full((batch, width), IMPOSSIBLE)),
        jnp.zeros(batch, bool),
    )
    beam = jax.lax.while_loop(goes_on, advance, beam)
    return _fill(beam, max_length, length_penalty)


def _continuations(
    logits: Float[Array, "B W V"], log_probs: Float[Array, "B W"], width: int
) -> tuple[Float[Array, "B N"], Int[Array, "B N"], Int[Array, "B N"]]:
    """Returns the N = 2W best (log-probability, parent, token), the best first.

    Of 2W at most W can end, so W always remain to go on. The best of all are among the
    best of each hypothesis, so only those are normalised and compared.
    """
    logits = logits.astype(jnp.float32)
    batch, _, vocab_size = logits.shape
    normalizer = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    each = min(2 * width, vocab_size)
    best, tokens = jax.lax.top_k(logits, each)  # [B, W, each]
    total = (best - normalizer + log_probs[:, :, None]).reshape(batch, -1)
    top, index = jax.lax.top_k(total, min(2 * width, total.shape[1]))  # [B, N]
    tokens = jnp.take_along_axis(tokens.reshape(batch, -1), index, axis=1)
    return jnp.maximum(top, IMPOSSIBLE), index // each, tokens


def _extend(tokens, parents, new, position):
    """Returns the parents' tokens with a new one written at `position`."""
    chosen = jnp.take_along_axis(tokens, parents[:, :, None], axis=1)
    return chosen.at[:, :, position].set(new)


def _normalize(log_probs, length, length_penalty):
    return jnp.maximum(log_probs / length**length_penalty, IMPOSSIBLE)


def _join(first: Hypotheses, second: Hypotheses) -> Hypotheses:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), first, second)


def _best(hypotheses: Hypotheses, width: int) -> Hypotheses:
    scores, chosen = jax.lax.top_k(hypotheses.scores, width)
    tokens = jnp.take_along_axis(hypotheses.tokens, chosen[:, :, None], axis=1)
    return Hypotheses(tokens, scores)


def _where(condition, yes, no):
    """Chooses for each sentence of the batch."""
    return jax.tree.map(
        lambda a, b: jnp.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b),
        yes,
        no,
    )


def _fill(beam: _Beam, max_length: int, length_penalty: float) -> Hypotheses:
    """Returns those that ended, then as many as are missing of those cut short."""
    width = beam.ended.scores.shape[1]
    cut = Hypotheses(
        beam.live.tokens,
        _normalize(beam.live.log_probs, jnp.float32(max_length), length_penalty),
    )
    both = _join(beam.ended, cut)
    num_ended = (beam.ended.scores > IMPOSSIBLE).sum(axis=1, keepdims=True)
    index = jnp.arange(width)[None]
    index = jnp.where(index < num_ended, index, width + index - num_ended)
    return Hypotheses(
        jnp.take_along_axis(both.tokens, index[:, :, None], axis=1),
        jnp.take_along_axis(both.scores, index, axis=1),
    )
