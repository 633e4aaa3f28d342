"""Blocks of the Transformer: attention and feed-forward, joined by residuals and norms.

Vaswani et al. (2017), sections 3.1 and 5.4. The parts (attention, feed-forward, norm)
are factories without arguments, so that another part is passed in, not switched on. How
a sublayer joins the stream is a plain function: `post_norm` as in the paper, `pre_norm`
as in Xiong et al. (2020), whose stacks end with one more norm.

A stack may keep of each block what enters it alone, and compute the rest once more for
the gradient (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"): a
third more work for the memory of one block instead of all.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import flax.linen as nn
import jax
from jaxtyping import Array, Bool, Float, Int

from zoo.errors import InputError
from zoo.layers.dropout import Dropout

Sublayer = Callable[[Array], Array]
# As products read them: keys are compared feature by feature, values mixed key by key.
# Their heads, N, may be fewer than those of the queries.
KeysValues = tuple[Float[Array, "B N E _"], Float[Array, "B N _ E"]]
Model = TypeVar("Model", bound=nn.Module)


def post_norm(inputs: Array, sublayer: Sublayer, norm: Sublayer) -> Array:
    """Returns norm(x + sublayer(x)) (Vaswani et al. 2017, section 3.1)."""
    return norm(inputs + sublayer(inputs))


def pre_norm(inputs: Array, sublayer: Sublayer, norm: Sublayer) -> Array:
    """Returns x + sublayer(norm(x)) (Xiong et al. 2020, table 1)."""
    return inputs + sublayer(norm(inputs))


class EncoderBlock(nn.Module):
    """Self-attention, then feed-forward.

    >>> from functools import partial
    >>> from zoo.layers.attention import MultiHeadAttention
    >>> from zoo.layers.feedforward import FeedForward
    >>> import jax.numpy as jnp
    >>> block = EncoderBlock(
    ...     attention=partial(MultiHeadAttention, model_dim=8, num_heads=2),
    ...     feed_forward=partial(FeedForward, model_dim=8, mlp_dim=16),
    ... )
    >>> arguments = jax.random.key(0), jnp.ones((1, 3, 8))
    >>> jax.eval_shape(block.init_with_output, *arguments)[0].shape  # [B, S, D]
    (1, 3, 8)

    Attributes:
        attention: makes the attention, for example a partial of MultiHeadAttention.
        feed_forward: makes the feed-forward part.
        norm: makes a norm.
        residual: `post_norm` or `pre_norm`.
        dropout_rate: of each sublayer's output, before it is added.
        remat: compute a call once more for its gradient, and keep nothing of it.
    """

    attention: Callable[[], nn.Module]
    feed_forward: Callable[[], nn.Module]
    norm: Callable[[], nn.Module] = nn.LayerNorm
    residual: Callable[[Array, Sublayer, Sublayer], Array] = post_norm
    dropout_rate: float = 0.0
    remat: bool = False

    def setup(self):
        self.self_attention = self.attention()
        self.self_attention_norm = self.norm()
        self.mlp = self.feed_forward()
        self.mlp_norm = self.norm()
        self.drop = Dropout(self.dropout_rate)

    def __call__(
        self,
        inputs: Float[Array, "B S D"],
        mask: Bool[Array, "#B #H #S #S"] | None = None,
        bias: Float[Array, "#B #H #S #S"] | None = None,
        *,
        positions: Int[Array, "#B S"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "B S D"]:
        """Returns the states after both sublayers.

        Args:
            bias: added to the scores of self-attention.
            positions: for an attention that rotates.
        """

        def run(block, inputs, mask, bias, positions):
            return block._sublayers(
                inputs, mask, bias, positions=positions, deterministic=deterministic
            )

        run = nn.remat(run) if self.remat else run
        return run(self, inputs, mask, bias, positions)

    def _sublayers(self, inputs, mask, bias, *, positions, deterministic):
        def look(states):
            context = self.self_attention(
                states,
                states,
                mask,
                bias,
                positions=positions,
                deterministic=deterministic,
            )
            return self.drop(context, deterministic=deterministic)

        def think(states):
            outputs = self.mlp(states, deterministic=deterministic)
            return self.drop(outputs, deterministic=deterministic)

        states = self.residual(inputs, look, self.self_attention_norm)
        return self.residual(states, think, self.mlp_norm)


class DecoderBlock(nn.Module):
    """Self-attention over the past, attention over the memory, then feed-forward.

    Takes a whole target at once (`__call__`, teacher forcing) or one token at a time
    (`step`, with a cache of keys and values). The attributes are EncoderBlock's.

    >>> from functools import partial
    >>> from zoo.layers.attention import MultiHeadAttention
    >>> from zoo.layers.feedforward import FeedForward
    >>> import jax.numpy as jnp
    >>> block = DecoderBlock(
    ...     attention=partial(MultiHeadAttention, model_dim=8, num_heads=2),
    ...     feed_forward=partial(FeedForward, model_dim=8, mlp_dim=16),
    ... )
    >>> memory = jnp.ones((1, 2, 4, 5)), jnp.ones((1, 2, 5, 4))  # keys and values
    >>> arguments = jax.random.key(0), jnp.ones((1, 3, 8)), memory, None, None
    >>> jax.eval_shape(block.init_with_output, *arguments)[0].shape  # [B, T, D]
    (1, 3, 8)
    """

    attention: Callable[[], nn.Module]
    feed_forward: Callable[[], nn.Module]
    norm: Callable[[], nn.Module] = nn.LayerNorm
    residual: Callable[[Array, Sublayer, Sublayer], Array] = post_norm
    dropout_rate: float = 0.0
    remat: bool = False

    def setup(self):
        self.self_attention = self.attention()
        self.self_attention_norm = self.norm()
        self.cross_attention = self.attention()
        self.cross_attention_norm = self.norm()
        self.mlp = self.feed_forward()
        self.mlp_norm = self.norm()
        self.drop = Dropout(self.dropout_rate)

    def memory(self, encoded: Float[Array, "B S D"]) -> KeysValues:
        """Projects the encoder's output to this block's keys and values, once."""
        return _stored(*self.cross_attention.keys_values(encoded))

    def __call__(
        self,
        inputs: Float[Array, "B T D"],
        memory: KeysValues,
        mask: Bool[Array, "#B #H #T #T"] | None,
        memory_mask: Bool[Array, "#B #H #T #S"] | None,
        bias: Float[Array, "#B #H #T #T"] | None = None,
        *,
        positions: Int[Array, "#B T"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "B T D"]:
        """Returns the states of a whole target.

        Args:
            memory: what `memory` returned for the encoder's output.
            mask: which target positions each one may see, causal as a rule.
            memory_mask: which source positions are tokens.
            bias: added to the scores of self-attention.
            positions: for an attention that rotates.
        """

        def run(block, inputs, memory, mask, memory_mask, bias, positions):
            def look_back(states):
                return block.self_attention(
                    states,
                    states,
                    mask,
                    bias,
                    positions=positions,
                    deterministic=deterministic,
                )

            return block._sublayers(
                inputs, look_back, memory, memory_mask, deterministic=deterministic
            )

        run = nn.remat(run) if self.remat else run
        return run(self, inputs, memory, mask, memory_mask, bias, positions)

    def step(
        self,
        inputs: Float[Array, "B W D"],
        cache: KeysValues,
        position: Int[Array, ""],
        visible: Bool[Array, "B 1 W K"],
        memory: KeysValues,
        memory_mask: Bool[Array, "#B #H #W #S"] | None,
        bias: Float[Array, "#B #H 1 K"] | None = None,
    ) -> tuple[Float[Array, "B W D"], KeysValues]:
        """Returns the states of the tokens at `position`, and the cache with them in.

        The hypotheses of a sentence are queries over one memory, and over one cache of
        what they all have written: K = T·W keys, W for each position. Keys are cached
        as they are compared: already rotated.

        Args:
            visible: which of the cache each hypothesis has written itself.
            bias: of a query at `position` and the keys of the whole cache.
        """
        here = position[None, None]
        place = position * inputs.shape[1]
        written = cache

        def look_back(states):
            nonlocal written
            news = _stored(*self.self_attention.keys_values(states, positions=here))
            written = tuple(
                jax.lax.dynamic_update_slice_in_dim(old, new, place, axis)
                for old, new, axis in zip(cache, news, (3, 2), strict=True)
            )
            return self.self_attention.attend(
                states, *_read(*written), visible, bias, positions=here
            )

        states = self._sublayers(
            inputs, look_back, memory, memory_mask, deterministic=True
        )
        return states, written

    def _sublayers(self, inputs, look_back, memory, memory_mask, *, deterministic):
        def look(states):
            return self.drop(look_back(states), deterministic=deterministic)

        def read(states):
            context = self.cross_attention.attend(
                states, *_read(*memory), memory_mask, deterministic=deterministic
            )
            return self.drop(context, deterministic=deterministic)

        def think(states):
            outputs = self.mlp(states, deterministic=deterministic)
            return self.drop(outputs, deterministic=deterministic)

        states = self.residual(inputs, look, self.self_attention_norm)
        states = self.residual(states, read, self.cross_attention_norm)
        return self.residual(states, think, self.mlp_norm)


def _stored(key: Array, value: Array) -> KeysValues:
    """Returns keys and values, [B, K, H, E], as they are stored."""
    return key.transpose(0, 2, 3, 1), value.transpose(0, 2, 1, 3)


def _read(key: Array, value: Array) -> tuple[Array, Array]:
    """Returns stored keys and values as an attention takes them, [B, K, H, E]."""
    return key.transpose(0, 3, 1, 2), value.transpose(0, 2, 1, 3)


def rematerialized(model: Model) -> Model:
    """Returns a model whose blocks keep nothing of a call for its gradient.

    Blocks are those of this file, or subclasses of them, that a field of the model
    makes by a partial; what else it has stays as it is.

    Raises:
        InputError: it has no blocks of this file.
    """
    blocks: dict[str, Any] = {
        field.name: partial(made, remat=True)
        for field in dataclasses.fields(model)
        if isinstance(made := getattr(model, field.name, None), partial)
        and isinstance(made.func, type)
        and issubclass(made.func, EncoderBlock | DecoderBlock)
    }
    if not blocks:
        raise InputError(
            f"{type(model).__name__} has no blocks of a Transformer to compute once "
            "more; leave --training.remat out"
        )
    return model.clone(**blocks)
