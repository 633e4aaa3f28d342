"""Regions of images: cut by hand, in their places, and free of padding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers.positions import sinusoidal_positions
from zoo.layers.vision import (
    ImageEncoder,
    PatchEmbedding,
    RegionFeatures,
    ResidualCNN,
    ResidualStage,
    extract_patches,
    grid_positions,
    pad_to_multiple,
    scale_pixels,
)

ENCODERS = {
    "cnn": ResidualCNN(model_dim=12, dim=8),
    "patches": PatchEmbedding(model_dim=12, patch_size=8),
    "features": RegionFeatures(model_dim=12, region_dim=5),
}
every_grid = pytest.mark.parametrize("name", ["cnn", "patches"])


def draw(*shape, seed=0):
    """Returns a picture without noise in it, but with everything else."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.integers(0, 256, shape), jnp.uint8)


@functools.cache
def parameters(name):
    encoder = ENCODERS[name]
    shapes = jax.eval_shape(
        encoder.init, jax.random.key(0), jnp.zeros((1, *encoder.example_shape))
    )
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), jnp.float32), shapes
    )


@functools.cache
def jitted(name):
    return jax.jit(ENCODERS[name].apply)


def encode(name, image):
    return jitted(name)(parameters(name), image)


def test_pixels_become_numbers_around_zero():
    image = jnp.array([0, 51, 255], jnp.uint8).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(
        scale_pixels(image).ravel(), [-1.0, -0.6, 1.0], atol=1e-6
    )


def test_a_grid_of_four_by_four_is_cut_by_hand():
    grid = jnp.arange(16.0).reshape(1, 4, 4, 1)
    expected = [
        [[0, 1, 4, 5], [2, 3, 6, 7]],
        [[8, 9, 12, 13], [10, 11, 14, 15]],
    ]
    np.testing.assert_array_equal(extract_patches(grid, 2)[0], expected)


def test_an_image_is_widened_at_both_ends_alike():
    image = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])[None, :, :, None]
    rows = [[1, 1, 2, 3, 3]] * 2 + [[4, 4, 5, 6, 6]] * 3
    np.testing.assert_array_equal(pad_to_multiple(image, 5)[0, :, :, 0], rows)
    np.testing.assert_array_equal(pad_to_multiple(image[:, :, :2], 2), image[:, :, :2])


def test_a_cell_knows_its_row_and_its_column():
    positions = grid_positions(3, 4, 8)
    np.testing.assert_allclose(
        positions[2, 3],
        np.concatenate([sinusoidal_positions(jnp.array(place), 4) for place in (2, 3)]),
        atol=1e-6,
    )
    cells = np.asarray(positions).reshape(12, 8)
    apart = np.abs(cells[:, None] - cells[None]).max(axis=-1)
    assert (apart + np.eye(12)).min() > 1e-2
    # A larger grid has the same cells, and more.
    np.testing.assert_array_equal(grid_positions(5, 5, 8)[:3, :4], positions)
    with pytest.raises(ValueError, match="dim=10"):
        grid_positions(2, 2, 10)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_says_what_it_takes(name):
    encoder = ENCODERS[name]
    assert isinstance(encoder, ImageEncoder)
    image = jnp.zeros((3, *encoder.example_shape))
    regions, valid = jax.eval_shape(encoder.apply, parameters(name), image)
    assert regions.shape == (3, *valid.shape[1:], 12)


@pytest.mark.parametrize(("side", "cells"), [(64, 8), (75, 10), (57, 8)])
@every_grid
def test_the_grid_has_a_cell_for_every_eight_pixels(name, side, cells):
    image = jnp.zeros((1, side, side, 3), jnp.uint8)
    regions, valid = jax.eval_shape(ENCODERS[name].apply, parameters(name), image)
    assert regions.shape == (1, cells * cells, 12)
    assert valid.shape == (1, cells * cells)


