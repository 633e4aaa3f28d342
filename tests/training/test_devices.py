"""The drivers take the step that one device would take, on eight virtual devices."""

import jax
import numpy as np
import optax
import pytest

import zoo
from zoo.losses import tied_cross_entropy
from zoo.models.contract import initialize
from zoo.training.devices import make_driver
from zoo.training.step import init_state, make_train_step

ROWS, LENGTH, VOCAB = 16, 6, 23
# SGD: the gradient of a key's bias is zero, and Adam makes ±lr of its rounding.
OPTIMIZER = optax.sgd(0.5)


@pytest.fixture(scope="module")
def parts():
    model = zoo.create_model(
        "transformer-tiny",
        vocab_size=VOCAB,
        model_dim=16,
        mlp_dim=16,
        num_heads=2,
        num_layers=1,
        dropout_rate=0.0,
    )

    def loss(params, batch, key):
        features = model.apply(
            {"params": params}, batch["source"], batch["inputs"], method="features"
        )
        table = model.apply({"params": params}, method="output_table")
        labels = batch["labels"]
        return tied_cross_entropy(features, table, labels, labels != 0, 0.1)

    step = make_train_step(loss, OPTIMIZER, jax.random.key(0))
    return step, initialize(model, jax.random.key(1))


def batches(count):
    """Yields batches whose shards hold very different numbers of tokens."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        lengths = 1 + np.arange(ROWS) * (LENGTH - 1) // (ROWS - 1)
        valid = np.arange(LENGTH) < lengths[:, None]
        words = rng.integers(3, VOCAB, (3, ROWS, LENGTH))
        source, inputs, labels = np.where(valid, words, 0).astype(np.int32)
        inputs[:, 0] = 1
        yield {"source": source, "inputs": inputs, "labels": labels}


def trained(step, params, name, num_devices):
    driver = make_driver(name, step, jax.devices()[:num_devices])
    state = driver.place(init_state(params, OPTIMIZER))
    losses = []
    for batch in batches(10):
        state, metrics = driver.step(state, driver.split(batch))
        losses.append(float(metrics["loss"]))
    return jax.device_get(driver.gather(state)), losses


@pytest.fixture(scope="module")
def alone(parts):
    return trained(*parts, "jit", 1)


@pytest.mark.parametrize(
    ("name", "num_devices"), [("jit", 8), ("pmap", 8), ("pmap", 1)]
)
def test_every_driver_trains_as_one_device(parts, alone, name, num_devices):
    state, losses = trained(*parts, name, num_devices)
    expected_state, expected_losses = alone
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    assert state.step == expected_state.step == 10
    pairs = zip(
        jax.tree.leaves(state.params),
        jax.tree.leaves(expected_state.params),
        strict=True,
    )
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_comparison_is_of_parameters_that_move(parts, alone):
    moved = [
        np.abs(before - after).max()
        for before, after in zip(
            jax.tree.leaves(parts[1]), jax.tree.leaves(alone[0].params), strict=True
        )
    ]
    assert max(moved) > 1e-2


def test_rows_lie_on_all_devices(parts):
    driver = make_driver("jit", parts[0])
    rows = driver.split(next(batches(1)))["source"]
    assert len(rows.sharding.device_set) == 8
    assert {shard.data.shape[0] for shard in rows.addressable_shards} == {ROWS // 8}
