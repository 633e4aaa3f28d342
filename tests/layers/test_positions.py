"""Positions: the papers' formulas, and what each of them was chosen for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers.attention import MultiHeadAttention, attention_weights
from zoo.layers.positions import (
    AlibiPositions,
    FairseqPositions,
    LearnedPositions,
    Positions,
    RelativePositions,
    SinusoidalPositions,
    alibi_bias,
    alibi_slopes,
    distance_buckets,
    fairseq_positions,
    rotate,
    sinusoidal_positions,
)


def test_width_two_by_hand():
    # One wavelength, 2π: position p is (sin p, cos p).
    positions = sinusoidal_positions(jnp.array([0, 1, 2]), 2)
    expected = [[0.0, 1.0], [0.84147, 0.54030], [0.90930, -0.41615]]
    np.testing.assert_allclose(positions, expected, atol=1e-5)


def test_the_papers_formula_once_sines_and_cosines_alternate():
    model_dim, length = 12, 40
    halves = np.asarray(sinusoidal_positions(jnp.arange(length), model_dim))
    interleaved = np.zeros_like(halves)
    interleaved[:, 0::2] = halves[:, : model_dim // 2]
    interleaved[:, 1::2] = halves[:, model_dim // 2 :]
    for position, pair in np.ndindex(length, model_dim // 2):
        angle = position / 10_000 ** (2 * pair / model_dim)
        expected = np.sin(angle), np.cos(angle)
        found = interleaved[position, 2 * pair : 2 * pair + 2]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("shift", [1, 5])
def test_a_shift_is_a_rotation_whatever_the_position(shift):
    # Vaswani et al. (2017), 3.5: PE(pos + k) is a linear function of PE(pos).
    half, length = 4, 20
    angles = shift / 10_000 ** (np.arange(half) / half)
    rotation = np.block(
        [
            [np.diag(np.cos(angles)), np.diag(np.sin(angles))],
            [-np.diag(np.sin(angles)), np.diag(np.cos(angles))],
        ]
    )
    positions = sinusoidal_positions(jnp.arange(length + shift), 2 * half)
    np.testing.assert_allclose(
        positions[shift:], positions[:length] @ rotation.T, atol=1e-5
    )
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(2 * half), atol=1e-12)


@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_positions_may_have_any_axes(shape):
    positions = jnp.arange(6).reshape(2, 3) if shape else jnp.int32(4)
    found = sinusoidal_positions(positions, 8)
    assert found.shape == (*shape, 8)
    table = sinusoidal_positions(jnp.arange(6), 8)
    np.testing.assert_allclose(found, table[positions], atol=1e-6)


@pytest.mark.parametrize("function", [sinusoidal_positions, fairseq_positions])
def test_a_width_is_even_and_two_at_least(function):
    with pytest.raises(ValueError, match="even width, width=7"):
        function(jnp.arange(3), 7)
    found = function(jnp.arange(3), 2)
    expected = np.stack([np.sin(np.arange(3)), np.cos(np.arange(3))], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_a_rotation_by_hand():
    # Width 2 turns by the position itself, in radians.
    turned = rotate(jnp.array([[[1.0, 0.0]], [[1.0, 0.0]]]), jnp.array([0, 1]))
    expected = [[[1.0, 0.0]], [[0.54030, 0.84147]]]
    np.testing.assert_allclose(turned, expected, atol=1e-5)


def test_rotary_is_a_slow_product_of_complex_numbers():
    # Su et al. (2021), equation 16, with feature i + E/2 as the imaginary part of i.
    heads = np.asarray(draw(2, 5, 3, 8))
    positions = np.array([[0, 1, 2, 3, 4], [7, 9, 4, 100, 3]])
    found = np.asarray(rotate(jnp.asarray(heads), jnp.asarray(positions)))
    for row, place, head, pair in np.ndindex(2, 5, 3, 4):
        number = complex(
            heads[row, place, head, pair], heads[row, place, head, pair + 4]
        )
        number *= np.exp(1j * positions[row, place] / 10_000 ** (2 * pair / 8))
        got = complex(found[row, place, head, pair], found[row, place, head, pair + 4])
        assert abs(got - number) < 1e-4


@pytest.mark.parametrize("shift", [1, 50])
def test_rotary_scores_depend_on_distance_only(shift):
    query, key = draw(1, 6, 2, 8), draw(1, 6, 2, 8, seed=1)
    positions = jnp.arange(6)[None]

    def weights(positions):
        return attention_weights(rotate(query, positions), rotate(key, positions))

    np.testing.assert_allclose(
        weights(positions), weights(positions + shift), atol=1e-5
    )
    assert np.abs(weights(positions) - weights(2 * positions)).max() > 1e-2


def test_attention_turns_its_queries_and_keys_but_not_its_values():
    attention = MultiHeadAttention(8, 2, rotate=rotate)
    states, positions = draw(1, 5, 8), jnp.array([[3, 4, 9, 0, 1]])
    variables = attention.init(jax.random.key(0), states, states)
    found = attention.apply(variables, states, states, positions=positions)
    bound = attention.bind(variables)
    weights = attention_weights(
        rotate(bound.query(states), positions), rotate(bound.key(states), positions)
    )
    context = jnp.einsum("BHQK,BKHE->BQHE", weights, bound.value(states))
    np.testing.assert_allclose(found, bound.out(context), atol=1e-5)


def slow_bucket(distance, num_buckets, max_distance, bidirectional):
    """Raffel et al. (2020) in words: exact below half, logarithmic above."""
    first = 0
    if bidirectional:
        num_buckets //= 2
        first = num_buckets if distance > 0 else 0
    elif distance > 0:
        return 0
    distance, exact = abs(distance), num_buckets // 2
    if distance < exact:
        return first + distance
    share = np.log(distance / exact) / np.log(max_distance / exact)
    return first + min(exact + int(share * (num_buckets - exact)), num_buckets - 1)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_distances_fall_into_t5s_buckets(bidirectional):
    distances = np.arange(-300, 301)
    found = distance_buckets(
        jnp.asarray(distances), 32, 128, bidirectional=bidirectional
    )
    expected = [slow_bucket(d, 32, 128, bidirectional) for d in distances]
    np.testing.assert_array_equal(found, expected)
    assert set(expected) == set(range(32)) - ({16} if bidirectional else set())


def test_buckets_are_those_of_hugging_faces_t5_by_hand():
    # The documented examples: 7 past tokens exact of 8, 8 and 11 share, 128 the last.
    past = -jnp.array([0, 7, 8, 11, 12, 127, 128, 1000])
    found = distance_buckets(past, 32, 128, bidirectional=True)
    np.testing.assert_array_equal(found, [0, 7, 8, 8, 9, 15, 15, 15])


def test_alibi_slopes_of_eight_heads_are_the_papers():
    np.testing.assert_allclose(alibi_slopes(8), [2.0**-n for n in range(1, 9)])


def test_alibi_slopes_of_six_heads_take_every_second_of_eight():
    expected = [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]
    np.testing.assert_allclose(alibi_slopes(6), expected)


def test_an_alibi_bias_by_hand():
    bias = alibi_bias(jnp.array([2]), jnp.arange(4), 2)
    expected = [[[-2, -1, 0, -1]], [[-2, -1, 0, -1]]] * np.array([[[2**-4]], [[2**-8]]])
    np.testing.assert_allclose(bias[0], expected)


def test_a_bias_is_added_to_the_scores():
    query, key = jnp.zeros((1, 1, 1, 2)), jnp.zeros((1, 2, 1, 2))
    bias = jnp.log(jnp.array([1.0, 3.0]))[None, None, None]
    weights = attention_weights(query, key, None, bias)
    np.testing.assert_allclose(weights[0, 0, 0], [0.25, 0.75], atol=1e-6)


def test_learned_positions_are_rows_of_the_table_and_end_with_it():
    positions = LearnedPositions(4, 6)
    states = jnp.zeros((1, 6, 4))
    variables = positions.init(jax.random.key(0), states, jnp.arange(6), method="embed")
    places = jnp.array([5, 0, 3, 3, 1, 2])
    found = positions.apply(variables, states, places, method="embed")
    table = variables["params"]["table"]
    np.testing.assert_array_equal(found[0], table[places])
    positions.apply(variables, 6, method="check")
    with pytest.raises(ValueError, match=r"7 positions .* only 6"):
        positions.apply(variables, 7, method="check")


def test_a_relative_bias_is_the_tables_row_of_the_bucket():
    positions = RelativePositions(3, bidirectional=False)
    variables = {"params": {"table": draw(32, 3)}}
    bias = positions.apply(variables, jnp.array([4]), jnp.arange(6), method="bias")
    assert bias.shape == (1, 3, 1, 6)
    table = variables["params"]["table"]
    np.testing.assert_array_equal(bias[0, :, 0], table[jnp.array([4, 3, 2, 1, 0, 0])].T)


def test_those_that_do_not_embed_leave_the_states():
    states = draw(1, 3, 4)
    relative = {"params": {"table": draw(32, 2)}}
    for positions, variables in (
        (Positions(), {}),
        (AlibiPositions(2), {}),
        (RelativePositions(2, True), relative),
    ):
        found = positions.apply(variables, states, jnp.arange(3), method="embed")
        np.testing.assert_array_equal(found, states)


def test_sinusoids_are_added_to_the_states():
    states = draw(1, 3, 4)
    found = SinusoidalPositions().apply({}, states, jnp.arange(3), method="embed")
    np.testing.assert_allclose(
        found - states, sinusoidal_positions(jnp.arange(3), 4)[None], atol=1e-6
    )


def test_without_positions_attention_commutes_with_a_permutation_of_its_keys():
    attention = MultiHeadAttention(8, 2)
    queries, memory = draw(1, 3, 8), draw(1, 5, 8, seed=1)
    variables = attention.init(jax.random.key(0), queries, memory)
    order = jnp.array([3, 0, 4, 1, 2])
    found = attention.apply(variables, queries, memory[:, order])
    expected = attention.apply(variables, queries, memory)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # and self-attention permutes with its inputs
    whole = attention.apply(variables, memory, memory)
    permuted = attention.apply(variables, memory[:, order], memory[:, order])
    np.testing.assert_allclose(permuted, whole[:, order], atol=1e-5)
    turned = MultiHeadAttention(8, 2, rotate=rotate)
    places = jnp.arange(5)[None]
    first = turned.apply(variables, memory, memory, positions=places)
    second = turned.apply(variables, *[memory[:, order]] * 2, positions=places)
    assert np.abs(second - first[:, order]).max() > 1e-3


def test_fairseqs_longest_wavelength_is_ten_thousand_times_the_shortest():
    # Width 6: angles p, p / 100 and p / 10000 of positions p, counted from 2.
    states = FairseqPositions(2).apply(
        {}, jnp.zeros((1, 2, 6)), jnp.arange(2), method="embed"
    )
    angles = np.array([[2, 0.02, 0.0002], [3, 0.03, 0.0003]])
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    np.testing.assert_allclose(states[0], expected, atol=1e-6)
