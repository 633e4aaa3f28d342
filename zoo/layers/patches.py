"""Patches that know their place by heart: a learned vector for each cell of a grid.

Dosovitskiy et al. (2021), "An Image is Worth 16x16 Words", equation 1. Positions are
learned on a square grid and stretched to the grid of each image, corners onto corners,
so that images of other shapes are seen too.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from zoo.layers.vision import (
    Projection,
    Regions,
    extract_patches,
    pad_to_multiple,
    scale_pixels,
)


def interpolation_weights(
    lengths: Int[Array, " B"], size: int, num_points: int
) -> Float[Array, "B N P"]:
    """Returns what each learned point counts at each of `size` places in a row.

    The first place lies on the first point and the last of `lengths` on the last one;
    a place between two points has a share of each, and places beyond that length stand
    on the last point.

    >>> interpolation_weights(jnp.array([3]), 4, 2).tolist()
    [[[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.0, 1.0]]]
    """
    step = (num_points - 1) / jnp.maximum(lengths - 1, 1)
    places = jnp.minimum(jnp.arange(size) * step[:, None], num_points - 1)
    distances = jnp.abs(places[..., None] - jnp.arange(num_points))
    return jnp.maximum(1.0 - distances, 0.0)


def stretch(
    table: Float[Array, "P P D"],
    rows: Int[Array, " B"],
    columns: Int[Array, " B"],
    shape: tuple[int, int],
) -> Float[Array, "B Y X D"]:
    """Returns the positions of a square grid for grids of other shapes.

    Bilinear, as in ViLT (Kim et al. 2021) and in the authors' code of ViT; on a grid of
    the shape of the table it is the table.

    Args:
        rows: of the grid of each image; below it is padding.
        columns: likewise; to the right is padding.
        shape: rows and columns of what is returned.
    """
    down = interpolation_weights(rows, shape[0], len(table)).astype(table.dtype)
    across = interpolation_weights(columns, shape[1], len(table)).astype(table.dtype)
    return jnp.einsum("BYP,BXO,POD->BYXD", down, across, table)


def real_cells(image: Num[Array, "B Y X C"], size: int) -> Bool[Array, "B Rows Cols"]:
    """Returns which cells of an image are not padding.

    An image with a fourth channel, alpha, is padded where that is 0: below or to the
    right of a rectangle of whole cells. Of any other image all cells are real.
    """
    batch, height, width, channels = image.shape
    if channels == 4:
        return image[:, ::size, ::size, 3] > 0
    return jnp.ones((batch, -(-height // size), -(-width // size)), bool)


class PositionedPatches(nn.Module):
    """The patches of an image, with learned positions.

    >>> import jax
    >>> patches = PositionedPatches(model_dim=8, image_size=32, patch_size=16)
    >>> arguments = jax.random.key(0), jnp.ones((1, 32, 48, 3))
    >>> regions, *_ = jax.eval_shape(patches.init_with_output, *arguments)[0]
    >>> regions.shape
    (1, 6, 8)

    Attributes:
        model_dim: width of a patch.
        image_size: side in pixels of the square that positions are learned on.
        patch_size: side of a patch in pixels.
    """

    model_dim: int
    image_size: int
    patch_size: int

    def setup(self):
        side = self.image_size // self.patch_size
        self.projection = Projection(self.model_dim)
        self.positions = self.param(
            "positions", nn.initializers.normal(0.02), (side, side, self.model_dim)
        )

    @property
    def cell_size(self) -> int:
        return self.patch_size

    @property
    def example_shape(self) -> tuple[int, ...]:
        return 2 * self.patch_size, 2 * self.patch_size, 3

    def __call__(self, image: Num[Array, "B Y X C"]) -> Regions:
        """Returns the patches in reading order, and which are no padding.

        Args:
            image: pixels of 0 … 255; see `real_cells` for a fourth channel.
        """
        pixels = pad_to_multiple(scale_pixels(image[..., :3]), self.patch_size)
        grid = self.projection(extract_patches(pixels, self.patch_size))  # [B, Y, X, D]
        valid = real_cells(image, self.patch_size)
        places = stretch(
            self.positions,
            valid.any(axis=2).sum(axis=1),
            valid.any(axis=1).sum(axis=1),
            (valid.shape[1], valid.shape[2]),
        )
        patches = (grid + places).reshape(len(image), -1, self.model_dim)
        return patches, valid.reshape(len(image), -1)
