"""Masks, written out."""

import jax.numpy as jnp
import numpy as np

from zoo.layers.masks import causal_mask, padding_mask, segment_mask


def test_a_causal_mask_by_hand():
    mask = causal_mask(3)
    assert mask.shape == (1, 1, 3, 3)
    np.testing.assert_array_equal(mask[0, 0], [[1, 0, 0], [1, 1, 0], [1, 1, 1]])


def test_a_causal_mask_of_one_token_sees_itself():
    assert causal_mask(1).all()


def test_a_padding_mask_is_the_same_for_every_head_and_query():
    valid = jnp.array([[True, True, False], [False, True, True]])
    mask = padding_mask(valid)
    assert mask.shape == (2, 1, 1, 3)
    np.testing.assert_array_equal(mask[:, 0, 0], valid)


def test_a_query_sees_the_keys_of_its_own_segment_by_hand():
    mask = segment_mask(jnp.array([[1, 1, 2]]), jnp.array([[1, 2, 2, 0]]))
    assert mask.shape == (1, 1, 3, 4)
    np.testing.assert_array_equal(
        mask[0, 0], [[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0]]
    )


def test_masks_are_boolean():
    assert causal_mask(2).dtype == jnp.bool_
    segments = jnp.ones((1, 2), jnp.int32)
    assert segment_mask(segments, segments).dtype == jnp.bool_
    assert padding_mask(jnp.ones((1, 2), bool)).dtype == jnp.bool_


def test_both_together_hide_the_future_and_the_padding():
    valid = np.array([[True, True, True, False], [False, True, True, True]])
    both = padding_mask(jnp.asarray(valid)) & causal_mask(4)
    assert both.shape == (2, 1, 4, 4)
    for row, query, key in np.ndindex(2, 4, 4):
        assert both[row, 0, query, key] == (valid[row, key] and key <= query)
    # Query 0 of the second sentence sees only itself, which is padding: nothing.
    assert not both[1, 0, 0].any()
