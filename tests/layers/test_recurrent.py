"""Recurrent networks: torch's and Flax's with the same weights, and padding."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers.recurrent import (
    RNN,
    BidirectionalRNN,
    GRUCell,
    LSTMCell,
    gru_step,
    hidden,
    lstm_step,
)

INPUT_DIM, MODEL_DIM = 3, 4
LENGTHS = np.array([5, 2, 6])
VALID = jnp.asarray(np.arange(6) < LENGTHS[:, None])
CELLS = {"GRU": GRUCell, "LSTM": LSTMCell}
every_cell = pytest.mark.parametrize("kind", CELLS)


def draw(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


def make(kind, network=RNN, **fields):
    """Returns a network, and parameters none of which is zero."""
    rnn = network(partial(CELLS[kind], MODEL_DIM), **fields)
    shapes = jax.eval_shape(
        rnn.init, jax.random.key(0), jnp.zeros((1, 1, INPUT_DIM)), VALID[:1, :1]
    )
    rng = np.random.default_rng(0)
    return rnn, jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 2, jnp.float32), shapes
    )


def test_a_gru_step_by_hand():
    # Width 1. Recurrent: [0, 0, 2]. Gates: σ(0) = ½ and σ(log 3) = ¾; the new state is
    # tanh(log 2 - 1 + ½ · 2) = 0.6, of which a quarter is taken: ¼ · 0.6 + ¾ · 2.
    kernel, bias = jnp.array([[0.0, 0.0, 1.0]]), jnp.zeros(3)
    projected = jnp.array([0.0, jnp.log(3.0), jnp.log(2.0) - 1.0])
    state = gru_step(kernel, bias, jnp.array([2.0]), projected)
    np.testing.assert_allclose(state, [1.65], atol=1e-5)


def test_an_lstm_step_by_hand():
    # Width 1, gates input ½, forget ¾, new tanh(log 2) = 0.6, output ½: the memory is
    # ¾ · 0.4 + ½ · 0.6 = 0.6, the hidden state ½ · tanh(0.6) = 0.26852.
    projected = jnp.array([0.0, jnp.log(3.0), jnp.log(2.0), 0.0])
    state = jnp.array([5.0]), jnp.array([0.4])
    found = lstm_step(jnp.zeros((1, 4)), jnp.zeros(4), state, projected)
    np.testing.assert_allclose(found, [[0.26852], [0.6]], atol=1e-5)


def flax_cell(kind, params):
    """Returns Flax's cell and its parameters, cut out of ours gate by gate."""
    inputs, cell = params["inputs"], params
    if kind == "GRU":
        gates, module = ("r", "z", "n"), nn.GRUCell(MODEL_DIM)
    else:
        gates, module = ("i", "f", "g", "o"), nn.OptimizedLSTMCell(MODEL_DIM)
    theirs = {}
    for gate, place in zip(gates, range(0, 99, MODEL_DIM), strict=False):
        part = slice(place, place + MODEL_DIM)
        theirs[f"i{gate}"] = {"kernel": inputs["kernel"][:, part]}
        theirs[f"h{gate}"] = {"kernel": cell["kernel"][:, part]}
        if kind == "LSTM":
            theirs[f"h{gate}"]["bias"] = cell["bias"][part]
        elif gate == "n":
            theirs["in"]["bias"] = inputs["bias"][part]
            theirs["hn"]["bias"] = cell["bias"][part]
        else:  # Flax has one bias where two would be added anyway.
            theirs[f"i{gate}"]["bias"] = inputs["bias"][part] + cell["bias"][part]
    return module, {"params": theirs}


