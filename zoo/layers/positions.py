"""Positions: how attention, which sees a set, learns that its keys have an order.

There are three places to say where a token stands. Absolute positions are added to the
embeddings (sinusoids, a learned table). Rotary positions turn queries and keys, so that
their product depends on the distance between them. Relative biases are added to the
scores (T5, ALiBi). The functions are the mathematics; the modules below them are what a
stack of blocks asks, `embed` and `bias`, and each answers one of the two. The rotary
one is asked by the attention itself, see `zoo.layers.attention.MultiHeadAttention`.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from zoo.layers.embeddings import rows


def sinusoidal_positions(
    positions: Int[Array, "*axes"], model_dim: int
) -> Float[Array, "*axes D"]:
    """Returns sines and cosines of the positions at D/2 wavelengths from 2π upwards.

    Vaswani et al. (2017), section 3.5, with the sines in the first half of the features
    and the cosines in the second; the paper interleaves them, which differs by a
    permutation of the features only. The longest wavelength is a little short of
    10000·2π.

    Raises:
        ValueError: `model_dim` is odd.
    """
    angles = _angles(positions, model_dim)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def fairseq_positions(
    positions: Int[Array, "*axes"], model_dim: int
) -> Float[Array, "*axes D"]:
    """Returns sines and cosines at D/2 wavelengths of 2π to 10000·2π, both included.

    So Tensor2Tensor (Vaswani et al. 2018) and fairseq (Ott et al. 2019) have them.

    Raises:
        ValueError: `model_dim` is odd.
    """
    _require_even(model_dim)
    half = model_dim // 2
    exponents = jnp.arange(half, dtype=jnp.float32) / max(half - 1, 1)
    angles = positions[..., None] / 10_000.0**exponents
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def rotate(
    heads: Float[Array, "*axes H E"], positions: Int[Array, "*#axes"]
) -> Float[Array, "*axes H E"]:
    """Turns queries or keys by angles that grow with their position.

    Su et al. (2021), "RoFormer", equation 34. The product of a query and a key that are
    turned depends on the distance of their positions only. Feature i is paired with
    feature i + E/2, as in GPT-NeoX and Llama; the paper pairs neighbours, which differs
    by a permutation of the features only.

    Raises:
        ValueError: the heads have an odd width.
    """
    angles = _angles(positions, heads.shape[-1])[..., None, :]  # [..., 1, E/2]
    cosine, sine = jnp.cos(angles), jnp.sin(angles)
    first, second = jnp.split(heads.astype(jnp.float32), 2, axis=-1)
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    return jnp.concatenate(turned, axis=-1).astype(heads.dtype)


def _require_even(width):
    if width % 2:
        raise ValueError(f"sines and cosines of positions need an even width, {width=}")


def _angles(positions, width):
    _require_even(width)
    exponents = jnp.arange(width // 2, dtype=jnp.float32) * 2 / width
    return positions[..., None] / 10_000.0**exponents


def distance_buckets(
    distances: Int[Array, "*axes"],
    num_buckets: int,
    max_distance: int,
    *,
    bidirectional: bool,
) -> Int[Array, "*axes"]:
    """Returns the number of the bucket that a distance falls into.

    Raffel et al. (2020), "T5", section 2.1: half of the buckets hold one distance each,
    the other half grow with its logarithm up to `max_distance`, and all that is farther
    shares the last one.

    Args:
        distances: position of the key minus position of the query.
        bidirectional: whether half of the buckets are for keys after the query; else
            those count as distance zero.
    """
    first = 0
    if bidirectional:
        num_buckets //= 2
        first = jnp.where(distances > 0, num_buckets, 0)
        distances = jnp.abs(distances)
    else:
        distances = jnp.maximum(-distances, 0)
    exact = num_buckets // 2
    ratio = jnp.maximum(distances, exact).astype(jnp.float32) / exact
    steps = jnp.log(ratio) / math.log(max_distance / exact) * (num_buckets - exact)
    far = jnp.minimum(exact + steps.astype(jnp.int32), num_buckets - 1)
    return first + jnp.where(distances < exact, distances, far)


def alibi_slopes(num_heads: int) -> Float[Array, " H"]:
    """Returns how fast each head's attention falls with distance.

    Press et al. (2022), "Train Short, Test Long", section 3: 2^(-8/H), 2^(-16/H), … for
    a power of two; for other numbers the slopes of the power below, and then every
    second one of the power above, as in the authors' code.
    """
    below = 2 ** int(math.log2(num_heads))
    slopes = [2 ** (-8 * (i + 1) / below) for i in range(below)]
    between = [2 ** (-4 * (i + 1) / below) for i in range(0, 2 * below, 2)]
    return jnp.array(slopes + between[: num_heads - below])


def alibi_bias(
    queries: Int[Array, " Q"], keys: Int[Array, " K"], num_heads: int
) -> Float[Array, "1 H Q K"]:
    """Returns -slope times the distance of positions (Press et al. 2022, section 3).

    The paper has causal attention; keys after the query count alike here.
    """
    distances = jnp.abs(keys[None, :] - queries[:, None])
    return (-alibi_slopes(num_heads)[:, None, None] * distances)[None]


class Positions(nn.Module):
    """No positions: the questions of a stack, and the answer that says nothing.

    >>> states, places = jnp.zeros((1, 3, 8)), jnp.arange(3)[None]
    >>> Positions().apply({}, states, places, method="embed") is states
    True
    """

    def embed(
        self, states: Float[Array, "*axes D"], positions: Int[Array, "*#axes"]
    ) -> Float[Array, "*axes D"]:
        """Returns the embeddings with their positions in them."""
        return states

    def bias(
        self, queries: Int[Array, " Q"], keys: Int[Array, " K"]
    ) -> Float[Array, "1 H Q K"] | None:
        """Returns what is added to the scores of self-attention."""
        return None

    def check(self, length: int) -> None:
        """Raises ValueError if there are no positions for so long a sentence."""


class SinusoidalPositions(Positions):
    """Sinusoids added to the embeddings; see `sinusoidal_positions`.

    >>> states, places = jnp.zeros((1, 3, 8)), jnp.arange(3)[None]
    >>> SinusoidalPositions().apply({}, states, places, method="embed").shape
    (1, 3, 8)
    """

    def embed(self, states, positions):
        sinusoids = sinusoidal_positions(positions, states.shape[-1])
        return states + sinusoids.astype(states.dtype)


class FairseqPositions(Positions):
    """Sinusoids added to the embeddings; see `fairseq_positions`.

    >>> states, places = jnp.zeros((1, 3, 8)), jnp.arange(3)
    >>> FairseqPositions(first=2).apply({}, states, places, method="embed").shape
    (1, 3, 8)

    Attributes:
        first: position of the first token; fairseq counts from padding's id plus one.
    """

    first: int

    def embed(self, states, positions):
        sinusoids = fairseq_positions(self.first + positions, states.shape[-1])
        return states + sinusoids.astype(states.dtype)


class LearnedPositions(Positions):
    """A learned vector for every position, added to the embeddings.

    Gehring et al. (2017), "Convolutional Sequence to Sequence Learning", section 3.1;
    drawn from N(0, 1/D) as in fairseq. A position beyond the table would silently get
    the last vector, so `check` refuses it.

    >>> LearnedPositions(model_dim=8, max_length=512).check(600)
    Traceback (most recent call last):
        ...
    ValueError: 600 positions are asked for, but only 512 are learned; ...
    """

    model_dim: int
    max_length: int

    def setup(self):
        self.table = self.param(
            "table",
            nn.initializers.normal(self.model_dim**-0.5),
            (self.max_length, self.model_dim),
        )

    def embed(self, states, positions):
        return states + rows(self.table, positions)

    def check(self, length):
        if length > self.max_length:
            raise ValueError(
                f"{length} positions are asked for, but only {self.max_length} are "
                "learned; shorten the sentence or raise max_positions and train again"
            )


class RelativePositions(Positions):
    """A learned bias for every head and bucket of distances; see `distance_buckets`.

    One table for all layers of a stack, as in T5, with T5's numbers.

    >>> positions = RelativePositions(num_heads=2, bidirectional=True)
    >>> params = {"table": jnp.zeros((32, 2))}
    >>> queries = keys = jnp.arange(3)
    >>> positions.apply({"params": params}, queries, keys, method="bias").shape
    (1, 2, 3, 3)
    """

    num_heads: int
    bidirectional: bool
    num_buckets: int = 32
    max_distance: int = 128

    def setup(self):
        self.table = self.param(
            "table", nn.initializers.normal(0.02), (self.num_buckets, self.num_heads)
        )

    def bias(self, queries, keys):
        buckets = distance_buckets(
            keys[None, :] - queries[:, None],
            self.num_buckets,
            self.max_distance,
            bidirectional=self.bidirectional,
        )  # [Q, K]
        return rows(self.table, buckets).transpose(2, 0, 1)[None]  # [1, H, Q, K]


class AlibiPositions(Positions):
    """A bias that falls with distance, without parameters; see `alibi_bias`.

    >>> queries = keys = jnp.arange(3)
    >>> AlibiPositions(num_heads=8).apply({}, queries, keys, method="bias")[0, 0, 2]
    Array([-1. , -0.5, -0. ], dtype=float32)
    """

    num_heads: int

    def bias(self, queries, keys):
        return alibi_bias(queries, keys, self.num_heads)
