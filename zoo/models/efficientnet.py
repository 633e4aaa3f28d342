"""EfficientNet-Lite: a convolutional image encoder, for weights learned on ImageNet.

Tan and Le (2019), "EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks", table 1, in the authors' Lite variant: no squeeze-and-excitation, ReLU6, and
a stem and a head that do not scale. BatchNorm is no part of it: with the statistics of
others it is a convolution's scale and bias, and without them nothing is to be trained
from the start.
"""

import math
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from zoo.layers.vision import Regions, pad_to_multiple, place
from zoo.models.visual_configs import EfficientNetConfig

# What the authors take from pixels of 0 … 255, and divide them by.
MEAN, DEVIATION = 127.0, 128.0
STEM_DIM, HEAD_DIM = 32, 1_280
# Of each stage: blocks, kernel size, stride of the first block, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

convolution = partial(nn.Conv, padding="SAME", kernel_init=nn.initializers.he_normal())


def scaled_dim(dim: int, width: float) -> int:
    """Returns a number of channels times the width, as the nearest multiple of 8.

    It is at most a tenth less than that.

    >>> scaled_dim(24, 1.1), scaled_dim(16, 0.25)
    (24, 8)
    """
    wanted = dim * width
    scaled = max(8, int(wanted + 4) // 8 * 8)
    return scaled + 8 if scaled < 0.9 * wanted else scaled


class DepthwiseConvolution(nn.Module):
    """Each channel is convolved with a kernel of its own, zeros around the grid.

    A sum of shifted grids, since there is nothing to multiply matrices for: XLA's
    grouped convolution is 4 to 13 times slower on a CPU.

    >>> import jax
    >>> depthwise = DepthwiseConvolution(size=3, stride=2)
    >>> arguments = jax.random.key(0), jnp.ones((1, 15, 16, 4))
    >>> jax.eval_shape(depthwise.init_with_output, *arguments)[0].shape
    (1, 8, 8, 4)

    Attributes:
        size: of the kernel.
    """

    size: int
    stride: int

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "B Y X C"]
    ) -> Float[Array, "B Rows Cols C"]:
        """Returns every cell of the grid, or each that many cells."""
        channels = inputs.shape[-1]
        shape = (self.size, self.size, 1, channels)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        outputs = self.param("bias", nn.initializers.zeros, (channels,))
        lengths = [-(-length // self.stride) for length in inputs.shape[1:3]]
        ends = [(length - 1) * self.stride + 1 for length in lengths]
        missing = [
            max(end + self.size - 1 - length, 0)
            for end, length in zip(ends, inputs.shape[1:3], strict=True)
        ]
        around = [(length // 2, length - length // 2) for length in missing]
        grid = jnp.pad(inputs, ((0, 0), *around, (0, 0)))
        for row in range(self.size):
            for column in range(self.size):
                rows = slice(row, row + ends[0], self.stride)
                columns = slice(column, column + ends[1], self.stride)
                outputs = outputs + grid[:, rows, columns] * kernel[row, column, 0]
        return outputs


class InvertedBottleneck(nn.Module):
    """Wider, depthwise, narrower; around it a residual where shapes allow.

    Sandler et al. (2018), "MobileNetV2", figure 3.

    >>> import jax
    >>> block = InvertedBottleneck(dim=8, size=3, stride=2, expansion=6)
    >>> arguments = jax.random.key(0), jnp.ones((1, 16, 16, 4))
    >>> jax.eval_shape(block.init_with_output, *arguments)[0].shape
    (1, 8, 8, 8)

    Attributes:
        dim: channels of what is returned.
        size: of the depthwise kernel.
        expansion: how many times wider the middle is.
    """

    dim: int
    size: int
    stride: int
    expansion: int

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "B Y X C"]
    ) -> Float[Array, "B Rows Cols D"]:
        """Returns the states of the same or of the coarser grid."""
        wide = self.expansion * inputs.shape[-1]
        states = inputs
        if self.expansion > 1:
            states = nn.relu6(convolution(wide, (1, 1), name="expand")(states))
        depthwise = DepthwiseConvolution(self.size, self.stride, name="depthwise")
        states = nn.relu6(depthwise(states))
        states = convolution(self.dim, (1, 1), name="project")(states)
        return states + inputs if states.shape == inputs.shape else states


class EfficientNetLite(nn.Module):
    """An image encoder, under `zoo.layers.vision.ImageEncoder`.

    >>> import jax
    >>> tower = EfficientNetLite(width=1.0, depth=1.0)
    >>> arguments = jax.random.key(0), jnp.ones((1, 224, 224, 3))
    >>> regions, valid = jax.eval_shape(tower.init_with_output, *arguments)[0]
    >>> regions.shape  # 7 x 7 cells
    (1, 49, 1280)

    Attributes:
        width: by which channels are multiplied.
        depth: by which blocks of a stage are multiplied.
    """

    width: float
    depth: float
    cell_size = 32
    example_shape = (64, 64, 3)

    def setup(self):
        self.stem = convolution(STEM_DIM, (3, 3), strides=2)
        blocks, last = [], len(STAGES) - 1
        for number, (repeats, size, stride, expansion, dim) in enumerate(STAGES):
            if 0 < number < last:
                repeats = math.ceil(self.depth * repeats)
            dim = scaled_dim(dim, self.width)
            for repeat in range(repeats):
                first_stride = 1 if repeat else stride
                blocks.append(InvertedBottleneck(dim, size, first_stride, expansion))
        self.blocks = blocks
        self.head = convolution(HEAD_DIM, (1, 1))

    def __call__(self, image: Num[Array, "B Y X C"]) -> Regions:
        """Returns the cells of the last grid, with their positions added.

        Args:
            image: pixels of 0 … 255.
        """
        return place(self.encode(image))

    def encode(self, image: Num[Array, "B Y X C"]) -> Float[Array, "B Rows Cols D"]:
        """Returns the last grid, whose cells are 32 pixels wide."""
        pixels = (image.astype(jnp.float32) - MEAN) / DEVIATION
        states = nn.relu6(self.stem(pad_to_multiple(pixels, self.cell_size)))
        for block in self.blocks:
            states = block(states)
        return nn.relu6(self.head(states))


def build(config: EfficientNetConfig) -> EfficientNetLite:
    """Returns the module that a configuration describes."""
    return EfficientNetLite(config.width, config.depth)
