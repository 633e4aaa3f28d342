"""Recurrent encoder-decoder with attention: the way around the bottleneck.

Bahdanau, Cho and Bengio (2015), "Neural Machine Translation by Jointly Learning to
Align and Translate". The reader keeps its state at every source token, an annotation,
and before each word the decoder looks at all of them and takes what it needs.
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
from zoo.layers.recurrent import BidirectionalRNN, GRUCell, State, hidden
from zoo.layers.state_attention import AdditiveAttention, StateAttention
from zoo.models.configs import BahdanauConfig


class Memory(NamedTuple):
    """What the decoder reads of a source, and the state that it starts from."""

    keys: Float[Array, "B S A"]
    annotations: Float[Array, "B S M"]
    valid: Bool[Array, "B S"]
    first_state: Float[Array, "B D"]


class BahdanauSeq2Seq(nn.Module):
    """Encoder-decoder with additive attention, under `zoo.models.contract`.

    Differs from the paper in tying the output to the target embedding, for which the
    maxout output is as wide as the embedding; in reading the output from the new state
    and not from the one before it; in a reset gate that acts after the product, as in
    torch; and in its dropout.

    >>> model = build(BahdanauConfig(vocab_size=100, model_dim=8, attention_dim=6))
    >>> source, inputs = jnp.ones((2, 5), int), jnp.ones((2, 4), int)
    >>> arguments = jax.random.key(0), source, inputs
    >>> jax.eval_shape(model.init_with_output, *arguments)[0].shape  # [B, T, V]
    (2, 4, 100)

    Attributes:
        attention: one of `zoo.layers.state_attention`, over annotations of width 2D.
        cell: makes the cell of the decoder and of each direction of the reader.
        dropout_rate: of embeddings and output features.
    """

    attention: StateAttention
    cell: Callable[[], nn.Module]
    vocab_size: int
    model_dim: int
    dropout_rate: float
    pad_id: int = 0
    start_id: int = 1
    eos_id: int = 2

    def setup(self):
        width = self.model_dim
        xavier = nn.initializers.xavier_uniform()
        self.source_embedding = Embedding(self.vocab_size, width)
        self.target_embedding = Embedding(self.vocab_size, width)
        self.encoder = BidirectionalRNN(self.cell)
        self.bridge = nn.Dense(width, kernel_init=xavier)
        self.decoder = self.cell()
        # The part of the cell's input matrix that meets the context.
        self.context_kernel = self.param(
            "context_kernel", xavier, (2 * width, self.decoder.num_gates * width)
        )
        self.combine = nn.Dense(2 * width, kernel_init=xavier)
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
        """Returns the output features under teacher forcing, before the output.

        Sows the attention weights, [B, 1, T, S], as "weights" into "intermediates".
        """
        memory = self.encode(source, deterministic=deterministic)
        embedded = self.drop(self.target_embedding(inputs), deterministic=deterministic)
        step = self._stepper(memory)

        def one(state, projected):
            state, context, weights = step(state, projected[:, None])
            return state, (hidden(state)[:, 0], context[:, 0], weights[:, 0])

        projected = self.decoder.project(embedded.swapaxes(0, 1))  # [T, B, gates · D]
        first = self.decoder.state(memory.first_state[:, None])
        _, outputs = jax.lax.scan(one, first, projected)
        states, contexts, weights = (leaf.swapaxes(0, 1) for leaf in outputs)
        self.sow("intermediates", "weights", weights[:, None])  # [B, 1, T, S]
        features = self._combine(states, embedded, contexts)
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
        """Reads the source both ways and projects its annotations to keys.

        The first state comes from the backward reader, which has just read the first
        word (Bahdanau et al. 2015, appendix A.2.2).
        """
        valid = source != self.pad_id
        embedded = self.source_embedding(source)
        embedded = self.drop(embedded, deterministic=deterministic)
        annotations, (_, backward) = self.encoder(embedded, valid)
        first_state = jnp.tanh(self.bridge(hidden(backward)))
        return Memory(self.attention.keys(annotations), annotations, valid, first_state)

    def start(self, memory: Memory, num_hypotheses: int, max_length: int) -> State:
        """Returns the decoder's first state for every hypothesis."""
        first = jnp.repeat(memory.first_state[:, None], num_hypotheses, axis=1)
        return self.decoder.state(first)  # leaves [B, W, D]

    def step(
        self,
        memory: Memory,
        carry: State,
        tokens: Int[Array, "B W"],
        position: Int[Array, ""],
    ) -> tuple[State, Float[Array, "B W D"]]:
        """Returns the states and features after one more token of each hypothesis."""
        embedded = self.target_embedding(tokens)
        projected = self.decoder.project(embedded)
        state, context, _ = self._stepper(memory)(carry, projected)
        return state, self._combine(hidden(state), embedded, context)

    def reorder(self, carry: State, parents: Int[Array, "B W"]) -> State:
        """Returns the states with hypothesis w continuing hypothesis parents[w]."""
        index = parents[:, :, None]
        return jax.tree.map(lambda leaf: jnp.take_along_axis(leaf, index, 1), carry)

    def _stepper(self, memory):
        """Returns one step as a function of arrays, safe inside `jax.lax.scan`."""
        look, advance, kernel = (
            self.attention.looker(),
            self.decoder.stepper(),
            self.context_kernel,
        )

        def step(state, projected):
            context, weights = look(
                hidden(state), memory.keys, memory.annotations, memory.valid
            )
            state = advance(state, projected + context @ kernel)
            return state, context, weights

        return step

    def _combine(self, states, embedded, contexts):
        """Maxout over pairs (Bahdanau et al. 2015, appendix A.2.2)."""
        joined = jnp.concatenate([states, embedded, contexts], axis=-1)
        pairs = self.combine(joined).reshape(*states.shape, 2)
        return pairs.max(axis=-1)


def build(config: BahdanauConfig) -> BahdanauSeq2Seq:
    """Returns the module that a configuration describes."""
    width = config.model_dim
    return BahdanauSeq2Seq(
        attention=AdditiveAttention(width, config.attention_dim),
        cell=partial(GRUCell, width),
        vocab_size=config.vocab_size,
        model_dim=width,
        dropout_rate=config.dropout_rate,
        pad_id=config.pad_id,
        start_id=config.start_id,
        eos_id=config.eos_id,
    )
