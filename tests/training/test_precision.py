"""bfloat16: what is computed in it, what is not, and that it is good enough."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo import losses
from zoo.layers.embeddings import embed
from zoo.losses import tied_cross_entropy
from zoo.training.step import init_state, make_train_step

VOCAB, WIDTH = 23, 16


def bigrams(params, batch, key):
    """The loss of a model that guesses the next word from one word."""
    table, kernel = params["table"], params["kernel"]
    states = embed(table, batch["inputs"])
    features = states + jnp.tanh(states @ kernel)
    assert features.dtype == table.dtype == kernel.dtype
    labels = batch["labels"]
    return tied_cross_entropy(features, table, labels, labels != 0, 0.1)


@pytest.fixture(scope="module")
def task():
    """Returns parameters, and a batch in which every word has one that follows it."""
    draw = np.random.default_rng(0)
    words = draw.integers(3, VOCAB, (8, 6))
    follower = np.concatenate([[0, 0, 0], 3 + draw.permutation(VOCAB - 3)])
    params = {
        "table": draw.normal(size=(VOCAB, WIDTH)) / WIDTH**0.5,
        "kernel": draw.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5,
    }
    batch = {"inputs": words, "labels": follower[words]}
    return (
        jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params),
        jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.int32), batch),
    )


def steps(task, precision, optimizer, count):
    """Returns the state after some updates on one batch, and their losses."""
    params, batch = task
    key = jax.random.key(0)
    step = jax.jit(make_train_step(bigrams, optimizer, key, precision=precision))
    state, seen = init_state(params, optimizer), []
    for _ in range(count):
        state, metrics = step(state, batch)
        seen.append(float(metrics["loss"]))
    return state, seen


def keep_gradient():
    """Returns an optimiser that leaves the parameters alone and remembers gradients."""
    return optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params),
        lambda updates, state, params: (jax.tree.map(jnp.zeros_like, params), updates),
    )


def test_loss_and_gradient_are_close_to_those_of_float32(task):
    found = [steps(task, name, keep_gradient(), 1) for name in ("float32", "bfloat16")]
    (exact, (exact_loss,)), (rounded, (rounded_loss,)) = found
    # bfloat16 rounds by up to 2⁻⁹ = 0.2 %. Errors of single logits cancel in the loss;
    # a gradient has passed some ten roundings.
    assert rounded_loss != exact_loss
    assert rounded_loss == pytest.approx(exact_loss, rel=1e-3)
    difference = jax.tree.map(jnp.subtract, rounded.opt_state, exact.opt_state)
    error = optax.tree.norm(difference) / optax.tree.norm(exact.opt_state)
    assert 0.0 < error < 0.03


def test_parameters_and_gradients_are_float32(task):
    state, _ = steps(task, "bfloat16", keep_gradient(), 1)
    for leaf in jax.tree.leaves((state.params, state.opt_state)):
        assert leaf.dtype == jnp.float32


def test_updates_too_small_for_bfloat16_add_up():
    def slope(params, batch, key):
        total = (params["w"] * 2.0**-12).astype(jnp.float32)
        return losses.TokenLoss(total, total, jnp.ones(()))

    optimizer = optax.sgd(1.0)
    step = make_train_step(slope, optimizer, jax.random.key(0), precision="bfloat16")
    state = init_state({"w": jnp.ones(())}, optimizer)
    for _ in range(2):
        state, _ = step(state, {})
    # In bfloat16, 1 - 2⁻¹² is 1: there nothing would ever move.
    assert state.params["w"] == 1.0 - 2 * 2.0**-12


def test_the_gradients_of_portions_are_added_up_in_float32():
    def slope(params, batch, key):
        total = (params["w"] * batch["x"].sum()).astype(jnp.float32)
        return losses.TokenLoss(total, total, jnp.float32(len(batch["x"])))

    optimizer = optax.sgd(1.0)
    key = jax.random.key(0)
    options = {"accumulation": 512, "precision": "bfloat16"}
    step = make_train_step(slope, optimizer, key, **options)
    state = init_state({"w": jnp.ones(())}, optimizer)
    state, _ = step(state, {"x": jnp.ones(512, jnp.bfloat16)})
    # The mean of 512 ones; in bfloat16 their sum would stop growing at 256.
    assert state.params["w"] == 0.0


def test_a_model_learns_in_bfloat16_as_in_float32(task):
    learnt = {
        precision: steps(task, precision, optax.adam(2e-2), 60)[1]
        for precision in ("float32", "bfloat16")
    }
    for seen in learnt.values():
        assert seen[-1] < 0.3 * seen[0]
    assert learnt["bfloat16"][-1] == pytest.approx(learnt["float32"][-1], rel=0.1)


def test_the_gradient_of_the_table_is_summed_in_float32(monkeypatch):
    # 600 equal terms: a sum in bfloat16 would stop growing at the 256th.
    monkeypatch.setattr(losses, "TOKENS_PER_PART", 1)
    features = jnp.ones((1, 600, 2), jnp.bfloat16)
    labels = jnp.ones((1, 600), jnp.int32)

    def total(table):
        return tied_cross_entropy(features, table, labels, labels > 0, 0.0).smoothed

    gradient = jax.jit(jax.grad(total))(jnp.zeros((2, 2), jnp.bfloat16))
    assert gradient.dtype == jnp.bfloat16
    # softmax is ½, so each token gives ½ to the other word and -½ to its own.
    expected = [[300.0, 300.0], [-300.0, -300.0]]
    np.testing.assert_allclose(np.asarray(gradient, np.float32), expected, rtol=4e-3)
