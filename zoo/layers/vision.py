"""Regions: what attention looks at in an image, as vectors that know their place.

Three ways to come by them: a small residual network, whose last grid has a region in
each cell; the patches of a vision Transformer; and features that somebody else has
computed. Each module returns the regions and which of them are real.

A grid is made by cutting patches and never by strided windows, so that its cells tile
the image and a weight on a cell is a weight on the pixels below it. An image whose
sides are no multiple of the cell is padded at both ends with the pixels of its border.
"""

from typing import Protocol, runtime_checkable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from zoo.layers.positions import sinusoidal_positions

Regions = tuple[Float[Array, "B R D"], Bool[Array, "B R"]]


def scale_pixels(image: Num[Array, "B Y X C"]) -> Float[Array, "B Y X C"]:
    """Returns pixels of 0 … 255 as numbers of -1 … 1."""
    return image.astype(jnp.float32) / 127.5 - 1.0


def pad_to_multiple(
    image: Float[Array, "B Y X C"], size: int
) -> Float[Array, "B Rows Cols C"]:
    """Returns the image with sides that are multiples of `size`.

    The pixels at its borders are repeated, at both ends alike.
    """
    missing = [-length % size for length in image.shape[1:3]]
    ends = [(length // 2, length - length // 2) for length in missing]
    return jnp.pad(image, ((0, 0), *ends, (0, 0)), mode="edge")


def extract_patches(
    grid: Float[Array, "B Y X C"], size: int
) -> Float[Array, "B Rows Cols P"]:
    """Cuts a grid into patches of size x size, all values of each in one vector.

    >>> extract_patches(jnp.arange(4.0).reshape(1, 2, 2, 1), 2).tolist()
    [[[[0.0, 1.0, 2.0, 3.0]]]]
    """
    batch, rows, columns, channels = grid.shape
    rows, columns = rows // size, columns // size
    cut = grid.reshape(batch, rows, size, columns, size, channels)
    return cut.swapaxes(2, 3).reshape(batch, rows, columns, -1)


def grid_positions(rows: int, columns: int, dim: int) -> Float[Array, "Rows Cols D"]:
    """Returns a vector for each cell: sinusoids of its row, then of its column.

    Each has half of the features, as in Carion et al. (2020), "DETR", appendix A.4.
    They hold no parameters and end nowhere, so that a model takes images of any size.

    Raises:
        ValueError: `dim` is not a multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"positions on a grid need a multiple of 4 features, {dim=}")
    down = sinusoidal_positions(jnp.arange(rows), dim // 2)
    across = sinusoidal_positions(jnp.arange(columns), dim // 2)
    shape = (rows, columns, dim // 2)
    both = (down[:, None], across[None])
    return jnp.concatenate([jnp.broadcast_to(half, shape) for half in both], axis=-1)


def place(grid: Float[Array, "B Y X D"]) -> Regions:
    """Returns the cells in reading order, with their positions added; all are real."""
    batch, rows, columns, dim = grid.shape
    grid = grid + grid_positions(rows, columns, dim).astype(grid.dtype)
    return grid.reshape(batch, -1, dim), jnp.ones((batch, rows * columns), bool)


@runtime_checkable
class ImageEncoder(Protocol):
    """What a model asks of the module that makes its regions.

    Attributes:
        cell_size: how many pixels wide a region is; None where they are no grid.
        example_shape: of one image that `init` may be given.
    """

    @property
    def cell_size(self) -> int | None: ...

    @property
    def example_shape(self) -> tuple[int, ...]: ...

    def __call__(self, image: Num[Array, "B ..."]) -> Regions: ...


class Projection(nn.Module):
    """A linear map that computes in the dtype of its parameters, whatever comes in.

    Pixels and features are float32; this is where they enter a model of bfloat16.

    >>> import jax
    >>> arguments = jax.random.key(0), jnp.ones((2, 3))
    >>> jax.eval_shape(Projection(8).init_with_output, *arguments)[0].shape
    (2, 8)
    """

    dim: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, inputs: Float[Array, "*axes P"]) -> Float[Array, "*axes D"]:
        """Returns inputs · W + b."""
        shape = (inputs.shape[-1], self.dim)
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), shape)
        outputs = inputs.astype(kernel.dtype) @ kernel
        if self.use_bias:
            outputs += self.param("bias", nn.initializers.zeros, (self.dim,))
        return outputs


class ResidualStage(nn.Module):
    """A coarser grid, then a residual block of two convolutions (He et al. 2016).

    With GroupNorm (Wu and He 2018), so that an image alone is what it is in a batch;
    the scale of the second norm begins at zero and the block as the identity (Goyal
    et al. 2017, section 5.1).

    >>> import jax
    >>> arguments = jax.random.key(0), jnp.ones((1, 64, 64, 3))
    >>> stage = ResidualStage(dim=8, size=4)
    >>> jax.eval_shape(stage.init_with_output, *arguments)[0].shape
    (1, 16, 16, 8)

    Attributes:
        dim: number of channels, a multiple of 8.
        size: of the squares that become one cell.
    """

    dim: int
    size: int

    def setup(self):
        self.projection = Projection(self.dim, use_bias=False)
        self.norm = self._norm()
        self.first, self.second = self._convolution(), self._convolution()
        self.first_norm = self._norm()
        self.second_norm = self._norm(scale_init=nn.initializers.zeros)

    def __call__(self, grid: Float[Array, "B Y X C"]) -> Float[Array, "B Rows Cols D"]:
        """Returns the states of the coarser grid."""
        states = nn.relu(self.norm(self.projection(extract_patches(grid, self.size))))
        update = nn.relu(self.first_norm(self.first(states)))
        return nn.relu(states + self.second_norm(self.second(update)))

    def _norm(self, **init):
        return nn.GroupNorm(num_groups=None, group_size=8, epsilon=1e-5, **init)

    def _convolution(self):
        he = nn.initializers.he_normal()
        return nn.Conv(self.dim, (3, 3), use_bias=False, kernel_init=he)


class ResidualCNN(nn.Module):
    """A small residual network (He et al. 2016): 64 x 64 pixels become 8 x 8 regions.

    Two stages, of cells of 4 and of 8 pixels; the second has twice the channels.

    >>> import jax
    >>> arguments = jax.random.key(0), jnp.ones((1, 64, 64, 3))
    >>> encoder = ResidualCNN(model_dim=16, dim=8)
    >>> regions, valid = jax.eval_shape(encoder.init_with_output, *arguments)[0]
    >>> regions.shape
    (1, 64, 16)

    Attributes:
        model_dim: width of a region.
        dim: channels of the first stage.
    """

    model_dim: int
    dim: int
    cell_size = 8
    example_shape = (16, 16, 3)

    def setup(self):
        self.stages = [ResidualStage(self.dim, 4), ResidualStage(2 * self.dim, 2)]
        self.out = Projection(self.model_dim)

    def __call__(self, image: Num[Array, "B Y X C"]) -> Regions:
        """Returns the cells of the last grid.

        Args:
            image: pixels of 0 … 255.
        """
        grid = pad_to_multiple(scale_pixels(image), self.cell_size)
        for stage in self.stages:
            grid = stage(grid)
        return place(self.out(grid))


class PatchEmbedding(nn.Module):
    """The patches of a vision Transformer (Dosovitskiy et al. 2021, equation 1).

    With sinusoids for positions in place of a learned table.

    >>> import jax
    >>> arguments = jax.random.key(0), jnp.ones((1, 64, 96, 3))
    >>> encoder = PatchEmbedding(model_dim=16, patch_size=32)
    >>> regions, valid = jax.eval_shape(encoder.init_with_output, *arguments)[0]
    >>> regions.shape
    (1, 6, 16)

    Attributes:
        model_dim: width of a region.
        patch_size: side of a patch in pixels.
    """

    model_dim: int
    patch_size: int

    def setup(self):
        self.projection = Projection(self.model_dim)

    @property
    def cell_size(self) -> int:
        return self.patch_size

    @property
    def example_shape(self) -> tuple[int, ...]:
        return 2 * self.patch_size, 2 * self.patch_size, 3

    def __call__(self, image: Num[Array, "B Y X C"]) -> Regions:
        """Returns the patches.

        Args:
            image: pixels of 0 … 255.
        """
        pixels = pad_to_multiple(scale_pixels(image), self.patch_size)
        return place(self.projection(extract_patches(pixels, self.patch_size)))


class RegionFeatures(nn.Module):
    """Features of regions that somebody else has computed, for example a detector.

    An image may have fewer regions than the array: rows that are all zero are padding,
    as in OpenVQA.

    >>> import jax
    >>> arguments = jax.random.key(0), jnp.ones((1, 36, 2048))
    >>> encoder = RegionFeatures(model_dim=16, region_dim=2048)
    >>> regions, valid = jax.eval_shape(encoder.init_with_output, *arguments)[0]
    >>> regions.shape
    (1, 36, 16)

    Attributes:
        model_dim: width of a region.
        region_dim: width of the features.
    """

    model_dim: int
    region_dim: int
    cell_size = None  # the regions are no grid

    def setup(self):
        self.projection = Projection(self.model_dim)

    @property
    def example_shape(self) -> tuple[int, ...]:
        return 2, self.region_dim

    def __call__(self, image: Float[Array, "B R P"]) -> Regions:
        """Returns the regions, projected, and which are real.

        Args:
            image: the features of its regions.

        Raises:
            ValueError: the features have another width.
        """
        if image.shape[-1] != self.region_dim:
            raise ValueError(
                f"regions have {image.shape[-1]} features, but {self.region_dim} are "
                "expected; set region_dim to what the files hold"
            )
        return self.projection(image), (image != 0).any(axis=-1)


class ProjectedRegions(nn.Module):
    """The regions of another encoder, brought to the width of a model.

    >>> import jax
    >>> arguments = jax.random.key(0), jnp.ones((1, 64, 96, 3))
    >>> encoder = ProjectedRegions(PatchEmbedding(16, patch_size=32), model_dim=8)
    >>> regions, valid = jax.eval_shape(encoder.init_with_output, *arguments)[0]
    >>> regions.shape
    (1, 6, 8)

    Attributes:
        tower: makes the regions, for example with weights of others.
        model_dim: width of a region.
    """

    tower: ImageEncoder
    model_dim: int

    def setup(self):
        self.out = Projection(self.model_dim)

    @property
    def cell_size(self) -> int | None:
        return self.tower.cell_size

    @property
    def example_shape(self) -> tuple[int, ...]:
        return self.tower.example_shape

    def __call__(self, image: Num[Array, "B ..."]) -> Regions:
        """Returns the regions, projected, and which are real."""
        regions, valid = self.tower(image)
        return self.out(regions), valid
