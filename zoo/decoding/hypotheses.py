"""What a search is given and what it returns: a model, and hypotheses with scores."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

IMPOSSIBLE = -1e30


@runtime_checkable
class Decodable(Protocol):
    """What a search asks of a model: every method of the contract goes by `apply`."""

    @property
    def pad_id(self) -> int:
        """The id of padding."""
        ...

    @property
    def start_id(self) -> int:
        """The id that begins what is written."""
        ...

    @property
    def eos_id(self) -> int:
        """The id of the end of a sentence."""
        ...

    def apply(self, *args: Any, **kwargs: Any) -> Any:
        """Calls a method with given variables, as `flax.linen.Module.apply`."""
        ...


class Hypotheses(NamedTuple):
    """Decoded sentences, the best first.

    Attributes:
        tokens: ends with end of sentence, then padding; a hypothesis that was cut at
            the maximum length has no end of sentence.
        scores: log-probability in nats over length^α; IMPOSSIBLE, with padding alone
            for tokens, where there are fewer hypotheses than were asked for.
    """

    tokens: Int[Array, "B W T"]
    scores: Float[Array, "B W"]


def require_room(max_length: int, num_hypotheses: int) -> None:
    """Raises ValueError unless there is room for a token of a hypothesis."""
    for name, value in (("max_length", max_length), ("num_hypotheses", num_hypotheses)):
        if value < 1:
            raise ValueError(f"{name} is {value}, but must be at least 1")


def read(call: Callable[..., PyTree], source: PyTree) -> PyTree:
    """Returns the memory of a source, laid out once.

    Without the barrier XLA moves what lays it out, transposes say, into the loop of a
    search, and does it for each token.
    """
    return jax.lax.optimization_barrier(call(source, method="encode"))


def num_rows(memory: PyTree) -> int:
    """Returns B, the number of sources; the leaves of every memory lead with it."""
    return jax.tree.leaves(memory)[0].shape[0]


def normalize(
    log_probs: Float[Array, "B N"],
    length: Int[Array, "*axes"],
    length_penalty: float | Float[Array, ""],
) -> Float[Array, "B N"]:
    """Returns log-probability over length^α; what is IMPOSSIBLE stays so."""
    scores = log_probs / length.astype(jnp.float32) ** length_penalty
    return jnp.where(log_probs > IMPOSSIBLE, scores, IMPOSSIBLE)


def best(hypotheses: Hypotheses, width: int) -> Hypotheses:
    """Returns the `width` hypotheses of each sentence with the highest scores."""
    scores, chosen = jax.lax.top_k(hypotheses.scores, width)
    return Hypotheses(take(hypotheses.tokens, chosen), scores)


def k_largest(
    scores: Float[Array, "*axes V"], k: int, block_size: int = 64
) -> tuple[Float[Array, "*axes k"], Int[Array, "*axes k"]]:
    """Returns what `jax.lax.top_k` does, by the largest of each block of scores.

    The k best lie in the k blocks with the largest maxima, so that of all others only
    the maximum is read, which a CPU takes of many at once. Of scores that are equal the
    first come first, here too.
    """
    size = scores.shape[-1]
    num_blocks = size // block_size
    if num_blocks <= k:
        return tuple(jax.lax.top_k(scores, k))
    first = num_blocks * block_size  # of the scores beyond the last whole block
    blocks = scores[..., :first].reshape(*scores.shape[:-1], num_blocks, block_size)
    _, chosen = jax.lax.top_k(blocks.max(axis=-1), k)
    chosen = jnp.sort(chosen, axis=-1)[..., None]  # in the order of the scores
    kept = jnp.take_along_axis(blocks, chosen, axis=-2)
    places = chosen * block_size + jnp.arange(block_size)
    rest = jnp.broadcast_to(jnp.arange(first, size), (*chosen.shape[:-2], size - first))
    kept, places = (
        jnp.concatenate([some.reshape(*chosen.shape[:-2], -1), last], axis=-1)
        for some, last in ((kept, scores[..., first:]), (places, rest))
    )
    largest, index = jax.lax.top_k(kept, k)
    return largest, jnp.take_along_axis(places, index, axis=-1)


def take(leaf: Array, index: Int[Array, "B N"]) -> Array:
    """Returns leaf[b, index[b, n]] for every b and n, whatever axes follow."""
    index = index.reshape(*index.shape, *[1] * (leaf.ndim - 2))
    return jnp.take_along_axis(leaf, index, axis=1)


def hide_impossible(hypotheses: Hypotheses, pad_id: int) -> Hypotheses:
    """Returns the same hypotheses without the tokens of those that are none."""
    real = hypotheses.scores[:, :, None] > IMPOSSIBLE
    return hypotheses._replace(tokens=jnp.where(real, hypotheses.tokens, pad_id))
