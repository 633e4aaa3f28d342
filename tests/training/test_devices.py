"""The drivers take the step that one device would take, on eight virtual devices.

The short version of `python -m benchmarks.faults.drivers`.
"""

from functools import cache, partial

import jax
import numpy as np
import pytest

import zoo
from benchmarks.faults.drivers import OPTIMIZER, loss_of, uneven_batches
from zoo.checkpoints import Checkpoints
from zoo.errors import InputError
from zoo.layers.blocks import rematerialized
from zoo.losses import TokenLoss
from zoo.models.contract import initialize
from zoo.spreading import mesh_of
from zoo.training.devices import make_driver
from zoo.training.plateau import judged
from zoo.training.step import init_state, make_train_step

ROWS, LENGTH, VOCAB = 16, 6, 23


def tiny_model():
    return zoo.create_model(
        "transformer-tiny",
        vocab_size=VOCAB,
        model_dim=16,
        mlp_dim=16,
        num_heads=2,
        num_layers=1,
        dropout_rate=0.0,
    )


@cache
def loss_and_params(remat=False):
    """Returns the loss of the tiny preset and parameters of it."""
    model = tiny_model()
    model = rematerialized(model) if remat else model

    return loss_of(model), jax.jit(partial(initialize, model))(jax.random.key(1))


@pytest.fixture(scope="module")
def parts():
    return loss_and_params()


def batches(count):
    """Yields batches whose shards hold very different numbers of tokens."""
    return uneven_batches(count, vocab_size=VOCAB, rows=ROWS, length=LENGTH)


def make_step(loss, accumulation):
    key = jax.random.key(0)
    return make_train_step(loss, OPTIMIZER, key, accumulation=accumulation)


def trained(loss, params, name, num_devices, accumulation=1, model_devices=1, steps=10):
    step = make_step(loss, accumulation)
    driver = make_driver(
        name, step, jax.devices()[:num_devices], model_devices=model_devices
    )
    state = driver.place(init_state(params, OPTIMIZER))
    losses = []
    for batch in batches(steps):
        state, metrics = driver.step(state, driver.split(batch))
        losses.append(float(metrics["loss"]))
    return jax.device_get(driver.gather(state)), losses


@pytest.fixture(scope="module")
def alone(parts):
    return trained(*parts, "jit", 1)


