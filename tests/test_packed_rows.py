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
from zoo.layers.positions import (
    LearnedPositions,
    Positions,
    RelativePositions,
    alibi_bias,
    sinusoidal_positions,
)
from zoo.losses import sequence_loss
from zoo.models.contract import initialize
from zoo.training.devices import make_driver
from zoo.training.step import init_state, make_train_step

VOCAB = 23
SIZES = {"model_dim": 16, "mlp_dim": 24, "num_heads": 2, "num_layers": 1}
BOTH = {**SIZES, "num_decoder_layers": 1}
MODELS = {
    **{
        positions: ("transformer-tiny", {**SIZES, "positions": positions})
        for positions in ("sinusoidal", "learned", "rotary", "relative", "alibi")
    },
    "marian": ("marian-tiny", BOTH),
    "bart": ("bart-base", {**BOTH, "max_positions": 32}),
    "t5": ("t5-small", {**BOTH, "head_dim": 8}),
}


class Everything(Positions):
    """All that can be added to embeddings and to scores, to test it at once."""

    bidirectional: bool

    def setup(self):
        self.learned = LearnedPositions(16, 16)
        self.relative = RelativePositions(2, self.bidirectional)

    def embed(self, states, positions):
        states = states + sinusoidal_positions(positions, 16)
        return self.learned.embed(states, positions)

    def bias(self, queries, keys):
        return self.relative.bias(queries, keys) + alibi_bias(queries, keys, 2)


# Rows of three, two and one pair; the lengths of their sides differ.
ROWS = [[(3, 4), (5, 2), (2, 5)], [(1, 1), (8, 6)], [(6, 9)]]


@cache
def make(name):
    preset, sizes = MODELS["rotary" if name == "everything" else name]
    model = zoo.create_model(preset, vocab_size=VOCAB, dropout_rate=0.0, **sizes)
    if name == "everything":
        model = model.clone(
            source_positions=Everything(True),
            target_positions=Everything(False),
        )
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


@cache
def features(name):
    """Returns a function of a batch and a packing to the features [B, T, D]."""
    model, params = make(name)
    return jax.jit(
        lambda source, inputs, packing: model.apply(
            {"params": params}, source, inputs, packing=packing, method="features"
        )
    )


def packed_features(name, batch):
    both = batch["source"], batch["inputs"]
    return np.asarray(features(name)(*both, packing_of(batch)))


@pytest.mark.parametrize("name", MODELS)
def test_every_token_has_the_features_and_logits_that_it_has_alone(name):
    model, params = make(name)
    packed, alone = batches(name)
    found = packed_features(name, packed)[packed["target_segments"] > 0]
    own = features(name)(alone["source"], alone["inputs"], None)
    # Pairs come in the same order, and so do their tokens.
    expected = own[alone["labels"] != model.pad_id]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    logits = model.apply({"params": params}, jnp.asarray(found), method="logits")
    expected = model.apply({"params": params}, expected, method="logits")
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_a_neighbour_has_no_influence(name):
    packed, _ = batches(name)
    before = packed_features(name, packed)
    for pair in (1, 2, 3):
        changed = dict(packed)
        for key, side in (("source", "source"), ("inputs", "target")):
            own = packed[f"{side}_segments"] == pair
            own[1:] = False
            changed[key] = np.where(own, (packed[key] + 7) % VOCAB, packed[key])
        after = packed_features(name, changed)
        theirs = packed["target_segments"] == pair
        theirs[1:] = False
        assert np.abs(after - before)[theirs].max() > 1e-2
        # Padding belongs to nobody.
        others = (packed["target_segments"] > 0) & ~theirs
        np.testing.assert_array_equal(after[others], before[others])


SIXTEEN = [ROWS[n % 3] for n in range(16)]


def mean_loss(model, params, batch):
    loss = sequence_loss(model, params, batch, None, label_smoothing=0.1)
    return loss.smoothed / loss.count, loss


@cache
def gradients():
    """Returns (gradient, loss) of shared rows and of rows of one pair each."""
    model, params = make("everything")
    gradient = jax.grad(partial(mean_loss, model), has_aux=True)
    both = jax.jit(lambda *batches: [gradient(params, batch) for batch in batches])
    return both(*batches("everything", SIXTEEN))


def test_the_loss_and_its_gradient_are_those_of_single_pairs():
    (found, loss), (expected, expected_loss) = gradients()
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    assert loss.count == sum(pair[1] + 1 for row in SIXTEEN for pair in row)
    flat = jax.tree_util.tree_leaves_with_path(expected)
    for (path, leaf), other in zip(flat, jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(leaf, other, atol=1e-5)
        # What is added to all scores of a query changes nothing.
        if not jax.tree_util.keystr(path).endswith("['key']['bias']"):
            assert np.abs(leaf).max() > 1e-3, path


@pytest.mark.parametrize(("driver_name", "remat"), [("jit", True), ("pmap", False)])
def test_eight_devices_learn_of_shared_rows_as_one_of_single_pairs(driver_name, remat):
    model, params = make("everything")
    model = rematerialized(model) if remat else model
    optimizer = optax.sgd(0.5)
    step = make_train_step(
        lambda params, batch, _: mean_loss(model, params, batch)[1],
        optimizer,
        jax.random.key(0),
        accumulation=2,
    )
    driver = make_driver(driver_name, step)
    state = driver.place(init_state(params, optimizer))
    packed, _ = batches("everything", SIXTEEN)
    state, metrics = driver.step(state, driver.split(packed))
    _, (gradient, loss) = gradients()
    np.testing.assert_allclose(metrics["loss"], loss.plain / loss.count, rtol=1e-5)
    assert metrics["count"] == loss.count
    expected = jax.tree.map(lambda leaf, slope: leaf - 0.5 * slope, params, gradient)
    found = jax.device_get(driver.gather(state)).params
    for leaf, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(leaf, other, atol=1e-5)
