"""The Transformer: an encoder and a decoder of attention, without recurrence.

Vaswani et al. (2017), "Attention Is All You Need". The norms stand after the residuals,
and one table embeds both sides and scores the output. The positions are the paper's
sinusoids or one of their successors; see `zoo.layers.positions`.

To try another part, copy `build` and pass it: the modules below never ask which
attention, feed-forward, norm or residual they were given. What a model has once is
passed as the module itself, what it has several times as what makes it.
"""

from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from zoo.layers.attention import MultiHeadAttention
from zoo.layers.blocks import DecoderBlock, EncoderBlock, KeysValues
from zoo.layers.dropout import Dropout
from zoo.layers.embeddings import Embedding, Output
from zoo.layers.feedforward import FeedForward
from zoo.layers.masks import Packing, causal_mask, padding_mask, segment_mask
from zoo.layers.positions import (
    AlibiPositions,
    LearnedPositions,
    Positions,
    RelativePositions,
    SinusoidalPositions,
    rotate,
)
from zoo.models.configs import TransformerConfig


class Memory(NamedTuple):
    """What the decoder reads of a source: each layer's keys and values, and where."""

    layers: tuple[KeysValues, ...]
    valid: Bool[Array, "B S"]


class Past(NamedTuple):
    """What the hypotheses of a sentence have written.

    Attributes:
        ancestors: the number that each hypothesis had when it wrote each position.
        caches: each layer's keys and values, [B, N, E, TW] and [B, N, TW, E], of as
            many heads as the keys have; those of all hypotheses at one position stand
            beside each other.
    """

    ancestors: Int[Array, "B W T"]
    caches: tuple[KeysValues, ...]


def no_norm() -> Callable[[Array], Array]:
    """Returns what leaves states as they are."""
    return lambda states: states


