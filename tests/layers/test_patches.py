import jax
import jax.numpy as jnp
import numpy as np

from zoo.layers.patches import PositionedPatches, real_cells, stretch

TABLE = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 4)), jnp.float32)


def stretched(rows, columns, shape):
    return stretch(TABLE, jnp.array([rows]), jnp.array([columns]), shape)[0]


def test_on_its_own_grid_positions_are_the_table():
    np.testing.assert_array_equal(stretched(3, 3, (3, 3)), TABLE)


def test_corners_stay_corners_and_the_middle_is_between():
    found = stretched(5, 2, (5, 2))
    np.testing.assert_allclose(found[0, 0], TABLE[0, 0])
    np.testing.assert_allclose(found[4, 1], TABLE[2, 2], atol=1e-6)
    np.testing.assert_allclose(found[1, 0], (TABLE[0, 0] + TABLE[1, 0]) / 2, atol=1e-6)


def test_a_single_row_is_the_first():
    np.testing.assert_allclose(stretched(1, 3, (1, 3))[0], TABLE[0], atol=1e-6)


def test_padding_does_not_move_what_is_real():
    alone = stretched(2, 4, (2, 4))
    padded = stretched(2, 4, (5, 6))
    np.testing.assert_allclose(padded[:2, :4], alone, atol=1e-6)


def test_cells_without_alpha_are_padding():
    image = jnp.zeros((2, 4, 6, 4), jnp.uint8).at[1, :2, :4, 3].set(255)
    assert not real_cells(image, 2)[0].any()
    assert real_cells(image, 2)[1].tolist() == [[True, True, False], [False] * 3]
    assert real_cells(image[..., :3], 4).shape == (2, 1, 2)
    assert real_cells(image[..., :3], 4).all()


def test_an_image_of_another_shape_has_more_patches():
    patches = PositionedPatches(model_dim=8, image_size=8, patch_size=4)
    image = jnp.zeros((1, 6, 12, 3))
    (regions, valid), _ = patches.init_with_output(jax.random.key(0), image)
    assert regions.shape == (1, 6, 8)
    assert valid.all()
