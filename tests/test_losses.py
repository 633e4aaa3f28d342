"""Losses by hand, against optax, and the sliced one against the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from zoo.losses import (
    TOKENS_PER_PART,
    label_smoothed_cross_entropy,
    sigmoid_cross_entropy,
    tied_cross_entropy,
)

VOCAB, WIDTH = 11, 5


def draw(batch, length, seed=0):
    """Returns features, a table, labels, and sentences of unequal length."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(batch, length, WIDTH))
    lengths = rng.integers(1, length + 1, batch)
    return (
        jnp.asarray(features, jnp.float32),
        jnp.asarray(rng.normal(size=(VOCAB, WIDTH)), jnp.float32),
        jnp.asarray(rng.integers(0, VOCAB, (batch, length)), jnp.int32),
        jnp.asarray(np.arange(length) < lengths[:, None]),
    )


def plain_cross_entropy(features, table, labels, valid, smoothing):
    logits = jnp.einsum("BTD,VD->BTV", features, table)
    return label_smoothed_cross_entropy(logits, labels, valid, smoothing)


def mean_and_gradients(loss, smoothing):
    """Returns a function to nats a token, all sums, and both gradients, compiled."""

    def mean(features, table, labels, valid):
        total = loss(features, table, labels, valid, smoothing)
        return total.smoothed / jnp.maximum(total.count, 1.0), total

    return jax.jit(jax.value_and_grad(mean, (0, 1), has_aux=True))


def assert_same(found, expected):
    for leaf, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        # Sums over some thousand tokens are as exact as float32 is, relatively.
        np.testing.assert_allclose(leaf, other, rtol=1e-5, atol=1e-5)


def test_three_tokens_by_hand():
    # Probabilities ½, ¼, ¼ are 1, 2 and 2 times log 2 nats. With ε = 0.3 the target is
    # [0.8, 0.1, 0.1] for label 0 (1.2 log 2) and [0.1, 0.8, 0.1] for 1 (1.9 log 2).
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25]] * 2))
    labels, valid = jnp.array([0, 1]), jnp.array([True, True])
    loss = label_smoothed_cross_entropy(logits, labels, valid, 0.3)
    log_2 = np.log(2.0)
    np.testing.assert_allclose(loss, [3.1 * log_2, 3.0 * log_2, 2.0], atol=1e-5)
    first = label_smoothed_cross_entropy(logits, labels, jnp.array([True, False]), 0.3)
    np.testing.assert_allclose(first, [1.2 * log_2, 1.0 * log_2, 1.0], atol=1e-5)


def test_logits_need_not_be_normalised():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
    arguments = jnp.array([0]), jnp.array([True]), 0.3
    shifted = label_smoothed_cross_entropy(logits + 7.0, *arguments)
    assert_same(shifted, label_smoothed_cross_entropy(logits, *arguments))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_smoothing_is_that_of_optax(smoothing):
    features, table, labels, valid = draw(3, 7)
    logits = features @ table.T
    loss = label_smoothed_cross_entropy(logits, labels, valid, smoothing)
    targets = optax.smooth_labels(jax.nn.one_hot(labels, VOCAB), smoothing)
    values = optax.softmax_cross_entropy(logits, targets)
    np.testing.assert_allclose(loss.smoothed, values[valid].sum(), rtol=1e-5)
    plain = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    np.testing.assert_allclose(loss.plain, plain[valid].sum(), rtol=1e-5)
    assert loss.count == valid.sum()


def test_bfloat16_logits_are_summed_in_float32():
    features, table, labels, valid = draw(20, 30)
    logits = (features @ table.T).astype(jnp.bfloat16)
    loss = label_smoothed_cross_entropy(logits, labels, valid, 0.1)
    wide = logits.astype(jnp.float32)
    expected = label_smoothed_cross_entropy(wide, labels, valid, 0.1)
    assert {leaf.dtype for leaf in loss} == {jnp.dtype(jnp.float32)}
    assert_same(loss, expected)


def test_soft_scores_by_hand():
    # σ = ¾ for a logit of log 3: a score of 1 costs log 4/3, of 0 log 4, and of ½ the
    # mean of both. A second question is padding.
    logits = jnp.log(jnp.array([[[3.0, 3.0, 3.0], [9.0, 9.0, 9.0]]]))
    targets = jnp.array([[[1.0, 0.0, 0.5], [1.0, 1.0, 1.0]]])
    loss = sigmoid_cross_entropy(logits, targets, jnp.array([[True, False]]))
    expected = 1.5 * (np.log(4 / 3) + np.log(4))
    np.testing.assert_allclose(loss, [expected, expected, 1.0], rtol=1e-6)