class Transformer(nn.Module):
    """Encoder-decoder Transformer under the contract of `zoo.models.contract`.

    >>> import jax
    >>> sizes = {"model_dim": 8, "mlp_dim": 16, "num_heads": 2, "num_layers": 1}
    >>> model = build(TransformerConfig(vocab_size=100, **sizes))
    >>> source, inputs = jnp.ones((2, 5), int), jnp.ones((2, 4), int)
    >>> arguments = jax.random.key(0), source, inputs
    >>> jax.eval_shape(model.init_with_output, *arguments)[0].shape  # [B, T, V]
    (2, 4, 100)

    Attributes:
        encoder_block: makes one block of the encoder.
        decoder_block: makes one block of the decoder.
        embedding: embeds both sides and scores the output.
        source_positions: where the tokens of a source stand.
        target_positions: where the tokens of a target stand; a learned table that is
            the same object on both sides is one table.
        dropout_rate: of the embeddings.
        num_decoder_layers: None for as many as the encoder has.
        source_embedding: embeds the source, if `embedding` does not.
        zero_start: the decoder reads zeros in the place of the start token.
        final_norm: makes the norm at the end of a stack, for blocks with `pre_norm`.
        embedding_norm: makes the norm of the embeddings of a side, positions included.
    """

    encoder_block: Callable[[], nn.Module]
    decoder_block: Callable[[], nn.Module]
    embedding: Embedding
    source_positions: Positions
    target_positions: Positions
    num_layers: int
    dropout_rate: float
    pad_id: int = 0
    start_id: int = 1
    eos_id: int = 2
    num_decoder_layers: int | None = None
    source_embedding: Embedding | None = None
    zero_start: bool = False
    final_norm: Callable[[], Callable] = no_norm
    embedding_norm: Callable[[], Callable] = no_norm

    @property
    def vocab_size(self) -> int:
        """Returns how many tokens the model scores."""
        return self.embedding.vocab_size

    @property
    def model_dim(self) -> int:
        """Returns the width of the states."""
        return self.embedding.model_dim

    def setup(self):
        self.encoder = [self.encoder_block() for _ in range(self.num_layers)]
        num_decoder_layers = self.num_decoder_layers or self.num_layers
        self.decoder = [self.decoder_block() for _ in range(num_decoder_layers)]
        self.encoder_norm = self.final_norm()
        self.decoder_norm = self.final_norm()
        self.source_norm = self.embedding_norm()
        self.target_norm = self.embedding_norm()
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
        packing: Packing | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "B T D"]:
        """Returns the decoder's states under teacher forcing, before the output.

        Args:
            packing: where the pairs of each row lie, if rows hold several; they come
                out as they would in rows of their own. None is one pair a row.
        """
        memory = self.encode(source, packing=packing, deterministic=deterministic)
        return self.write(memory, inputs, packing=packing, deterministic=deterministic)

    def write(
        self,
        memory: Memory,
        inputs: Int[Array, "B T"],
        *,
        packing: Packing | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "B T D"]:
        """Returns the features of targets, whatever has been read for them."""
        places = jnp.arange(inputs.shape[1])
        mask = causal_mask(len(places))
        if packing is None:
            positions, memory_mask = places[None], padding_mask(memory.valid)
        else:
            segments, positions = packing.target_segments, packing.target_positions
            mask = mask & segment_mask(segments, segments)
            memory_mask = segment_mask(segments, packing.source_segments)
        self.target_positions.check(len(places))
        # Within a segment, places differ as positions do.
        bias = self.target_positions.bias(places, places)
        states = self._embed_target(inputs, positions)
        states = self.drop(states, deterministic=deterministic)
        for block, layer in zip(self.decoder, memory.layers, strict=True):
            states = block(
                states,
                layer,
                mask,
                memory_mask,
                bias,
                positions=positions,
                deterministic=deterministic,
            )
        return self.decoder_norm(states)

    def logits(self, features: Float[Array, "*axes D"]) -> Float[Array, "*axes V"]:
        """Scores the vocabulary, as a rule with the table that embeds."""
        return self.embedding.logits(features)

    def output(self) -> Output:
        """Returns what `logits` is made of, for losses that never hold all logits."""
        return self.embedding.output()

    def encode(
        self,
        source: Int[Array, "B S"],
        *,
        packing: Packing | None = None,
        deterministic: bool = True,
    ) -> Memory:
        """Reads the source and projects what every decoder layer will look at."""
        valid = source != self.pad_id
        places = jnp.arange(source.shape[1])
        if packing is None:
            positions, mask = places[None], padding_mask(valid)
        else:
            segments, positions = packing.source_segments, packing.source_positions
            mask = segment_mask(segments, segments)
        self.source_positions.check(len(places))
        bias = self.source_positions.bias(places, places)
        states = (self.source_embedding or self.embedding)(source)
        states = self.source_norm(self.source_positions.embed(states, positions))
        return self._memory(states, valid, mask, bias, positions, deterministic)

    def _memory(self, states, valid, mask, bias, positions, deterministic) -> Memory:
        """Returns what the encoder makes of embedded states."""
        states = self.drop(states, deterministic=deterministic)
        for block in self.encoder:
            states = block(
                states,
                mask,
                bias,
                positions=positions,
                deterministic=deterministic,
            )
        states = self.encoder_norm(states)
        return Memory(tuple(block.memory(states) for block in self.decoder), valid)

    def start(self, memory: Memory, num_hypotheses: int, max_length: int) -> Past:
        """Returns empty caches."""
        self.target_positions.check(max_length)
        key, _ = memory.layers[0]
        batch, num_heads, head_dim, _ = key.shape
        num_keys = max_length * num_hypotheses
        keys = jnp.zeros((batch, num_heads, head_dim, num_keys), key.dtype)
        ancestors = jnp.zeros((batch, num_hypotheses, max_length), jnp.int32)
        return Past(ancestors, ((keys, keys.swapaxes(2, 3)),) * len(memory.layers))

    def step(
        self,
        memory: Memory,
        carry: Past,
        tokens: Int[Array, "B W"],
        position: Int[Array, ""],
    ) -> tuple[Past, Float[Array, "B W D"]]:
        """Returns the past and the states after one more token of every hypothesis."""
        width, max_length = carry.ancestors.shape[1:]
        states = self._embed_target(tokens, position[None, None])
        ancestors = carry.ancestors.at[:, :, position].set(jnp.arange(width))
        visible = _written_by(ancestors, position)
        bias = self.target_positions.bias(position[None], jnp.arange(max_length))
        if bias is not None:
            bias = jnp.repeat(bias, width, axis=3)  # [1, H, 1, TW]
        caches = []
        for block, layer, cache in zip(
            self.decoder, memory.layers, carry.caches, strict=True
        ):
            states, cache = block.step(
                states,
                cache,
                position,
                visible,
                layer,
                padding_mask(memory.valid),
                bias,
            )
            caches.append(cache)
        return Past(ancestors, tuple(caches)), self.decoder_norm(states)

    def reorder(self, carry: Past, parents: Int[Array, "B W"]) -> Past:
        """Returns the past with hypothesis w continuing hypothesis parents[w].

        Caches stay where they are: only who wrote what is handed down.
        """
        index = parents[:, :, None]
        return carry._replace(
            ancestors=jnp.take_along_axis(carry.ancestors, index, axis=1)
        )

    def _embed_target(self, tokens, positions):
        states = self.embedding(tokens)
        if self.zero_start:
            states = jnp.where((tokens == self.start_id)[..., None], 0, states)
        return self.target_norm(self.target_positions.embed(states, positions))


