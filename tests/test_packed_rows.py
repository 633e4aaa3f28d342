"""Pairs that share a row come out as they do in rows of their own."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from zoo.data.batching import Bucket, SpecialIds, pad_batch
from zoo.data.packed_batching import pack_batch
from zoo.layers.blocks import rematerialized
from zoo.layers.masks import Packing
from zoo.losses import sequence_loss
from zoo.models.contract import initialize
from zoo.training.devices import make_driver
from zoo.training.step import init_state, make_train_step

VOCAB = 23
SIZES = {"model_dim": 16, "mlp_dim": 24, "num_heads": 2, "num_layers": 1}
BOTH = {**SIZES, "num_decoder_layers": 1}
ENCODINGS = ("sinusoidal", "learned", "rotary", "relative", "alibi")
MODELS = {
    **{name: ("transformer-tiny", {**SIZES, "positions": name}) for name in ENCODINGS},
    "marian": ("marian-tiny", BOTH),
    "bart": ("bart-base", {**BOTH, "max_positions": 32}),
    "t5": ("t5-small", {**BOTH, "head_dim": 8}),
}
# Rows of three, two and one pair; the lengths of their sides differ.
ROWS = [[(3, 4), (5, 2), (2, 5)], [(1, 1), (8, 6)], [(6, 9)]]


@cache
def make(name):
    preset, sizes = MODELS[name]
    model = zoo.create_model(preset, vocab_size=VOCAB, dropout_rate=0.0, **sizes)
    shapes = jax.eval_shape(partial(initialize, model), jax.random.key(0))
    rng = np.random.default_rng(1)

    def drawn(path, leaf):
        scale = jax.tree_util.keystr(path).endswith("['scale']")
        values = scale + rng.normal(0.0, 0.3, leaf.shape)
        return jnp.asarray(values, jnp.float32)

    return model, jax.tree_util.tree_map_with_path(drawn, shapes)


def draw(rows, seed=0):
    """Returns the ids of the sources and of the targets of each row."""
    rng = np.random.default_rng(seed)
    return [
        [[rng.integers(3, VOCAB, pair[side]).tolist() for pair in row] for row in rows]
        for side in (0, 1)
    ]


def batches(name, rows=ROWS):
    """Returns the same pairs in shared rows and in rows of their own."""
    model, _ = make(name)
    special = SpecialIds(model.pad_id, model.start_id, model.eos_id)
    source, target = draw(rows)
    packed = pack_batch(source, target, Bucket(15, 16, len(rows)), special)
    alone = [[ids for row in side for ids in row] for side in (source, target)]
    return packed, pad_batch(*alone, Bucket(10, 11, len(alone[0])), special)


def packing_of(batch):
    return Packing(*(jnp.asarray(batch[name]) for name in Packing._fields))


def features(name, params, batch, packing):
    """Returns the features [B, T, D] of a batch."""
    variables, sides = {"params": params}, (batch["source"], batch["inputs"])
    return make(name)[0].apply(variables, *sides, packing=packing, method="features")


@cache
def derived(name):
    """Returns a function to the features of both batches and both gradients.

    They are of a sum to which each token adds what its label says.
    """
    direction = jnp.asarray(np.random.default_rng(2).normal(size=(VOCAB, 16)))

    def total(params, batch, packing, valid):
        found = features(name, params, batch, packing)
        weights = valid[..., None] * direction[batch["labels"]]
        return (found * weights).sum(), found

    def both(packed, packing, alone):
        params = make(name)[1]
        gradient = jax.grad(total, has_aux=True)
        valid = alone["labels"] != make(name)[0].pad_id
        return (
            gradient(params, packed, packing, packing.target_segments > 0),
            gradient(params, alone, None, valid),
        )

    return jax.jit(both)


@pytest.mark.parametrize("name", ENCODINGS)
def test_packed_rows_have_the_features_and_the_gradient_of_single_pairs(name):
    packed, alone = batches(name)
    (ours, found), (theirs, expected) = derived(name)(packed, packing_of(packed), alone)
    # Pairs come in the same order, and so do their tokens.
    found = found[packed["target_segments"] > 0]
    expected = expected[alone["labels"] != 0]
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(theirs)) > 1
    for leaf, other in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
        np.testing.assert_allclose(leaf, other, atol=1e-4)


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_neighbour_has_no_influence(name):
    packed, alone = batches(name)
    others = packing_of(packed), alone

    def states(batch):
        return np.asarray(derived(name)(batch, *others)[0][1])

    before = states(packed)
    for pair in (1, 2, 3):
        changed = dict(packed)
        for key, side in (("source", "source"), ("inputs", "target")):
            own = packed[f"{side}_segments"] == pair
            own[1:] = False
            changed[key] = np.where(own, (packed[key] + 7) % VOCAB, packed[key])
        after = states(changed)
        theirs = packed["target_segments"] == pair
        theirs[1:] = False
        assert np.abs(after - before)[theirs].max() > 1e-2
        # Padding belongs to nobody.
        rest = (packed["target_segments"] > 0) & ~theirs
        np.testing.assert_array_equal(after[rest], before[rest])


@pytest.mark.parametrize("name", sorted(MODELS.keys() - set(ENCODINGS)))
def test_families_of_others_are_packed_as_ours(name):
    packed, alone = batches(name)
    model, params = make(name)
    compute = jax.jit(partial(features, name))
    found = compute(params, packed, packing_of(packed))
    expected = compute(params, alone, None)[alone["labels"] != model.pad_id]
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(
        found[packed["target_segments"] > 0], expected, atol=1e-5
    )


OPTIMIZER = optax.sgd(0.5)
SIXTEEN = [ROWS[n % 3] for n in range(16)]


def updated(batch, driver_name, num_devices, portions=1, remat=False):
    """Returns the parameters after two updates on a batch, and the losses."""
    model, params = make("rotary")
    model = rematerialized(model) if remat else model

    def loss(params, batch, key):
        return sequence_loss(model, params, batch, None, smoothing=0.1)

    step = make_train_step(loss, OPTIMIZER, jax.random.key(0), accumulation=portions)
    driver = make_driver(driver_name, step, jax.devices()[:num_devices])
    state = driver.place(init_state(params, OPTIMIZER))
    losses = []
    for _ in range(2):
        state, metrics = driver.step(state, driver.split(batch))
        losses.append([float(metrics["loss"]), float(metrics["count"])])
    return jax.device_get(driver.gather(state)).params, losses


@pytest.fixture(scope="module")
def alone():
    """What one device learns of rows of one pair each."""
    return updated(batches("rotary", SIXTEEN)[1], "jit", 1)


@pytest.mark.parametrize("driver_name", ["jit", "pmap"])
def test_every_driver_trains_on_packed_rows_as_one_device_on_single_pairs(
    alone, driver_name
):
    packed, _ = batches("rotary", SIXTEEN)
    found = updated(packed, driver_name, 8, portions=2, remat=True)
    np.testing.assert_allclose(found[1], alone[1], rtol=1e-5)
    for leaf, other in zip(*map(jax.tree.leaves, (found[0], alone[0])), strict=True):
        np.testing.assert_allclose(leaf, other, atol=1e-5)
    moved = zip(*map(jax.tree.leaves, (alone[0], make("rotary")[1])), strict=True)
    assert max(np.abs(after - before).max() for after, before in moved) > 1e-2
