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
    def pad_id(self) -> int: ...

    @property
    def start_id(self) -> int: ...

    @property
    def eos_id(self) -> int: ...

    def apply(self, *args: Any, **kwargs: Any) -> Any: ...


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


def take(leaf: Array, index: Int[Array, "B N"]) -> Array:
    """Returns leaf[b, index[b, n]] for every b and n, whatever axes follow."""
    index = index.reshape(*index.shape, *[1] * (leaf.ndim - 2))
    return jnp.take_along_axis(leaf, index, axis=1)


def hide_impossible(hypotheses: Hypotheses, pad_id: int) -> Hypotheses:
    """Returns the same hypotheses without the tokens of those that are none."""
    real = hypotheses.scores[:, :, None] > IMPOSSIBLE
    return hypotheses._replace(tokens=jnp.where(real, hypotheses.tokens, pad_id))