@every_cell
def test_a_cell_is_flax_with_the_same_weights(kind):
    rnn, variables = make(kind)
    inputs = draw(3, 6, INPUT_DIM)
    states, finals = jax.jit(rnn.apply)(variables, inputs, jnp.ones((3, 6), bool))
    module, theirs = flax_cell(kind, variables["params"]["layers_0"])
    carry = module.initialize_carry(jax.random.key(0), (3, INPUT_DIM))
    step = jax.jit(module.apply)
    for time in range(6):
        carry, expected = step(theirs, carry, inputs[:, time])
        np.testing.assert_allclose(states[:, time], expected, atol=1e-5)
    # Flax's carry of an LSTM is (memory, hidden), ours (hidden, memory).
    expected = carry if kind == "GRU" else carry[::-1]
    np.testing.assert_allclose(finals[0], expected, atol=1e-5)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch is not installed (extra: parity)")


def torch_network(torch, kind, **fields):
    network = getattr(torch.nn, kind)(INPUT_DIM, MODEL_DIM, batch_first=True, **fields)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    return network


def cell_of(network, kind, layer=0, suffix=""):
    """Returns one layer of a torch network as parameters of our cell."""
    input_kernel, kernel, input_bias, bias = (
        jnp.asarray(getattr(network, f"{name}_l{layer}{suffix}").detach().numpy().T)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    if kind == "GRU":
        inputs = {"kernel": input_kernel, "bias": input_bias}
        return {"inputs": inputs, "kernel": kernel, "bias": bias}
    inputs = {"kernel": input_kernel}
    return {"inputs": inputs, "kernel": kernel, "bias": input_bias + bias}


def torch_run(torch, network, inputs):
    """Returns padded states and final states [layer, B, D], read without padding."""
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.tensor(np.asarray(inputs)),
        torch.tensor(LENGTHS),
        batch_first=True,
        enforce_sorted=False,
    )
    with torch.no_grad():
        packed, finals = network(packed)
    states, _ = torch.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
    return jax.tree.map(lambda leaf: leaf.numpy(), (states, finals))


def assert_same(found, expected):
    states, finals = found
    expected_states, expected_finals = expected
    # torch fills the padding with zeros, we with the last state.
    np.testing.assert_allclose(
        np.where(VALID[..., None], states, 0.0), expected_states, atol=1e-5
    )
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *finals)
    for leaf, other in zip(
        jax.tree.leaves(stacked), jax.tree.leaves(expected_finals), strict=True
    ):
        np.testing.assert_allclose(leaf, other, atol=1e-5)


@every_cell
@pytest.mark.parametrize("num_layers", [1, 3])
def test_a_stack_is_torch_with_the_same_weights(torch, kind, num_layers):
    network = torch_network(torch, kind, num_layers=num_layers)
    rnn = RNN(partial(CELLS[kind], MODEL_DIM), num_layers=num_layers)
    params = {
        f"layers_{layer}": cell_of(network, kind, layer) for layer in range(num_layers)
    }
    inputs = draw(3, 6, INPUT_DIM)
    found = jax.jit(rnn.apply)({"params": params}, inputs, VALID)
    assert_same(found, torch_run(torch, network, inputs))


@every_cell
def test_both_directions_are_torch_with_the_same_weights(torch, kind):
    network = torch_network(torch, kind, bidirectional=True)
    rnn = BidirectionalRNN(partial(CELLS[kind], MODEL_DIM))
    params = {
        "forward": {"layers_0": cell_of(network, kind)},
        "backward": {"layers_0": cell_of(network, kind, suffix="_reverse")},
    }
    inputs = draw(3, 6, INPUT_DIM)
    found = jax.jit(rnn.apply)({"params": params}, inputs, VALID)
    assert_same(found, torch_run(torch, network, inputs))


@every_cell
@pytest.mark.parametrize("num_layers", [1, 2])
def test_reverse_is_forward_over_the_sentence_turned_around(kind, num_layers):
    rnn, variables = make(kind, num_layers=num_layers)
    backwards, _ = make(kind, num_layers=num_layers, reverse=True)
    inputs = draw(3, 6, INPUT_DIM)

    def turned(array):
        array = np.array(array)
        for row, length in enumerate(LENGTHS):
            array[row, :length] = array[row, :length][::-1]
        return np.where(VALID[..., None], array, 0.0)

    states, finals = jax.jit(backwards.apply)(variables, inputs, VALID)
    expected, last = jax.jit(rnn.apply)(variables, jnp.asarray(turned(inputs)), VALID)
    np.testing.assert_allclose(
        turned(states), np.where(VALID[..., None], expected, 0.0), atol=1e-5
    )
    for leaf, other in zip(jax.tree.leaves(finals), jax.tree.leaves(last), strict=True):
        np.testing.assert_allclose(leaf, other, atol=1e-5)


