"""A single stream: words and patches are one sequence, and attention sorts them out.

Kim et al. (2021), "ViLT: Vision-and-Language Transformer Without Convolution or Region
Supervision". Only the patches are shared by the questions of an image: from the first
block on, what a patch is depends on the question.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from zoo.layers.attention import MultiHeadAttention
from zoo.layers.blocks import EncoderBlock, pre_norm
from zoo.layers.dropout import Dropout
from zoo.layers.embeddings import Embedding
from zoo.layers.feedforward import FeedForward
from zoo.layers.masks import padding_mask
from zoo.layers.positions import sinusoidal_positions
from zoo.models.visual_classifier import VisualClassifier
from zoo.models.visual_configs import SingleStreamConfig
from zoo.models.visual_contract import (
    Looks,
    image_encoder,
    numbered_looks,
    per_question,
)


def join(
    words: Float[Array, "B S D"],
    regions: Float[Array, "B R D"],
    types: Float[Array, "2 D"],
) -> Float[Array, "B K D"]:
    """Returns words, with their positions, and regions in one row, each of its type."""
    sinusoids = sinusoidal_positions(jnp.arange(words.shape[1]), words.shape[2])
    words = words + sinusoids.astype(words.dtype) + types[0]
    return jnp.concatenate([words, regions + types[1]], axis=1)


class SingleStream(VisualClassifier):
    """One Transformer over words and regions, under `zoo.models.visual_contract`.

    A start token is put before the question and the answer is read from it, as from
    BERT's [CLS]. Words have sinusoids for positions, where the paper has BERT's learned
    ones.

    >>> sizes = {"model_dim": 8, "mlp_dim": 16, "num_heads": 2, "num_layers": 1}
    >>> import jax
    >>> model = build(SingleStreamConfig(num_answers=4, **sizes))
    >>> image, questions = jnp.ones((2, 64, 96, 3)), jnp.ones((2, 3, 7), int)
    >>> arguments = jax.random.key(0), image, questions
    >>> jax.eval_shape(model.init_with_output, *arguments)[0].shape  # [B, G, A]
    (2, 3, 4)

    Attributes:
        image_encoder: makes the regions: patches as in the paper, or another's.
        block: makes one block, with the norms before the sublayers.
        norm: makes the norm after the last block.
        dropout_rate: of the embeddings.
    """

    block: Callable[[], nn.Module]
    norm: Callable[[], nn.Module]
    vocab_size: int
    num_answers: int
    model_dim: int
    num_layers: int
    dropout_rate: float
    pad_id: int = 0
    start_id: int = 1

    def setup(self):
        dense = partial(nn.Dense, kernel_init=nn.initializers.xavier_uniform())
        self.embedding = Embedding(self.vocab_size, self.model_dim)
        self.types = self.param("types", nn.initializers.normal(), (2, self.model_dim))
        self.blocks = [self.block() for _ in range(self.num_layers)]
        self.last_norm = self.norm()
        self.pooler = dense(self.model_dim)
        self.hidden = dense(2 * self.model_dim)
        self.hidden_norm = self.norm()
        self.out = dense(self.num_answers)
        self.drop = Dropout(self.dropout_rate)

    def answer(
        self,
        regions: Float[Array, "B R D"],
        valid: Bool[Array, "B R"],
        questions: Int[Array, "B G S"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "B G A"]:
        """Returns the logits of every answer to every question."""
        batch, num_questions, _ = questions.shape
        regions, valid, questions = per_question(regions, valid, questions)
        words = jnp.pad(questions, ((0, 0), (1, 0)), constant_values=self.start_id)
        states = join(self.embedding(words), regions, self.types)
        states = self.drop(states, deterministic=deterministic)
        mask = padding_mask(jnp.concatenate([words != self.pad_id, valid], axis=1))
        for block in self.blocks:
            states = block(states, mask, deterministic=deterministic)
        first = jnp.tanh(self.pooler(self.last_norm(states[:, 0])))
        hidden = nn.gelu(self.hidden_norm(self.hidden(first)), approximate=False)
        return self.out(hidden).reshape(batch, num_questions, -1)

    @nn.nowrap
    def looks(self, maps: dict[str, Array], num_regions: int) -> Looks:
        """Returns where the token that answers looks in each layer."""
        return numbered_looks(maps, "layer", "blocks_{}/self_attention", num_regions)


def build(config: SingleStreamConfig) -> SingleStream:
    """Returns the module that a configuration describes."""
    norm = partial(nn.LayerNorm, epsilon=1e-6)
    block = partial(
        EncoderBlock,
        attention=partial(MultiHeadAttention, config.model_dim, config.num_heads),
        feed_forward=partial(
            FeedForward,
            config.model_dim,
            config.mlp_dim,
            partial(nn.gelu, approximate=False),
        ),
        norm=norm,
        residual=pre_norm,
        dropout_rate=config.dropout_rate,
    )
    return SingleStream(
        image_encoder=image_encoder(
            config.model_dim,
            region_dim=config.region_dim,
            cnn_dim=config.cnn_dim,
            patch_size=config.patch_size,
        ),
        block=block,
        norm=norm,
        vocab_size=config.vocab_size,
        num_answers=config.num_answers,
        model_dim=config.model_dim,
        num_layers=config.num_layers,
        dropout_rate=config.dropout_rate,
        pad_id=config.pad_id,
        start_id=config.start_id,
    )
