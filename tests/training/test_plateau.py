"""What is remembered of evaluations, by hand."""

import math

import jax
import jax.numpy as jnp
import pytest

from zoo.training.plateau import judged, no_plateau


def judged_all(losses, **rule):
    """Returns (best, stale, scale) after each of the losses."""
    plateau, seen = no_plateau(), []
    for loss in losses:
        plateau = judged(plateau, loss, **rule)
        seen.append(tuple(float(leaf) for leaf in jax.tree.leaves(plateau)))
    return seen


def test_three_numbers_by_hand():
    # Equal is no better, NaN is no better, and a better loss makes a new beginning.
    losses = [4.0, 2.0, 2.0, math.nan, 3.0, 1.0, 1.5]
    assert judged_all(losses, patience=2, factor=0.5) == [
        (4.0, 0, 1.0),
        (2.0, 0, 1.0),
        (2.0, 1, 1.0),
        (2.0, 2, 0.5),
        (2.0, 3, 0.5),
        (1.0, 0, 0.5),
        (1.0, 1, 0.5),
    ]


def test_the_rate_falls_again_after_as_many_evaluations_more():
    scales = [scale for _, _, scale in judged_all([1.0] * 8, patience=3, factor=0.1)]
    assert scales == pytest.approx([1.0] * 3 + [0.1] * 3 + [0.01] * 2)


def test_by_default_the_rate_stays():
    assert [scale for _, _, scale in judged_all([1.0] * 5)] == [1.0] * 5


def test_dtypes_and_shapes_stay_as_a_checkpoint_has_them():
    before = jax.tree.map(lambda leaf: jnp.stack([leaf] * 8), no_plateau())
    after = judged(before, 2.0, patience=1, factor=0.5)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert (new.shape, new.dtype) == (old.shape, old.dtype)
