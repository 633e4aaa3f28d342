"""A model that tells what a search keeps at each step, in place of the model itself.

A search sees the tokens of a hypothesis and a model sees only the last one. So the
watched model keeps what it was given in its carry, which the search reorders with all
else, and hands it out at every step; the search knows nothing of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from zoo.decoding.hypotheses import Decodable, num_rows, take

Listener = Callable[[np.ndarray, np.ndarray, np.ndarray], None]


class _Carry(NamedTuple):
    own: PyTree
    tokens: Int[Array, "B W T"]
    log_probs: Float[Array, "B W"]
    following: Float[Array, "B W V"]  # log-probabilities of the next token


@dataclass(frozen=True, eq=False)
class Watched:
    """A model whose listener hears which hypotheses go on after each step.

    The first call is before any token. The log-probabilities are the model's own,
    without a rule's or a prefix's say. Under `jit` the calls come in any order.

    Attributes:
        vocab_size: of the model, whose logits it must hold.
        listener: is given the number of steps done, [], the tokens of the hypotheses,
            [B, W, T], and their log-probabilities in nats, [B, W].
    """

    model: Decodable
    vocab_size: int
    listener: Listener

    @property
    def pad_id(self) -> int:
        """The id of padding."""
        return self.model.pad_id

    @property
    def start_id(self) -> int:
        """The id that begins what is written."""
        return self.model.start_id

    @property
    def eos_id(self) -> int:
        """The id of the end of a sentence."""
        return self.model.eos_id

    def apply(self, variables: Any, *arguments: Any, method: str) -> Any:
        """Calls a method of the contract, and listens to what it is asked."""
        methods = {"start": self._start, "step": self._step, "reorder": self._reorder}
        if method in methods:
            return methods[method](variables, *arguments)
        return self.model.apply(variables, *arguments, method=method)

    def _start(self, variables, memory, width, max_length):
        own = self.model.apply(variables, memory, width, max_length, method="start")
        shape = num_rows(own), width
        return _Carry(
            own,
            jnp.full((*shape, max_length), self.pad_id, jnp.int32),
            jnp.zeros(shape),
            jnp.zeros((*shape, self.vocab_size)),
        )

    def _step(self, variables, memory, carry, tokens, position):
        gained = jnp.take_along_axis(carry.following, tokens[:, :, None], axis=2)[
            :, :, 0
        ]
        log_probs = carry.log_probs + gained
        # The token that the search gives now stands at the position before.
        written = carry.tokens.at[:, :, position - 1].set(tokens)
        written = jnp.where(position == 0, carry.tokens, written)
        jax.debug.callback(self.listener, position, written, log_probs)
        own, features = self.model.apply(
            variables, memory, carry.own, tokens, position, method="step"
        )
        logits = self.model.apply(variables, features, method="logits")
        following = jax.nn.log_softmax(logits.astype(jnp.float32))
        return _Carry(own, written, log_probs, following), features

    def _reorder(self, variables, carry, parents):
        own = self.model.apply(variables, carry.own, parents, method="reorder")
        kept = [take(leaf, parents) for leaf in carry[1:]]
        return _Carry(own, *kept)
