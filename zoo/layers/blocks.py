"""Blocks of the Transformer: attention and feed-forward, joined by residuals and norms.

Vaswani et al. (2017), sections 3.1 and 5.4. The parts (attention, feed-forward, norm)
are factories without arguments, so that another part is passed in, not switched on. How
a sublayer joins the stream is a plain function: `post_norm` as in the paper, `pre_norm`
as in Xiong et al. (2020), whose stacks end with one more norm.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from zoo.layers.dropout import Dropout

Sublayer = Callable[[Array], Array]
KeysValues = tuple[Float[Array, "B K H E"], Float[Array, "B K H E"]]
Cache = tuple[Float[Array, "B W T H E"], Float[Array, "B W T H E"]]


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
    """

    attention: Callable[[], nn.Module]
    feed_forward: Callable[[], nn.Module]
    norm: Callable[[], nn.Module] = nn.LayerNorm
    residual: Callable[[Array, Sublayer, Sublayer], Array] = post_norm
    dropout_rate: float = 0.0

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
    >>> block = DecoderBlock(
    ...     attention=partial(MultiHeadAttention, model_dim=8, num_heads=2),
    ...     feed_forward=partial(FeedForward, model_dim=8, mlp_dim=16),
    ... )
    >>> memory = jnp.ones((1, 5, 2, 4)), jnp.ones((1, 5, 2, 4))  # keys and values
    >>> arguments = jax.random.key(0), jnp.ones((1, 3, 8)), memory, None, None
    >>> jax.eval_shape(block.init_with_output, *arguments)[0].shape  # [B, T, D]
    (1, 3, 8)
    """

    attention: Callable[[], nn.Module]
    feed_forward: Callable[[], nn.Module]
    norm: Callable[[], nn.Module] = nn.LayerNorm
    residual: Callable[[Array, Sublayer, Sublayer], Array] = post_norm
    dropout_rate: float = 0.0

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
        return self.cross_attention.keys_values(encoded)

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

        def look_back(states):
            return self.self_attention(
                states,
                states,
                mask,
                bias,
                positions=positions,
                deterministic=deterministic,
            )

        return self._sublayers(
            inputs, look_back, memory, memory_mask, deterministic=deterministic
        )

    def step(
        self,
        inputs: Float[Array, "B W D"],
        cache: Cache,
        position: Int[Array, ""],
        memory: KeysValues,
        memory_mask: Bool[Array, "#B #H #W #S"] | None,
        bias: Float[Array, "#B #H 1 T"] | None = None,
    ) -> tuple[Float[Array, "B W D"], Cache]:
        """Returns the states of the tokens at `position`, and the cache with them in.

        In self-attention a hypothesis is a sentence of its own; in cross-attention the
        hypotheses of a sentence are queries over one memory, which is never tiled. Keys
        are cached as they are compared: already rotated.

        Args:
            bias: of a query at `position` and the keys of the whole cache.
        """
        *batch, max_length, num_heads, head_dim = cache[0].shape
        seen = (jnp.arange(max_length) <= position)[None, None, None, :]
        here = position[None, None]
        written = cache

        def look_back(states):
            nonlocal written
            news = self.self_attention.keys_values(states, positions=here)
            written = tuple(
                jax.lax.dynamic_update_slice_in_dim(old, new[:, :, None], position, 2)
                for old, new in zip(cache, news, strict=True)
            )
            key, value = (
                entry.reshape(-1, max_length, num_heads, head_dim) for entry in written
            )  # [BW, T, H, E]
            queries = states.reshape(-1, 1, states.shape[-1])  # [BW, 1, D]
            context = self.self_attention.attend(
                queries, key, value, seen, bias, positions=here
            )
            return context.reshape(*batch, -1)  # [B, W, D]

        states = self._sublayers(
            inputs, look_back, memory, memory_mask, deterministic=True
        )
        return states, written

    def _sublayers(self, inputs, look_back, memory, memory_mask, *, deterministic):
        def look(states):
            return self.drop(look_back(states), deterministic=deterministic)

        def read(states):
            context = self.cross_attention.attend(
                states, *memory, memory_mask, deterministic=deterministic
            )
            return self.drop(context, deterministic=deterministic)

        def think(states):
            outputs = self.mlp(states, deterministic=deterministic)
            return self.drop(outputs, deterministic=deterministic)

        states = self.residual(inputs, look, self.self_attention_norm)
        states = self.residual(states, read, self.cross_attention_norm)
        return self.residual(states, think, self.mlp_norm)