@every_grid
def test_a_pixel_matters_most_to_the_cell_above_it(name):
    # In a grid that strides shift, or that reads columns first, it would be another.
    # Without the blocks, as training begins, so that cells do not mix.
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: 0 * leaf if "second_norm" in str(path) else leaf,
        parameters(name),
    )
    image = np.repeat(np.asarray(draw(1, 16, 16, 3)) // 2, 3, axis=0)
    image[1, :8, 8:] += 100
    image[2, 8:, :8] += 100
    regions, valid = jitted(name)(params, jnp.asarray(image))
    assert valid.all()
    change = np.abs(np.asarray(regions) - regions[0]).sum(axis=-1)
    np.testing.assert_array_equal(change[1:].argmax(axis=1), [1, 2])


def test_an_untrained_network_treats_the_middle_of_a_cell_as_the_middle():
    # Averages over a cell and its neighbours: what is mirrored gives mirrored regions.
    # Positions are taken away, as they are not mirrored.
    stage = ResidualStage(8, 4)
    image = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype(np.float32)
    rng = np.random.default_rng(1)
    params = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32),
        jax.eval_shape(stage.init, jax.random.key(0), image)["params"],
    )

    def symmetric(leaf, axis):
        return (leaf + np.flip(leaf, axis)) / 2

    for name in ("first", "second"):
        params[name] = {"kernel": symmetric(params[name]["kernel"], 1)}
    kernel = params["projection"]["kernel"].reshape(4, 4, 3, 8)
    params["projection"] = {"kernel": symmetric(kernel, 1).reshape(-1, 8)}
    apply = jax.jit(stage.apply)
    straight = np.asarray(apply({"params": params}, image))
    mirrored = apply({"params": params}, np.flip(image, 2))
    np.testing.assert_allclose(mirrored, np.flip(straight, 2), atol=1e-5)


def test_a_residual_stage_begins_without_its_block():
    def last_norm(key):
        grid = jnp.zeros((1, 4, 4, 3))
        return ResidualStage(8, 2).init(key, grid)["params"]["second_norm"]

    for leaf in jax.tree.leaves(jax.jit(last_norm)(jax.random.key(0))):
        np.testing.assert_array_equal(leaf, 0.0)


def test_statistics_of_norms_are_float32_in_a_model_of_bfloat16():
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), parameters("cnn"))
    image = draw(1, 16, 16, 3)
    regions, _ = jax.eval_shape(ENCODERS["cnn"].apply, half, image)
    assert regions.dtype == jnp.bfloat16
    text = str(jax.make_jaxpr(ENCODERS["cnn"].apply)(half, image))
    moments = [line for line in text.splitlines() if "= square " in line]
    assert moments
    assert all("f32" in line for line in moments)


@pytest.mark.parametrize("name", ENCODERS)
def test_other_images_of_the_batch_cannot_matter(name):
    shape = (3, 16, 16, 3) if name != "features" else (3, 4, 5)
    first, other = (np.asarray(draw(*shape, seed=seed)) for seed in (0, 1))
    mixed = np.stack([other[0], first[1], other[2]])
    if name == "features":
        first, mixed = np.float32(first), np.float32(mixed)
    before, _ = encode(name, jnp.asarray(first))
    after, _ = encode(name, jnp.asarray(mixed))
    np.testing.assert_allclose(after[1], before[1], atol=1e-5)
    assert np.abs(after - before)[0].max() > 1e-2


def test_rows_of_zeros_are_no_regions():
    features = jnp.array([[[1.0, 0, 0, 0, 0], [0, 0, -2, 0, 0], [0, 0, 0, 0, 0]]])
    regions, valid = encode("features", features)
    np.testing.assert_array_equal(valid, [[True, True, False]])
    dense = parameters("features")["params"]["projection"]
    np.testing.assert_allclose(
        regions[0, 1], dense["bias"] - 2 * dense["kernel"][2], atol=1e-5
    )


def test_features_of_another_width_are_refused():
    with pytest.raises(ValueError, match="4 features, but 5"):
        encode("features", jnp.ones((1, 3, 4)))
