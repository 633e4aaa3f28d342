"""Recurrent networks: GRU and LSTM cells, run over a sequence, stopping at padding.

A cell is two functions: `project`, which multiplies the inputs of all time steps at
once because they do not depend on the state, and a step, the small sequential rest,
which is what `jax.lax.scan` repeats. At padding the state is carried over unchanged, so
the final state is that of the last token, and a network that reads backwards over
trailing padding still stands at its initial state when it meets the last token.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

State = Array | tuple[Array, Array]


def gru_step(
    kernel: Float[Array, "D G"],
    bias: Float[Array, " G"],
    state: Float[Array, "*batch D"],
    projected: Float[Array, "*batch G"],
) -> Float[Array, "*batch D"]:
    """Returns the next state of a gated recurrent unit.

    Cho et al. (2014), equations 5 to 8, with the reset gate applied after the product
    with the state, as torch and Flax have it (the paper: before). The gates stand in
    the order reset, update, new.
    """
    recurrent = state @ kernel + bias
    reset_in, update_in, new_in = jnp.split(projected, 3, axis=-1)
    reset_rec, update_rec, new_rec = jnp.split(recurrent, 3, axis=-1)
    reset = jax.nn.sigmoid(reset_in + reset_rec)
    update = jax.nn.sigmoid(update_in + update_rec)
    new = jnp.tanh(new_in + reset * new_rec)
    return (1.0 - update) * new + update * state


def lstm_step(
    kernel: Float[Array, "D G"],
    bias: Float[Array, " G"],
    state: tuple[Float[Array, "*batch D"], Float[Array, "*batch D"]],
    projected: Float[Array, "*batch G"],
) -> tuple[Float[Array, "*batch D"], Float[Array, "*batch D"]]:
    """Returns the next (hidden, memory) of a long short-term memory.

    Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000); the
    gates stand in the order input, forget, new, output, as in torch.
    """
    hidden, memory = state
    gates = projected + hidden @ kernel + bias
    write, forget, new, read = jnp.split(gates, 4, axis=-1)
    memory = jax.nn.sigmoid(forget) * memory + jax.nn.sigmoid(write) * jnp.tanh(new)
    return jax.nn.sigmoid(read) * jnp.tanh(memory), memory


def run(
    step: Callable[[State, Array], State],
    state: State,
    projected: Float[Array, "S B G"],
    valid: Bool[Array, "S B"],
    *,
    reverse: bool = False,
) -> tuple[Float[Array, "S B D"], State]:
    """Returns the hidden state after every token, and the state after the last one.

    Time leads, as a scan takes it.

    Args:
        step: maps (state, projected inputs of one time step) to the next state.
        valid: False at padding, where the state is carried over unchanged.
        reverse: reads from the last position to the first.
    """

    def one(state, inputs):
        projected, valid = inputs
        new = jax.tree.map(
            lambda new, old: jnp.where(valid[:, None], new, old),
            step(state, projected),
            state,
        )
        return new, hidden(new)

    state, states = jax.lax.scan(one, state, (projected, valid), reverse=reverse)
    return states, state


def hidden(state: State) -> Float[Array, "*batch D"]:
    """Returns the part of a state that the rest of a network sees."""
    return state[0] if isinstance(state, tuple) else state


def _split_orthogonal(key, shape, dtype=jnp.float32):
    """Draws one orthogonal square for each gate (Saxe et al. 2014)."""
    rows, columns = shape
    orthogonal = nn.initializers.orthogonal()
    keys = jax.random.split(key, columns // rows)
    squares = [orthogonal(gate, (rows, rows), dtype) for gate in keys]
    return jnp.concatenate(squares, axis=1)


def _frozen(dense: nn.Dense, width: int) -> Callable[[Array], Array]:
    """Returns a bound layer as a function of arrays that holds its parameters."""
    dense(jnp.zeros((1, width)))  # so that `init` draws the parameters
    params = dense.variables["params"]
    return lambda inputs: inputs @ params["kernel"] + params.get("bias", 0.0)


class GRUCell(nn.Module):
    """The parameters of a gated recurrent unit; see `gru_step`.

    >>> arguments = jax.random.key(0), jnp.ones((1, 8))
    >>> project = partial(GRUCell(8).init_with_output, method="project")
    >>> jax.eval_shape(project, *arguments)[0].shape  # three gates
    (1, 24)
    """

    model_dim: int
    num_gates = 3

    def setup(self):
        width = self.num_gates * self.model_dim
        self.inputs = nn.Dense(width, kernel_init=nn.initializers.xavier_uniform())
        self.kernel = self.param("kernel", _split_orthogonal, (self.model_dim, width))
        self.bias = self.param("bias", nn.initializers.zeros, (width,))

    def project(self, inputs: Float[Array, "*axes D"]) -> Float[Array, "*axes G"]:
        """Multiplies the inputs of any number of time steps at once."""
        return self.inputs(inputs)

    def projector(self, width: int) -> Callable[[Array], Array]:
        """Returns `project` as a function of arrays, safe inside `jax.lax.scan`.

        It is for inputs of the given width that only the scan itself knows.
        """
        return _frozen(self.inputs, width)

    def stepper(self) -> Callable[[Array, Array], Array]:
        """Returns the step as a function of arrays, safe inside `jax.lax.scan`."""
        return partial(gru_step, self.kernel, self.bias)

    def state(self, hidden: Float[Array, "*batch D"]) -> State:
        """Returns a state whose visible part is `hidden`."""
        return hidden


class LSTMCell(nn.Module):
    """The parameters of a long short-term memory; see `lstm_step`.

    >>> arguments = jax.random.key(0), jnp.ones((1, 8))
    >>> project = partial(LSTMCell(8).init_with_output, method="project")
    >>> jax.eval_shape(project, *arguments)[0].shape  # four gates
    (1, 32)
    """

    model_dim: int
    num_gates = 4

    def setup(self):
        width = self.num_gates * self.model_dim
        self.inputs = nn.Dense(
            width, use_bias=False, kernel_init=nn.initializers.xavier_uniform()
        )
        self.kernel = self.param("kernel", _split_orthogonal, (self.model_dim, width))
        self.bias = self.param("bias", nn.initializers.zeros, (width,))

    def project(self, inputs: Float[Array, "*axes D"]) -> Float[Array, "*axes G"]:
        """Multiplies the inputs of any number of time steps at once."""
        return self.inputs(inputs)

    def projector(self, width: int) -> Callable[[Array], Array]:
        """Returns `project` as a function of arrays, safe inside `jax.lax.scan`.

        It is for inputs of the given width that only the scan itself knows.
        """
        return _frozen(self.inputs, width)

    def stepper(self) -> Callable[[State, Array], State]:
        """Returns the step as a function of arrays, safe inside `jax.lax.scan`."""
        return partial(lstm_step, self.kernel, self.bias)

    def state(self, hidden: Float[Array, "*batch D"]) -> State:
        """Returns a state whose visible part is `hidden`, with an empty memory."""
        return hidden, jnp.zeros_like(hidden)


class RNN(nn.Module):
    """Layers of one cell, each reading the hidden states below (Sutskever et al. 2014).

    >>> reader = RNN(partial(GRUCell, 8), num_layers=2)
    >>> arguments = jax.random.key(0), jnp.ones((1, 5, 8)), jnp.ones((1, 5), bool)
    >>> states, last = jax.eval_shape(reader.init_with_output, *arguments)[0]
    >>> states.shape, len(last)  # after each token; of each layer after the last one
    ((1, 5, 8), 2)

    Attributes:
        cell: makes a cell, for example a partial of GRUCell.
        num_layers: how many are stacked.
        reverse: reads from the last token to the first.
    """

    cell: Callable[[], nn.Module]
    num_layers: int = 1
    reverse: bool = False

    def setup(self):
        self.layers = [self.cell() for _ in range(self.num_layers)]

    def __call__(
        self, inputs: Float[Array, "B S D"], valid: Bool[Array, "B S"]
    ) -> tuple[Float[Array, "B S M"], list[State]]:
        """Returns the top layer's hidden states and every layer's final state."""
        # Time leads in between; what is projected is larger, and turned around slowly.
        states, finals = inputs.swapaxes(0, 1), []
        for layer in self.layers:
            projected = layer.project(states)
            empty = layer.state(
                jnp.zeros((inputs.shape[0], layer.model_dim), projected.dtype)
            )
            states, final = run(
                layer.stepper(), empty, projected, valid.T, reverse=self.reverse
            )
            finals.append(final)
        return states.swapaxes(0, 1), finals


class BidirectionalRNN(nn.Module):
    """One network reads forwards, one backwards; their states stand side by side.

    Schuster and Paliwal (1997); the annotations of Bahdanau et al. (2015), 3.2.

    >>> reader = BidirectionalRNN(partial(GRUCell, 8))
    >>> arguments = jax.random.key(0), jnp.ones((1, 5, 8)), jnp.ones((1, 5), bool)
    >>> states, *_ = jax.eval_shape(reader.init_with_output, *arguments)[0]
    >>> states.shape
    (1, 5, 16)
    """

    cell: Callable[[], nn.Module]

    def setup(self):
        self.forward = RNN(self.cell)
        self.backward = RNN(self.cell, reverse=True)

    def __call__(
        self, inputs: Float[Array, "B S D"], valid: Bool[Array, "B S"]
    ) -> tuple[Float[Array, "B S M"], list[State]]:
        """Returns [forward; backward] at every token, and both final states."""
        forward, forward_final = self.forward(inputs, valid)
        backward, backward_final = self.backward(inputs, valid)
        states = jnp.concatenate([forward, backward], axis=-1)
        return states, [*forward_final, *backward_final]