def _written_by(
    ancestors: Int[Array, "B W T"], position: Int[Array, ""]
) -> Bool[Array, "B 1 W K"]:
    """Returns which of the keys at T positions, W at each, a hypothesis has written."""
    batch, width, max_length = ancestors.shape
    own = ancestors[:, :, :, None] == jnp.arange(width)
    own &= (jnp.arange(max_length) <= position)[:, None]
    return own.reshape(batch, 1, width, max_length * width)


ACTIVATIONS = {
    "relu": nn.relu,
    "silu": nn.silu,
    "gelu": partial(nn.gelu, approximate=False),
}


def block_parts(config: Any, activation: str = "relu") -> dict[str, Any]:
    """Returns the parts of a block as in Vaswani et al. (2017), by name.

    Args:
        config: what has the sizes and rates of a Transformer.
        activation: of the feed-forward part, a key of ACTIVATIONS.
    """
    return {
        "attention": partial(
            MultiHeadAttention,
            config.model_dim,
            config.num_heads,
            config.attention_dropout_rate,
        ),
        "feed_forward": partial(
            FeedForward, config.model_dim, config.mlp_dim, ACTIVATIONS[activation]
        ),
        "norm": partial(nn.LayerNorm, epsilon=1e-5),
        "dropout_rate": config.dropout_rate,
    }


def fields_of(
    config: Any,
    parts: dict[str, Any],
    embedding: Callable[[int, int], Embedding] = Embedding,
) -> dict[str, Any]:
    """Returns the fields of a Transformer that are alike in every family.

    Args:
        config: of any family; what it has by the name of a field is that field.
        parts: of a block of either side.
        embedding: makes the table of so many tokens and such a width.
    """
    names = {field.name for field in fields(Transformer)}
    return {
        "encoder_block": partial(EncoderBlock, **parts),
        "decoder_block": partial(DecoderBlock, **parts),
        "embedding": embedding(config.vocab_size, config.model_dim),
        **{name: value for name, value in asdict(config).items() if name in names},
    }


def build(config: TransformerConfig) -> Transformer:
    """Returns the module that a configuration describes."""
    parts = block_parts(config)
    if config.positions == "rotary":
        parts["attention"] = partial(parts["attention"], rotate=rotate)
    return Transformer(
        source_positions=_positions(config, bidirectional=True),
        target_positions=_positions(config, bidirectional=False),
        **fields_of(config, parts),
    )


def _positions(config: TransformerConfig, *, bidirectional: bool) -> Positions:
    """Returns the positions of one side."""
    make: Callable[[], Positions] = {
        "sinusoidal": SinusoidalPositions,
        "learned": partial(LearnedPositions, config.model_dim, config.max_positions),
        "rotary": Positions,
        "relative": partial(RelativePositions, config.num_heads, bidirectional),
        "alibi": partial(AlibiPositions, config.num_heads),
    }[config.positions]
    return make()
