"""The training step by hand, and its laws."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.losses import TokenLoss
from zoo.training.step import init_state, make_train_step


def squares(params, batch, key):
    """A loss of 1/2 (w x - y)² summed over the tokens that count."""
    error = jnp.where(batch["valid"], params["w"] * batch["x"] - batch["y"], 0.0)
    total = 0.5 * jnp.sum(error**2)
    return TokenLoss(total, total, batch["valid"].sum().astype(jnp.float32))


def noisy(params, batch, key):
    """A loss whose gradient is the random number that the step draws."""
    total = params["w"] * jax.random.normal(key)
    return TokenLoss(total, total, jnp.ones(()))


def batch_of(x, y, valid):
    return {"x": jnp.array(x), "y": jnp.array(y), "valid": jnp.array(valid)}


def test_one_update_by_hand():
    # w = 1: errors 1 - 2 = -1 and 3 - 0 = 3, gradients -1·1 and 3·3, mean 8 / 2 = 4;
    # the third token is padding. w becomes 1 - 0.1·4.
    optimizer = optax.sgd(0.1)
    step = make_train_step(squares, optimizer, jax.random.key(0))
    batch = batch_of([1.0, 3.0, 9.0], [2.0, 0.0, 0.0], [True, True, False])
    state, metrics = step(init_state({"w": jnp.ones(())}, optimizer), batch)
    assert state.params["w"] == pytest.approx(0.6)
    assert state.step == 1
    assert metrics["loss"] == pytest.approx((0.5 + 4.5) / 2)
    assert metrics["tokens"] == 2
    assert metrics["grad_norm"] == pytest.approx(4.0)


def test_a_batch_of_padding_changes_nothing():
    optimizer = optax.sgd(0.1)
    step = make_train_step(squares, optimizer, jax.random.key(0))
    batch = batch_of([1.0], [5.0], [False])
    state, metrics = step(init_state({"w": jnp.ones(())}, optimizer), batch)
    assert state.params["w"] == 1.0
    assert metrics["loss"] == 0.0


def test_dropout_depends_on_the_step_alone():
    optimizer = optax.sgd(1.0)
    step = jax.jit(make_train_step(noisy, optimizer, jax.random.key(3)))
    state = init_state({"w": jnp.zeros(())}, optimizer)
    path = [state]
    for _ in range(3):
        state, _ = step(state, {})
        path.append(state)
    drawn = -np.diff([float(state.params["w"]) for state in path])
    assert len(set(drawn)) == 3
    expected = [
        float(jax.random.normal(jax.random.fold_in(jax.random.key(3), n)))
        for n in range(3)
    ]
    np.testing.assert_allclose(drawn, expected, rtol=1e-5)
    resumed, _ = step(path[2], {})
    assert resumed.params["w"] == path[3].params["w"]
