"""An answer written word by word: the translator's decoder, reading words and regions.

The source of this sequence-to-sequence model is a pair, (image, questions). Words and
regions go through the Transformer's encoder as one sequence, so that the question looks
at the image and the image at the question; the decoder (Vaswani et al. 2017) reads
both, and beam search is the translator's. Every question is a row of the memory, B·G in
all; the image is encoded once, and what the questions share is its regions.
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num, PyTree

from zoo.layers.attention import MultiHeadAttention
from zoo.layers.feedforward import FeedForward
from zoo.layers.masks import padding_mask
from zoo.layers.positions import SinusoidalPositions
from zoo.layers.vision import ImageEncoder, Regions
from zoo.models.transformer import Memory, Transformer, fields_of
from zoo.models.visual_configs import AnswerDecoderConfig
from zoo.models.visual_contract import (
    Looks,
    image_encoder,
    numbered_looks,
    per_question,
)

Source = PyTree  # (image [B, …], questions [B, G, S])


class AnswerDecoder(Transformer, kw_only=True):
    """A Transformer whose source is (image, questions).

    One table embeds questions and answers and scores the output. Decoding is the
    Transformer's own.

    >>> import jax
    >>> sizes = {"model_dim": 8, "mlp_dim": 16, "num_heads": 2, "num_layers": 1}
    >>> model = build(AnswerDecoderConfig(vocab_size=100, region_dim=6, **sizes))
    >>> source = jnp.ones((2, 5, 6)), jnp.ones((2, 3, 7), int)  # images, questions
    >>> arguments = jax.random.key(0), source, jnp.ones((6, 4), int)
    >>> jax.eval_shape(model.init_with_output, *arguments)[0].shape  # [BG, T, V]
    (6, 4, 100)

    Attributes:
        image_encoder: makes the regions.
    """

    image_encoder: ImageEncoder

    def setup(self):
        super().setup()
        self.types = self.param("types", nn.initializers.normal(), (2, self.model_dim))

    def __call__(
        self, source: Source, inputs: Int[Array, "N T"], *, deterministic: bool = True
    ) -> Float[Array, "N T V"]:
        """Returns the logits of every next token, given the true ones before it."""
        return self.logits(self.features(source, inputs, deterministic=deterministic))

    # Rows hold one question each, so that there is nothing to say of a packing.
    def features(  # pyrefly: ignore[bad-override]
        self, source: Source, inputs: Int[Array, "N T"], *, deterministic: bool = True
    ) -> Float[Array, "N T D"]:
        """Returns the decoder's states under teacher forcing, before the output.

        Args:
            inputs: of the N = B·G questions, those of one image in a row.
        """
        memory = self.encode(source, deterministic=deterministic)
        return self.write(memory, inputs, deterministic=deterministic)

    def encode(  # pyrefly: ignore[bad-override]
        self, source: Source, *, deterministic: bool = True
    ) -> Memory:
        """Lets words and regions look at each other and keeps both for the decoder."""
        image, questions = source
        regions, valid = self.encode_image(image, deterministic=deterministic)
        return self.read(regions, valid, questions, deterministic=deterministic)

    def encode_image(
        self, image: Num[Array, "B ..."], *, deterministic: bool = True
    ) -> Regions:
        """Returns the regions of the images."""
        return self.image_encoder(image)

    def read(
        self,
        regions: Float[Array, "B R D"],
        valid: Bool[Array, "B R"],
        questions: Int[Array, "B G S"],
        *,
        deterministic: bool = True,
    ) -> Memory:
        """Returns the memory of every question about images already encoded.

        Regions say themselves where they lie; where positions are of a sequence, those
        of the regions follow the words.
        """
        regions, valid, questions = per_question(regions, valid, questions)
        valid = jnp.concatenate([questions != self.pad_id, valid], axis=1)
        places = jnp.arange(valid.shape[1])
        words = self.embedding(questions)
        words = self.source_positions.embed(words, places[: words.shape[1]])
        states = [words + self.types[0], regions + self.types[1]]
        states = self.source_norm(jnp.concatenate(states, axis=1))
        self.source_positions.check(len(places))
        bias = self.source_positions.bias(places, places)
        return self._memory(
            states, valid, padding_mask(valid), bias, places[None], deterministic
        )

    @nn.nowrap
    def looks(self, maps: dict[str, Array], num_regions: int) -> Looks:
        """Returns where each layer of the decoder looks to write the first word."""
        return numbered_looks(maps, "layer", "decoder_{}/cross_attention", num_regions)


def build(config: AnswerDecoderConfig) -> AnswerDecoder:
    """Returns the module that a configuration describes."""
    parts = {
        "attention": partial(MultiHeadAttention, config.model_dim, config.num_heads),
        "feed_forward": partial(FeedForward, config.model_dim, config.mlp_dim),
        "norm": partial(nn.LayerNorm, epsilon=1e-5),
        "dropout_rate": config.dropout_rate,
    }
    return AnswerDecoder(
        image_encoder=image_encoder(
            config.model_dim, region_dim=config.region_dim, cnn_dim=config.cnn_dim
        ),
        source_positions=SinusoidalPositions(),
        target_positions=SinusoidalPositions(),
        **fields_of(config, parts),
    )
