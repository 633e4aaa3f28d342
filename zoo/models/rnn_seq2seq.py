"""Recurrent encoder-decoder without attention: the bottleneck.

The source is read to its end, and all that the decoder knows of it is the final state
of the reader, a vector of fixed width however long the sentence. Cho et al. (2014),
"Learning Phrase Representations using RNN Encoder-Decoder", feed that vector to every
step and every output; Sutskever et al. (2014), "Sequence to Sequence Learning with
Neural Networks", stack LSTMs, read the source backwards and hand over the states alone.

Both differ here from their papers in the output, which is tied to the target embedding
behind a layer tanh(W[state; word]), Cho's with the summary too, in place of a matrix of
its own (Sutskever) or of a maxout (Cho); and Cho's decoder starts from the summary as
it is, not from a projection of it.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from zoo.layers.dropout import Dropout
from zoo.layers.embeddings import Embedding, Output
from zoo.layers.recurrent import RNN, GRUCell, LSTMCell, State, hidden
from zoo.models.configs import RNNConfig


class Memory(NamedTuple):
    """All that is left of a source: the final state of every layer of the reader."""

    states: tuple[State, ...]


class RNNSeq2Seq(nn.Module):
    """Recurrent encoder-decoder under the contract of `zoo.models.contract`.

    >>> model = build(RNNConfig(vocab_size=100, model_dim=8, cell="lstm"))
    >>> source, inputs = jnp.ones((2, 5), int), jnp.ones((2, 4), int)
    >>> arguments = jax.random.key(0), source, inputs
    >>> jax.eval_shape(model.init_with_output, *arguments)[0].shape  # [B, T, V]
    (2, 4, 100)

    Attributes:
        cell: makes one layer's cell.
        reverse_source: reads the source from its end.
        feed_context: gives the summary of the source to every step and output.
        dropout_rate: of embeddings and output features.
    """

    cell: Callable[[], nn.Module]
    vocab_size: int
    model_dim: int
    num_layers: int
    reverse_source: bool
    feed_context: bool
    dropout_rate: float
    pad_id: int = 0
    start_id: int = 1
    eos_id: int = 2

    def setup(self):
        self.source_embedding = Embedding(self.vocab_size, self.model_dim)
        self.target_embedding = Embedding(self.vocab_size, self.model_dim)
        self.encoder = RNN(self.cell, self.num_layers, self.reverse_source)
        self.decoder = [self.cell() for _ in range(self.num_layers)]
        self.combine = nn.Dense(self.model_dim)
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
        """Returns the output features under teacher forcing, before the output."""
        memory = self.encode(source, deterministic=deterministic)
        embedded = self.drop(self.target_embedding(inputs), deterministic=deterministic)
        states = self._with_context(embedded, memory).swapaxes(0, 1)  # [T, B, D]
        for cell, state in zip(self.decoder, memory.states, strict=True):
            step = cell.stepper()

            def one(state, projected, step=step):
                state = step(state, projected)
                return state, hidden(state)

            _, states = jax.lax.scan(one, state, cell.project(states))
        features = self._combine(states.swapaxes(0, 1), embedded, memory)
        return self.drop(features, deterministic=deterministic)

    def logits(self, features: Float[Array, "*axes D"]) -> Float[Array, "*axes V"]:
        """Scores the vocabulary with the target embedding's table."""
        return self.target_embedding.logits(features)

    def output(self) -> Output:
        """Returns what `logits` is made of, for losses that never hold all logits."""
        return self.target_embedding.output()

    def encode(
        self, source: Int[Array, "B S"], *, deterministic: bool = True
    ) -> Memory:
        """Reads the source and keeps the final states."""
        embedded = self.source_embedding(source)
        embedded = self.drop(embedded, deterministic=deterministic)
        _, finals = self.encoder(embedded, source != self.pad_id)
        return Memory(tuple(finals))

    def start(
        self, memory: Memory, num_hypotheses: int, max_length: int
    ) -> tuple[State, ...]:
        """Returns the decoder's first states: the reader's last ones."""
        return jax.tree.map(
            lambda leaf: jnp.repeat(leaf[:, None], num_hypotheses, axis=1),
            memory.states,
        )

    def step(
        self,
        memory: Memory,
        carry: tuple[State, ...],
        tokens: Int[Array, "B W"],
        position: Int[Array, ""],
    ) -> tuple[tuple[State, ...], Float[Array, "B W D"]]:
        """Returns the states and features after one more token of each hypothesis."""
        embedded = self.target_embedding(tokens)  # [B, W, D]
        states = self._with_context(embedded, memory)
        carries = []
        for cell, state in zip(self.decoder, carry, strict=True):
            state = cell.stepper()(state, cell.project(states))
            states = hidden(state)
            carries.append(state)
        return tuple(carries), self._combine(states, embedded, memory)

    def reorder(
        self, carry: tuple[State, ...], parents: Int[Array, "B W"]
    ) -> tuple[State, ...]:
        """Returns the states with hypothesis w continuing hypothesis parents[w]."""
        index = parents[:, :, None]
        return jax.tree.map(lambda leaf: jnp.take_along_axis(leaf, index, 1), carry)

    def _with_context(self, states, memory):
        """Joins the summary of the source to the states of every step or hypothesis."""
        if not self.feed_context:
            return states
        context = hidden(memory.states[-1])[:, None]
        context = jnp.broadcast_to(context, (*states.shape[:2], context.shape[-1]))
        return jnp.concatenate([states, context], axis=-1)

    def _combine(self, states, embedded, memory):
        joined = jnp.concatenate([states, embedded], axis=-1)
        return jnp.tanh(self.combine(self._with_context(joined, memory)))


def build(config: RNNConfig) -> RNNSeq2Seq:
    """Returns the module that a configuration describes."""
    cell = {"gru": GRUCell, "lstm": LSTMCell}[config.cell]
    return RNNSeq2Seq(
        cell=partial(cell, config.model_dim),
        vocab_size=config.vocab_size,
        model_dim=config.model_dim,
        num_layers=config.num_layers,
        reverse_source=config.reverse_source,
        feed_context=config.feed_context,
        dropout_rate=config.dropout_rate,
        pad_id=config.pad_id,
        start_id=config.start_id,
        eos_id=config.eos_id,
    )
