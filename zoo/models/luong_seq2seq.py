"""Recurrent encoder-decoder with attention after Luong: look, then speak.

Luong, Pham and Manning (2015), "Effective Approaches to Attention-based Neural Machine
Translation". The decoder first takes its step and then looks at the source with its new
state; what it saw and its state make the attentional vector, which speaks the word and,
by input feeding, enters the next step, so that the decoder knows where it has looked.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from zoo.layers.dropout import Dropout
from zoo.layers.embeddings import Embedding, Output
from zoo.layers.recurrent import RNN, LSTMCell, State, hidden
from zoo.layers.state_attention import (
    AdditiveAttention,
    DotAttention,
    GeneralAttention,
    StateAttention,
)
from zoo.models.configs import LuongConfig


class Memory(NamedTuple):
    """What the decoder reads of a source, and the states that it starts from."""

    keys: Float[Array, "B S A"]
    annotations: Float[Array, "B S D"]
    valid: Bool[Array, "B S"]
    states: tuple[State, ...]


class Carry(NamedTuple):
    """The state of every layer, and the attentional vector of the step before."""

    states: tuple[State, ...]
    feed: Float[Array, "B W D"]


class LuongSeq2Seq(nn.Module):
    """Encoder-decoder with Luong's attention, under `zoo.models.contract`.

    Differs from the paper in tying the output to the target embedding, and in its
    dropout.

    >>> model = build(LuongConfig(vocab_size=100, model_dim=8, score="general"))
    >>> source, inputs = jnp.ones((2, 5), int), jnp.ones((2, 4), int)
    >>> arguments = jax.random.key(0), source, inputs
    >>> jax.eval_shape(model.init_with_output, *arguments)[0].shape  # [B, T, V]
    (2, 4, 100)

    Attributes:
        look: the attention, one of `zoo.layers.state_attention`.
        cell: makes one layer's cell.
        dropout_rate: of embeddings and output features.
    """

    look: StateAttention
    cell: Callable[[], nn.Module]
    vocab_size: int
    model_dim: int
    num_layers: int
    dropout_rate: float
    pad_id: int = 0
    start_id: int = 1
    eos_id: int = 2

    def setup(self):
        xavier = nn.initializers.xavier_uniform()
        self.source_embedding = Embedding(self.vocab_size, self.model_dim)
        self.target_embedding = Embedding(self.vocab_size, self.model_dim)
        self.encoder = RNN(self.cell, self.num_layers, reverse=True)
        self.decoder = [self.cell() for _ in range(self.num_layers)]
        # The part of the first layer's input matrix that meets the fed vector.
        self.feed_kernel = self.param(
            "feed_kernel",
            xavier,
            (self.model_dim, self.decoder[0].num_gates * self.model_dim),
        )
        self.combine_kernel = self.param(
            "combine_kernel", xavier, (2 * self.model_dim, self.model_dim)
        )
        self.drop = Dropout(self.dropout_rate)

    def __call__(
        self,
        source: Int[Array, "B S"],
        inputs: Int[Array, "B T"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "B T V"]:
        """Returns the logits of every next token, given the true ones before it."""
        return self.logits(self.features(source, inputs, deterministic=deterministic))

    def features(
        self,
        source: Int[Array, "B S"],
        inputs: Int[Array, "B T"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "B T D"]:
        """Returns the attentional vectors under teacher forcing.

        Sows the attention weights, [B, 1, T, S], as "weights" into "intermediates".
        """
        memory = self.encode(source, deterministic=deterministic)
        embedded = self.drop(self.target_embedding(inputs), deterministic=deterministic)
        step = self._stepper(memory)

        def one(carry, projected):
            carry, weights = step(carry, projected[:, None])
            return carry, (carry.feed[:, 0], weights[:, 0])

        projected = self.decoder[0].project(embedded.swapaxes(0, 1))  # [T, B, G]
        carry = self.start(memory, 1, inputs.shape[1])
        _, (features, weights) = jax.lax.scan(one, carry, projected)
        self.sow("intermediates", "weights", weights.swapaxes(0, 1)[:, None])
        return self.drop(features.swapaxes(0, 1), deterministic=deterministic)

    def logits(self, features: Float[Array, "*axes D"]) -> Float[Array, "*axes V"]:
        """Scores the vocabulary with the target embedding's table."""
        return self.target_embedding.logits(features)

    def output(self) -> Output:
        """Returns what `logits` is made of, for losses that never hold all logits."""
        return self.target_embedding.output()

    def encode(
        self, source: Int[Array, "B S"], *, deterministic: bool = True
    ) -> Memory:
        """Reads the source from its end (section 4.2); the top layer is looked at."""
        valid = source != self.pad_id
        embedded = self.source_embedding(source)
        embedded = self.drop(embedded, deterministic=deterministic)
        annotations, finals = self.encoder(embedded, valid)
        return Memory(self.look.keys(annotations), annotations, valid, tuple(finals))

    def start(self, memory: Memory, num_hypotheses: int, max_length: int) -> Carry:
        """Returns the reader's last states, and nothing seen yet, per hypothesis."""
        states = jax.tree.map(
            lambda leaf: jnp.repeat(leaf[:, None], num_hypotheses, axis=1),
            memory.states,
        )
        return Carry(states, jnp.zeros_like(hidden(states[-1])))

    def step(
        self,
        memory: Memory,
        carry: Carry,
        tokens: Int[Array, "B W"],
        position: Int[Array, ""],
    ) -> tuple[Carry, Float[Array, "B W D"]]:
        """Returns the states and features after one more token of each hypothesis."""
        projected = self.decoder[0].project(self.target_embedding(tokens))
        carry, _ = self._stepper(memory)(carry, projected)
        return carry, carry.feed

    def reorder(self, carry: Carry, parents: Int[Array, "B W"]) -> Carry:
        """Returns the states with hypothesis w continuing hypothesis parents[w]."""
        index = parents[:, :, None]
        return jax.tree.map(lambda leaf: jnp.take_along_axis(leaf, index, 1), carry)

    def _stepper(self, memory):
        """Returns one step as a function of arrays, safe inside `jax.lax.scan`."""
        look, kernel, combine = (
            self.look.looker(),
            self.feed_kernel,
            self.combine_kernel,
        )
        steppers = [cell.stepper() for cell in self.decoder]
        projectors = [cell.projector(self.model_dim) for cell in self.decoder[1:]]

        def step(carry, projected):
            state = steppers[0](carry.states[0], projected + carry.feed @ kernel)
            states = [state]
            for stepper, project, old in zip(
                steppers[1:], projectors, carry.states[1:], strict=True
            ):
                states.append(stepper(old, project(hidden(states[-1]))))
            top = hidden(states[-1])
            context, weights = look(top, memory.keys, memory.annotations, memory.valid)
            both = jnp.concatenate([context, top], axis=-1)
            feed = jnp.tanh(both @ combine)  # equation 5
            return Carry(tuple(states), feed), weights

        return step


def build(config: LuongConfig) -> LuongSeq2Seq:
    """Returns the module that a configuration describes."""
    width = config.model_dim
    attentions = {
        "dot": DotAttention(),
        "general": GeneralAttention(width),
        "concat": AdditiveAttention(width, width),
    }
    return LuongSeq2Seq(
        look=attentions[config.score],
        cell=partial(LSTMCell, width),
        vocab_size=config.vocab_size,
        model_dim=width,
        num_layers=config.num_layers,
        dropout_rate=config.dropout_rate,
        pad_id=config.pad_id,
        start_id=config.start_id,
        eos_id=config.eos_id,
    )