def test_soft_scores_are_those_of_optax_with_their_gradients():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(30 * rng.normal(size=(4, 3, VOCAB)), jnp.float32)
    targets = jnp.asarray(rng.uniform(size=logits.shape), jnp.float32)
    valid = jnp.asarray(rng.uniform(size=(4, 3)) < 0.7)

    def ours(logits):
        return sigmoid_cross_entropy(logits, targets, valid).smoothed

    def theirs(logits):
        each = optax.sigmoid_binary_cross_entropy(logits, targets).sum(axis=-1)
        return jnp.where(valid, each, 0.0).sum()

    assert_same(jax.value_and_grad(ours)(logits), jax.value_and_grad(theirs)(logits))
    assert sigmoid_cross_entropy(logits, targets, valid).count == valid.sum()


@pytest.mark.parametrize("loss", [plain_cross_entropy, tied_cross_entropy])
def test_padding_counts_for_nothing(loss):
    features, table, labels, valid = draw(4, 6)
    assert not valid.all()
    measure = mean_and_gradients(loss, 0.1)
    before = measure(features, table, labels, valid)
    changed = jnp.where(valid[..., None], features, 50.0)
    after = measure(changed, table, jnp.where(valid, labels, 3), valid)
    assert_same(after, before)
    _, (gradient, _) = after
    np.testing.assert_array_equal(np.asarray(gradient)[~np.asarray(valid)], 0.0)
    assert (np.abs(gradient).max(axis=-1) > 0)[valid].all()


SHAPES = [
    (1, 1),
    (3, 7),
    (4, 1),
    (100, 12),  # Parts of 5 positions: the third is filled up.
    (8, 2 * TOKENS_PER_PART // 8),  # Two parts that fit exactly.
    (TOKENS_PER_PART + 88, 2),  # More sentences than a part has tokens.
]


@pytest.mark.parametrize(
    ("shape", "smoothing"),
    [*((shape, 0.1) for shape in SHAPES), ((100, 12), 0.0)],
    ids=str,
)
def test_the_sliced_loss_is_the_plain_one_with_its_gradients(shape, smoothing):
    arrays = draw(*shape)
    found = mean_and_gradients(tied_cross_entropy, smoothing)(*arrays)
    expected = mean_and_gradients(plain_cross_entropy, smoothing)(*arrays)
    assert_same(found, expected)


def test_the_sliced_loss_without_gradients_is_the_plain_one():
    arrays = draw(100, 12)
    sliced = jax.jit(tied_cross_entropy, static_argnums=4)
    assert_same(sliced(*arrays, 0.1), plain_cross_entropy(*arrays, 0.1))


def test_a_batch_of_padding_costs_nothing_and_teaches_nothing():
    features, table, labels, valid = draw(100, 12)
    found = mean_and_gradients(tied_cross_entropy, 0.1)(
        features, table, labels, jnp.zeros_like(valid)
    )
    for leaf in jax.tree.leaves(found):
        np.testing.assert_array_equal(leaf, 0.0)


def test_the_sliced_loss_scales_with_what_is_made_of_it():
    arrays = draw(3, 7)

    def gradients(loss):
        return jax.grad(lambda *both: 3.0 * loss(*both, *arrays[2:], 0.1).smoothed)(
            *arrays[:2]
        )

    assert_same(gradients(tied_cross_entropy), gradients(plain_cross_entropy))


def test_a_batch_over_eight_devices_has_the_loss_and_gradients_of_one():
    assert jax.device_count() == 8
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    everywhere = NamedSharding(mesh, PartitionSpec())
    arrays = draw(80, 13)
    counts = np.asarray(arrays[3]).reshape(8, -1).sum(axis=1)
    assert len(set(counts)) > 1, "shards of equal counts would hide a mean of means"
    measure = mean_and_gradients(tied_cross_entropy, 0.1)
    placed = [
        jax.device_put(array, everywhere if array is arrays[1] else rows)
        for array in arrays
    ]
    found = measure(*placed)
    assert len(found[1][0].sharding.device_set) == 8
    assert_same(found, mean_and_gradients(plain_cross_entropy, 0.1)(*arrays))
