"""Rules: which tokens may come next, and the prefix that must come first.

A rule is a function of what has been written. It only forbids: the scores of what
remains are the model's own and are not normalised again, so that a sentence found
under rules scores as it would without them.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# (tokens [B, W, T], position) -> [B, W, V], where B and W may be 1: True where a token
# may stand at `position`. The tokens before it are those of the hypothesis, prefix
# included and start token excluded; what stands from it on means nothing.
Rule = Callable[[Int[Array, "B W T"], Int[Array, ""]], Bool[Array, "#B #W V"]]


def ban(token_ids: Sequence[int], vocab_size: int) -> Rule:
    """Returns the rule that some tokens never appear.

    Raises:
        ValueError: one is not in the vocabulary.

    >>> ban([3], vocab_size=5)(jnp.zeros((1, 1, 4), int), jnp.array(0)).tolist()
    [[[True, True, True, False, True]]]
    """
    unknown = [token for token in token_ids if not 0 <= token < vocab_size]
    if unknown:
        raise ValueError(f"tokens {unknown} are not in a vocabulary of {vocab_size}")
    may = jnp.ones((1, 1, vocab_size), bool)
    may = may.at[:, :, jnp.array(token_ids, jnp.int32)].set(False)
    return lambda tokens, position: may


def require_length(min_length: int, eos_id: int, vocab_size: int) -> Rule:
    """Returns the rule that no hypothesis is shorter than so many tokens.

    Args:
        min_length: in tokens, end of sentence and forced prefix included, as for the
            `max_length` of a search.
    """
    ends = jnp.arange(vocab_size) == eos_id
    return lambda tokens, position: (~ends | (position >= min_length - 1))[None, None]


def force_end(max_length: int, eos_id: int, vocab_size: int) -> Rule:
    """Returns the rule that the last token there is room for is the end of sentence."""
    ends = jnp.arange(vocab_size) == eos_id
    return lambda tokens, position: (ends | (position < max_length - 1))[None, None]


def no_repeated_ngrams(n: int, vocab_size: int) -> Rule:
    """Returns the rule that no run of n tokens comes twice (Paulus et al. 2017, 2.5).

    Runs of the forced prefix count. End of sentence is never forbidden: no hypothesis
    that goes on holds one.

    Raises:
        ValueError: n is below 1.
    """
    if n < 1:
        raise ValueError(f"n is {n}, but a run has at least one token")

    def rule(tokens, position):
        batch, width, length = tokens.shape
        may = jnp.ones((batch, width, vocab_size), bool)
        num_runs = length - n + 1
        if num_runs < 1:
            return may
        # With fewer than n tokens the slice is clamped, but then no run has ended.
        recent = jax.lax.dynamic_slice_in_dim(tokens, position - n + 1, n - 1, axis=2)
        same = jnp.arange(num_runs) + n - 1 < position
        for place in range(n - 1):
            run_token = tokens[:, :, place : place + num_runs]
            same &= run_token == recent[:, :, place, None]
        same = jnp.broadcast_to(same, (batch, width, num_runs))
        rows = jnp.arange(batch)[:, None, None]
        columns = jnp.arange(width)[:, None]
        return may.at[rows, columns, tokens[:, :, n - 1 :]].min(~same)

    return rule


def whole_words(
    required: Int[Array, "B C L"], ends_word: Bool[Array, " V"], pad_id: int
) -> Rule:
    """Returns the rule that no required phrase is continued within its last word.

    A phrase is met by its tokens, so that without this rule "light" could be met by
    "lightning". Of two phrases, one must not continue the other's last word.

    Args:
        required: the phrases given to `beam_search`.
        ends_word: the tokens before which a word is over: those that begin a word,
            punctuation, end of sentence.
    """
    length = required.shape[2]
    place = jnp.arange(length) - length + (required != pad_id).sum(-1, keepdims=True)
    flush_right = jnp.take_along_axis(required, jnp.maximum(place, 0), axis=2)
    is_phrase = (place >= 0).any(axis=2)[:, None]

    def rule(tokens, position):
        padded = jnp.pad(tokens, ((0, 0), (0, 0), (length, 0)), constant_values=pad_id)
        recent = jax.lax.dynamic_slice_in_dim(padded, position, length, axis=2)
        same = (recent[:, :, None] == flush_right[:, None]) | (place < 0)[:, None]
        complete = (same.all(axis=3) & is_phrase).any(axis=2)  # [B, W]
        return ~complete[:, :, None] | ends_word

    return rule


def pad_prefix(
    prefix: Int[Array, "B P"] | None, max_length: int, pad_id: int
) -> tuple[Int[Array, "B T"] | None, Int[Array, "B 1"] | int]:
    """Returns the prefix under the length of a hypothesis, and its number of tokens.

    Raises:
        ValueError: the prefix leaves no room.
    """
    if prefix is None:
        return None, 0
    room = max_length - prefix.shape[1]
    if room < 1:
        raise ValueError(
            f"a prefix of {prefix.shape[1]} tokens leaves no room in a max_length of "
            f"{max_length}, which counts both"
        )
    padded = jnp.pad(prefix, ((0, 0), (0, room)), constant_values=pad_id)
    return padded, (prefix != pad_id).sum(axis=1, keepdims=True)


def restrict(
    logits: Float[Array, "B W V"],
    tokens: Int[Array, "B W T"],
    position: Int[Array, ""],
    rules: Sequence[Rule],
    forced: Int[Array, " B"] | None,
    pad_id: int,
) -> tuple[Float[Array, "B W V"], Float[Array, "B W 1"]]:
    """Returns the logits, -inf for what is forbidden, and the model's log-normaliser.

    A forced token has probability one, so that it adds nothing to a score, and no rule
    forbids it.

    Args:
        forced: what must stand at `position`; padding where anything may.
    """
    logits = logits.astype(jnp.float32)
    if forced is None:
        normalizer = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
        for rule in rules:
            logits = jnp.where(rule(tokens, position), logits, -jnp.inf)
        return logits, normalizer
    free, normalizer = restrict(logits, tokens, position, rules, None, pad_id)
    given = (forced != pad_id)[:, None, None]
    only = forced[:, None, None] == jnp.arange(logits.shape[-1])
    logits = jnp.where(given, jnp.where(only, 0.0, -jnp.inf), free)
    return logits, jnp.where(given, 0.0, normalizer)
