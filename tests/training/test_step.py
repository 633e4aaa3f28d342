"""The training step by hand, and its laws."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.losses import TokenLoss
from zoo.training.step import init_state, make_train_step, moving_average


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
    assert metrics["count"] == 2
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


def test_portions_are_added_up_and_divided_once():
    # The batch of `test_one_update_by_hand` and a token of padding, in two portions:
    # {1, padding} and {3, padding} have one token each of weight 1/2, not 1.
    optimizer = optax.sgd(0.1)
    step = make_train_step(squares, optimizer, jax.random.key(0), accumulation=2)
    valid = [True, True, False, False]
    batch = batch_of([1.0, 3.0, 9.0, 9.0], [2.0, 0.0, 0.0, 0.0], valid)
    state, metrics = step(init_state({"w": jnp.ones(())}, optimizer), batch)
    assert state.params["w"] == pytest.approx(0.6)
    assert metrics["loss"] == pytest.approx((0.5 + 4.5) / 2)
    assert metrics["count"] == 2


def test_every_portion_draws_its_own_dropout():
    optimizer = optax.sgd(1.0)
    step = make_train_step(noisy, optimizer, jax.random.key(0), accumulation=2)
    state, _ = step(init_state({"w": jnp.zeros(())}, optimizer), {"x": jnp.zeros(2)})
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), 0), 2)
    first, second = (float(jax.random.normal(key)) for key in keys)
    assert state.params["w"] == pytest.approx(-(first + second) / 2)


def test_rows_that_do_not_divide_into_portions_are_refused():
    optimizer = optax.sgd(0.1)
    step = make_train_step(squares, optimizer, jax.random.key(0), accumulation=2)
    batch = batch_of([1.0] * 3, [1.0] * 3, [True] * 3)
    with pytest.raises(ValueError, match="3 rows do not divide into 2 portions"):
        step(init_state({"w": jnp.ones(())}, optimizer), batch)


def test_two_updates_of_the_moving_average_by_hand():
    # Each update halves the error: w = 0, 1, 1.5 on the way to 2. The decay warms up,
    # 2/11 at update 1 and 3/12 at update 2: 9/11, then 1/4·9/11 + 3/4·1.5 = 1.329545.
    optimizer = optax.sgd(0.5)
    step = make_train_step(squares, optimizer, jax.random.key(0), ema_decay=0.999)
    state = init_state({"w": jnp.zeros(())}, optimizer, ema=True)
    averages = []
    for _ in range(2):
        state, _ = step(state, batch_of([1.0], [2.0], [True]))
        averages.append(float(state.eval_params["w"]))
    assert state.params["w"] == pytest.approx(1.5)
    assert averages == pytest.approx([9 / 11, 9 / 44 + 1.125])


def test_late_in_a_run_the_decay_is_the_one_asked_for():
    average = moving_average(
        {"w": jnp.ones(())}, {"w": jnp.zeros(())}, jnp.int32(10**6), 0.9
    )
    assert average["w"] == pytest.approx(0.9)


def test_without_an_average_the_parameters_themselves_are_evaluated():
    state = init_state({"w": jnp.ones(())}, optax.sgd(0.1))
    assert state.ema is None
    assert state.eval_params is state.params


def test_the_scale_of_the_plateau_is_that_of_the_update():
    optimizer = optax.sgd(0.1)
    step = make_train_step(squares, optimizer, jax.random.key(0))
    state = init_state({"w": jnp.ones(())}, optimizer)
    state = state.replace(plateau=state.plateau.replace(scale=jnp.float32(0.5)))
    state, _ = step(state, batch_of([1.0], [3.0], [True]))
    assert state.params["w"] == pytest.approx(1.0 + 0.5 * 0.1 * 2.0)
