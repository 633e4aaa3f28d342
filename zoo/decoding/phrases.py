"""Phrases that must appear: how far each hypothesis is, and how the beam is shared.

Post and Vilar (2018), "Fast Lexically Constrained Decoding with Dynamic Beam
Allocation", share the beam between banks: hypotheses that have met the same number of
required tokens compete with one another alone, or those that have met none would crowd
out all others. As in Hu et al. (2019), "Improved Lexically Constrained Decoding",
whole batches are allocated by sorting, and a hypothesis may leave a phrase that it has
begun.

A phrase is met once its tokens stand in the hypothesis in a row, wherever that is and
whatever else they belong to: phrases may overlap or contain one another, and one that
is given twice is met by one appearance. (Post and Vilar want it twice, apart.)

Why every phrase is met in time: `missing` bounds what a hypothesis still has to write,
and to continue the phrase that has come furthest lowers it by one or more. That token
is always a candidate, and a candidate is allowed only if its bound fits into the room
that is left, or is lower than before. So a hypothesis that may still end never gives up
the room for what it lacks.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from zoo.decoding.hypotheses import IMPOSSIBLE, k_largest, take

BONUS = 1e9


class Progress(NamedTuple):
    """How far hypotheses are with each phrase.

    Attributes:
        begun: begun[..., k] says that the last k tokens of the hypothesis are the first
            k of the phrase; each token shifts it (Baeza-Yates and Gonnet 1992).
        met: the phrase has appeared.
    """

    begun: Bool[Array, "B N C L"]
    met: Bool[Array, "B N C"]


class Phrases(NamedTuple):
    """The phrases of every sentence, padded at the end; padding alone is none."""

    tokens: Int[Array, "B C L"]
    lengths: Int[Array, "B C"]

    @classmethod
    def of(cls, required: Int[Array, "B C L"], pad_id: int) -> "Phrases":
        """Returns C phrases for each sentence, which end in padding."""
        return cls(required, (required != pad_id).sum(axis=-1))

    def start(self, width: int) -> Progress:
        """Returns the progress of hypotheses without tokens."""
        batch, number, length = self.tokens.shape
        begun = jnp.arange(length) == 0
        met = (self.lengths == 0)[:, None]
        return Progress(
            jnp.broadcast_to(begun, (batch, width, number, length)),
            jnp.broadcast_to(met, (batch, width, number)),
        )

    def advance(
        self, progress: Progress, parents: Int[Array, "B N"], tokens: Int[Array, "B N"]
    ) -> Progress:
        """Returns the progress of candidates: a parent and its next token."""
        begun, met = take(progress.begun, parents), take(progress.met, parents)
        goes_on = begun & (self.tokens[:, None] == tokens[:, :, None, None])
        last = jnp.arange(self.tokens.shape[2]) == self.lengths[:, None, :, None] - 1
        met |= (goes_on & last).any(axis=-1)
        begun = jnp.concatenate([begun[..., :1], goes_on[..., :-1]], axis=-1)
        return Progress(begun, met)

    def missing(self, progress: Progress) -> Int[Array, "B N"]:
        """Returns at most how many tokens it takes to meet what is not yet met.

        All of every unmet phrase, but for what is written of the one furthest come.
        """
        unmet = jnp.where(progress.met, 0, self.lengths[:, None])
        written = jnp.where(progress.met, 0, _furthest(progress))
        return unmet.sum(axis=-1) - written.max(axis=-1)

    def wanted(self, progress: Progress, vocab_size: int) -> Bool[Array, "B W V"]:
        """Returns which tokens continue, or begin, a phrase that is not yet met."""
        batch, width, _ = progress.met.shape
        tokens = jnp.broadcast_to(
            self.tokens[:, None], (batch, width, *self.tokens.shape[1:])
        )
        index = _furthest(progress)[..., None]
        following = jnp.take_along_axis(tokens, index, axis=-1)[..., 0]  # [B, W, C]
        rows, columns = jnp.arange(batch)[:, None, None], jnp.arange(width)[:, None]
        nothing = jnp.zeros((batch, width, vocab_size), bool)
        return nothing.at[rows, columns, following].max(~progress.met)


def _furthest(progress: Progress) -> Int[Array, "B N C"]:
    lengths = jnp.arange(progress.begun.shape[-1])
    return jnp.where(progress.begun, lengths, 0).max(axis=-1)


def allocate(
    log_probs: Float[Array, "B M"], missing: Int[Array, "B M"], number: int
) -> Int[Array, "B N"]:
    """Returns which candidates to keep: the best of every bank, then the second bests.

    Banks take turns, the one that misses least first, so that each gets its share of
    the beam and what a small bank leaves goes to the others. What is IMPOSSIBLE comes
    last.
    """
    order = jnp.lexsort((-log_probs, missing))
    bank = jnp.take_along_axis(missing, order, axis=1)
    index = jnp.arange(bank.shape[1])
    new = jnp.concatenate([bank[:, :1] < 0, bank[:, 1:] != bank[:, :-1]], axis=1)
    rank = index - jax.lax.cummax(jnp.where(new, index, 0), axis=1)
    possible = jnp.take_along_axis(log_probs, order, axis=1) > IMPOSSIBLE
    rank = jnp.where(possible, rank, bank.shape[1])
    turn = jnp.lexsort((bank, rank))[:, :number]
    return jnp.take_along_axis(order, turn, axis=1)


def shared_continuations(
    logits: Float[Array, "B W V"],
    normalizer: Float[Array, "B W 1"],
    log_probs: Float[Array, "B W"],
    phrases: Phrases,
    progress: Progress,
    room: Int[Array, "B 1"],
    eos_id: int,
) -> tuple[Float[Array, "B N"], Int[Array, "B N"], Int[Array, "B N"]]:
    """Returns N = 2W (log-probability, parent, token), shared among the banks.

    The candidates are the best tokens of every hypothesis, W of which do not end it,
    and all tokens that continue or begin a phrase.

    Args:
        room: tokens that will be left after this one, without the end of sentence.
    """
    batch, width, vocab_size = logits.shape
    lacking = phrases.missing(progress)  # [B, W]
    ends = jnp.arange(vocab_size) == eos_id
    logits = jnp.where(ends & (lacking > 0)[:, :, None], -jnp.inf, logits)
    each = min(width + 1 + progress.met.shape[2], vocab_size)
    wanted = phrases.wanted(progress, vocab_size)
    _, tokens = k_largest(jnp.where(wanted, logits + BONUS, logits), each)
    total = jnp.take_along_axis(logits, tokens, axis=2) - normalizer  # [B, W, each]
    total = (total + log_probs[:, :, None]).reshape(batch, -1)

    tokens = tokens.reshape(batch, -1)
    parents = jnp.broadcast_to(jnp.arange(tokens.shape[1]) // each, tokens.shape)
    missing = phrases.missing(phrases.advance(progress, parents, tokens))
    enough = jnp.maximum(room, take(lacking, parents) - 1)
    total = jnp.where(missing <= jnp.maximum(enough, 0), total, IMPOSSIBLE)
    total = jnp.maximum(total, IMPOSSIBLE)
    chosen = allocate(total, missing, 2 * width)
    return take(total, chosen), take(parents, chosen), take(tokens, chosen)
