"""A vision Transformer: a pre-norm encoder over the patches of an image.

Dosovitskiy et al. (2021), "An Image is Worth 16x16 Words"; with a norm of embeddings
and a quicker GELU it is the image side of CLIP (Radford et al. 2021, section 2.4). Its
last states are regions for the models that answer questions, from weights that others
have trained on far more images than there are for questions.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from zoo.layers.attention import MultiHeadAttention
from zoo.layers.blocks import EncoderBlock, pre_norm
from zoo.layers.feedforward import FeedForward
from zoo.layers.masks import padding_mask
from zoo.layers.patches import PositionedPatches
from zoo.layers.vision import Regions
from zoo.models.visual_configs import VisionTransformerConfig


def quick_gelu(inputs: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
    """Returns x · σ(1.702 x), which is nearly GELU (Hendrycks and Gimpel 2016)."""
    return inputs * jax.nn.sigmoid(1.702 * inputs)


ACTIVATIONS: dict[str, Callable] = {
    "gelu": partial(nn.gelu, approximate=False),
    "quick_gelu": quick_gelu,
}


def put_first(
    token: Float[Array, " D"], states: Float[Array, "B R D"]
) -> Float[Array, "B K D"]:
    """Returns the states with one token before those of every image."""
    token = jnp.broadcast_to(token, (len(states), 1, len(token)))
    return jnp.concatenate([token, states], axis=1)


class VisionTransformer(nn.Module):
    """An image encoder, under `zoo.layers.vision.ImageEncoder`.

    >>> sizes = {"model_dim": 8, "mlp_dim": 16, "num_heads": 2, "num_layers": 1}
    >>> tower = build(VisionTransformerConfig(**sizes))
    >>> arguments = jax.random.key(0), jnp.ones((1, 224, 224, 3))
    >>> regions, valid = jax.eval_shape(tower.init_with_output, *arguments)[0]
    >>> regions.shape  # 14 x 14 patches
    (1, 196, 8)

    Attributes:
        patches: the patches, before which the class token is put.
        block: makes one block, with the norms before the sublayers.
        norm: makes the norm after the last block.
        embedding_norm: makes the norm before the first block; None for none.
    """

    patches: PositionedPatches
    block: Callable[[], nn.Module]
    norm: Callable[[], nn.Module]
    embedding_norm: Callable[[], nn.Module] | None
    model_dim: int
    num_layers: int

    def setup(self):
        normal = nn.initializers.normal(0.02)
        self.class_token = self.param("class_token", normal, (self.model_dim,))
        if self.embedding_norm is not None:
            self.first_norm = self.embedding_norm()
        self.blocks = [self.block() for _ in range(self.num_layers)]
        self.last_norm = self.norm()

    @property
    def cell_size(self) -> int:
        return self.patches.cell_size

    @property
    def example_shape(self) -> tuple[int, ...]:
        return self.patches.example_shape

    def __call__(self, image: Num[Array, "B Y X C"]) -> Regions:
        """Returns the last states of the patches, and which are no padding.

        Args:
            image: pixels of 0 … 255.
        """
        states, valid = self.encode(image)
        return states[:, 1:], valid

    def encode(
        self, image: Num[Array, "B Y X C"]
    ) -> tuple[Float[Array, "B K D"], Bool[Array, "B R"]]:
        """Returns the last states, those of the class token first."""
        patches, valid = self.patches(image)
        states = put_first(self.class_token, patches)
        if self.embedding_norm is not None:
            states = self.first_norm(states)
        seen = jnp.pad(valid, ((0, 0), (1, 0)), constant_values=True)
        for block in self.blocks:
            states = block(states, padding_mask(seen))
        return self.last_norm(states), valid


def build(config: VisionTransformerConfig) -> VisionTransformer:
    """Returns the module that a configuration describes."""
    norm = partial(nn.LayerNorm, epsilon=config.norm_epsilon)
    block = partial(
        EncoderBlock,
        attention=partial(MultiHeadAttention, config.model_dim, config.num_heads),
        feed_forward=partial(
            FeedForward,
            config.model_dim,
            config.mlp_dim,
            ACTIVATIONS[config.activation],
        ),
        norm=norm,
        residual=pre_norm,
    )
    return VisionTransformer(
        patches=PositionedPatches(
            config.model_dim, config.image_size, config.patch_size
        ),
        block=block,
        norm=norm,
        embedding_norm=norm if config.embedding_norm else None,
        model_dim=config.model_dim,
        num_layers=config.num_layers,
    )