NETWORKS = {
    "forward": {},
    "stacked": {"num_layers": 2},
    "reverse": {"reverse": True},
    "both": {"network": BidirectionalRNN},
}


@every_cell
@pytest.mark.parametrize("name", NETWORKS)
def test_padding_cannot_matter(kind, name):
    rnn, variables = make(kind, **NETWORKS[name])
    inputs = draw(3, 6, INPUT_DIM)
    states, finals = jax.jit(rnn.apply)(variables, inputs, VALID)
    changed = jnp.where(VALID[..., None], inputs, 1e3)
    changed = jnp.concatenate([changed, draw(3, 2, INPUT_DIM, seed=1)], axis=1)
    longer = jnp.concatenate([VALID, jnp.zeros((3, 2), bool)], axis=1)
    padded_states, padded_finals = jax.jit(rnn.apply)(variables, changed, longer)
    np.testing.assert_allclose(states, padded_states[:, :6], atol=1e-6)
    for leaf, other in zip(
        jax.tree.leaves(finals), jax.tree.leaves(padded_finals), strict=True
    ):
        np.testing.assert_allclose(leaf, other, atol=1e-6)


@every_cell
def test_the_state_stays_where_the_sentence_ended(kind):
    rnn, variables = make(kind)
    states, finals = jax.jit(rnn.apply)(variables, draw(3, 6, INPUT_DIM), VALID)
    for row, length in enumerate(LENGTHS):
        for position in range(length, 6):
            np.testing.assert_array_equal(
                states[row, position], states[row, length - 1]
            )
        np.testing.assert_array_equal(hidden(finals[0])[row], states[row, length - 1])


@every_cell
def test_a_sentence_of_padding_leaves_the_state_empty(kind):
    rnn, variables = make(kind, network=BidirectionalRNN)
    _, finals = jax.jit(rnn.apply)(
        variables, draw(3, 6, INPUT_DIM), jnp.zeros((3, 6), bool)
    )
    for leaf in jax.tree.leaves(finals):
        np.testing.assert_array_equal(leaf, 0.0)


@every_cell
def test_padding_has_no_gradient(kind):
    rnn, variables = make(kind, network=BidirectionalRNN)

    @jax.jit
    def total(inputs):
        states, finals = rnn.apply(variables, inputs, VALID)
        return sum((leaf**2).sum() for leaf in jax.tree.leaves((states, finals)))

    gradient = np.asarray(jax.grad(total)(draw(3, 6, INPUT_DIM)))
    np.testing.assert_array_equal(gradient[~np.asarray(VALID)], 0.0)
    assert np.abs(gradient[np.asarray(VALID)]).max(axis=-1).min() > 1e-6


@every_cell
def test_recurrent_weights_start_orthogonal_gate_by_gate(kind):
    rnn = RNN(partial(CELLS[kind], MODEL_DIM))
    variables = rnn.init(jax.random.key(0), draw(1, 1, INPUT_DIM), VALID[:1, :1])
    kernel = variables["params"]["layers_0"]["kernel"]
    gates = np.split(np.asarray(kernel), CELLS[kind].num_gates, axis=1)
    for gate in gates:
        np.testing.assert_allclose(gate.T @ gate, np.eye(MODEL_DIM), atol=1e-5)
    assert np.abs(gates[0] - gates[1]).max() > 1e-2


@every_cell
def test_a_cell_starts_from_a_given_hidden_state(kind):
    given = draw(2, MODEL_DIM)
    state = CELLS[kind](MODEL_DIM).state(given)
    np.testing.assert_array_equal(hidden(state), given)
    if kind == "LSTM":
        np.testing.assert_array_equal(state[1], 0.0)