@pytest.mark.parametrize(
    ("name", "num_devices", "portions", "model_devices", "remat"),
    [
        ("jit", 8, 1, 1, False),
        ("pmap", 8, 1, 1, False),
        ("pmap", 1, 1, 1, False),
        ("sharded", 8, 1, 1, False),
        ("jit", 8, 1, 2, True),  # 4 x 2: the model has two heads
        ("jit", 8, 2, 1, True),
        ("pmap", 8, 2, 1, True),
        ("sharded", 8, 2, 1, True),
    ],
)
def test_every_driver_trains_as_one_device(
    parts, alone, name, num_devices, portions, model_devices, remat
):
    loss, params = loss_and_params(remat=True) if remat else parts
    state, losses = trained(loss, params, name, num_devices, portions, model_devices)
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
    driver = make_driver("jit", make_step(parts[0], 1))
    rows = driver.split(next(batches(1)))["source"]
    assert len(rows.sharding.device_set) == 8
    assert {shard.data.shape[0] for shard in rows.addressable_shards} == {ROWS // 8}


def products(params, batch, key):
    """A loss of one matrix, for tests that look at rows and not at a model."""
    scores = (batch["source"] / VOCAB) @ params["w"]
    total = 0.5 * (scores**2).sum()
    return TokenLoss(total, total, (batch["labels"] > 0).sum().astype(np.float32))


PRODUCTS = {"w": np.linspace(-1.0, 1.0, LENGTH, dtype=np.float32)}


def test_portions_move_no_row_to_another_device():
    driver = make_driver("jit", make_step(products, 2))
    state = driver.place(init_state(PRODUCTS, OPTIMIZER))
    program = driver._step.lower(state, driver.split(next(batches(1)))).compile()
    assert "all-reduce" in program.as_text()
    for move in ("all-gather", "all-to-all", "collective-permute"):
        assert move not in program.as_text(), move


@pytest.mark.parametrize("name", ["jit", "pmap"])
def test_an_evaluation_lowers_the_rate_on_every_device(name):
    driver = make_driver(name, make_step(products, 1))
    state = driver.place(init_state(PRODUCTS, OPTIMIZER, ema=True))
    seen = judged(state.plateau, 1.0)
    state = state.replace(plateau=judged(seen, 2.0, patience=1, factor=0.5))
    moved = []
    for scale in (0.5, 1.0):
        if scale == 1.0:
            state = driver.place(init_state(PRODUCTS, OPTIMIZER, ema=True))
        state, _ = driver.step(state, driver.split(next(batches(1))))
        after = driver.gather(state)
        assert after.plateau.scale == scale
        moved.append(np.asarray(after.params["w"]) - PRODUCTS["w"])
    assert np.abs(moved[0]).max() > 1e-3
    np.testing.assert_allclose(2 * moved[0], moved[1], rtol=1e-4)


def parts_of(state, name):
    """Returns the shape of the array that a device holds of each one of that name."""
    paths = jax.tree_util.tree_leaves_with_path(state.params)
    return {
        leaf.addressable_shards[0].data.shape
        for path, leaf in paths
        if jax.tree_util.keystr(path, simple=True, separator="/").endswith(name)
    }


def test_heads_and_units_lie_on_the_devices_of_a_row(parts):
    driver = make_driver("jit", make_step(parts[0], 1), model_devices=2)
    state = driver.place(init_state(parts[1], OPTIMIZER))
    assert parts_of(state, "query/kernel") == {(16, 1, 8)}
    assert parts_of(state, "out/kernel") == {(1, 8, 16)}
    assert parts_of(state, "up/kernel") == {(16, 8)}
    assert parts_of(state, "down/kernel") == {(8, 16)}
    rows = driver.split(next(batches(1)))["source"]
    assert {shard.data.shape[0] for shard in rows.addressable_shards} == {ROWS // 4}


def test_a_shard_is_an_eighth_of_what_divides(parts):
    driver = make_driver("sharded", make_step(parts[0], 1))
    state = driver.place(init_state(parts[1], OPTIMIZER))
    assert parts_of(state, "up/kernel") == {(2, 16)}
    sizes = [
        leaf.addressable_shards[0].data.size / leaf.size
        for leaf in jax.tree.leaves(state.params)
    ]
    assert min(sizes) == 1 / 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_devices": 3}, "8 devices do not divide by 3"),
        ({"model_devices": 8}, r"key/bias: 2 heads .* do not divide by 8"),
    ],
)
def test_what_does_not_divide_is_refused(parts, options, message):
    state = init_state(parts[1], OPTIMIZER)
    with pytest.raises(InputError, match=message):
        make_driver("jit", make_step(parts[0], 1), **options).place(state)


def test_a_model_without_heads_is_not_cut_by_heads():
    driver = make_driver("jit", make_step(products, 1), model_devices=2)
    with pytest.raises(InputError, match="no array of this model can be cut"):
        driver.place(init_state(PRODUCTS, OPTIMIZER))


@pytest.mark.parametrize(
    ("name", "model_devices"),
    [("sharded", 1), ("jit", 2), ("pmap", 1)],
    ids=["sharded 8", "4 x 2", "pmap 8"],
)
def test_a_state_in_parts_is_saved_whole_and_goes_on_under_any_driver(
    parts, tmp_path, name, model_devices
):
    begun = init_state(parts[1], OPTIMIZER)
    driver = make_driver(name, make_step(parts[0], 1), model_devices=model_devices)
    with Checkpoints(tmp_path) as checkpoints:
        saved = driver.gather(driver.place(begun))
        checkpoints.save(1, saved, loss=1.0, note={})
        restored = checkpoints.restore(1, begun)
    for name, options in (("jit", {"model_devices": 2}), ("pmap", {}), ("sharded", {})):
        driver = make_driver(name, make_step(parts[0], 1), jax.devices()[:4], **options)
        found = driver.gather(driver.place(restored))
        # Evaluation is divided among the devices that have the parameters.
        assert mesh_of(found.params).size == 4
        for ours, theirs in zip(*map(jax.tree.leaves, (found, begun)), strict=True):
            np.testing.assert_array_equal(ours, theirs)
