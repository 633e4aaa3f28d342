"""ViLT as its authors trained it: BERT's words and ViT's patches in one stream.

Kim et al. (2021), "ViLT: Vision-and-Language Transformer Without Convolution or Region
Supervision". Beside `zoo.models.single_stream`, our reading of the paper, words have
learned positions and a norm of their own, patches have learned positions that are
stretched to each image, and the image has a class token. The shape is that of Hugging
Face's ViltForQuestionAnswering, whose weights it takes.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from zoo.layers.attention import MultiHeadAttention
from zoo.layers.blocks import EncoderBlock, pre_norm
from zoo.layers.dropout import Dropout
from zoo.layers.embeddings import rows
from zoo.layers.feedforward import FeedForward
from zoo.layers.masks import padding_mask
from zoo.layers.patches import PositionedPatches
from zoo.models.vision_transformer import put_first
from zoo.models.visual_classifier import VisualClassifier
from zoo.models.visual_configs import ViltConfig
from zoo.models.visual_contract import Looks, numbered_looks, per_question


class WordEmbedding(nn.Module):
    """Words and their places, brought to one scale (Devlin et al. 2019, figure 2).

    >>> import jax
    >>> words = WordEmbedding(100, 8, max_words=40, norm=nn.LayerNorm)
    >>> arguments = jax.random.key(0), jnp.ones((2, 7), int)
    >>> jax.eval_shape(words.init_with_output, *arguments)[0].shape
    (2, 7, 8)
    """

    vocab_size: int
    model_dim: int
    max_words: int
    norm: Callable[[], nn.Module]

    def setup(self):
        normal = nn.initializers.normal(0.02)
        self.table = self.param("table", normal, (self.vocab_size, self.model_dim))
        self.positions = self.param(
            "positions", normal, (self.max_words, self.model_dim)
        )
        self.scale = self.norm()

    def __call__(self, words: Int[Array, "B S"]) -> Float[Array, "B S D"]:
        """Returns the embedded words; raises ValueError if there are too many."""
        length = words.shape[1]
        if length > self.max_words:
            raise ValueError(
                f"{length} words are given, but only {self.max_words} positions are "
                "learned; shorten the question"
            )
        return self.scale(rows(self.table, words) + self.positions[:length])


class Vilt(VisualClassifier):
    """One Transformer over words and patches, under `zoo.models.visual_contract`.

    The answer is read from the first token of the question, BERT's [CLS], so that
    questions come with it. A fourth channel of an image is 0 where there is padding.

    >>> sizes = {"model_dim": 8, "mlp_dim": 16, "num_heads": 2, "num_layers": 1}
    >>> import jax
    >>> model = build(ViltConfig(num_answers=4, **sizes))
    >>> image, questions = jnp.ones((2, 64, 96, 3)), jnp.ones((2, 3, 7), int)
    >>> arguments = jax.random.key(0), image, questions
    >>> jax.eval_shape(model.init_with_output, *arguments)[0].shape  # [B, G, A]
    (2, 3, 4)

    Attributes:
        image_encoder: makes the patches.
        words: makes the embedding of words.
        block: makes one block, with the norms before the sublayers.
        norm: makes the norm after the last block.
        dropout_rate: of the embeddings.
    """

    words: Callable[[], WordEmbedding]
    block: Callable[[], nn.Module]
    norm: Callable[[], nn.Module]
    vocab_size: int
    num_answers: int
    model_dim: int
    num_layers: int
    dropout_rate: float
    pad_id: int = 0

    def setup(self):
        dense = partial(nn.Dense, kernel_init=nn.initializers.xavier_uniform())
        self.embedding = self.words()
        normal = nn.initializers.normal(0.02)
        self.types = self.param("types", normal, (2, self.model_dim))
        self.image_token = self.param("image_token", normal, (self.model_dim,))
        self.blocks = [self.block() for _ in range(self.num_layers)]
        self.last_norm = self.norm()
        self.pooler = dense(self.model_dim)
        self.hidden = dense(2 * self.model_dim)
        self.hidden_norm = nn.LayerNorm(epsilon=1e-5)
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
        first = self.pool(regions, valid, questions, deterministic=deterministic)
        hidden = nn.gelu(self.hidden_norm(self.hidden(first)), approximate=False)
        return self.out(hidden)

    def pool(
        self,
        regions: Float[Array, "B R D"],
        valid: Bool[Array, "B R"],
        questions: Int[Array, "B G S"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "B G D"]:
        """Returns what the first token knows of each question and its image."""
        shape = questions.shape[:2]
        regions, valid, words = per_question(regions, valid, questions)
        patches = put_first(self.image_token, regions) + self.types[1]
        embedded = self.embedding(words) + self.types[0]
        states = jnp.concatenate([embedded, patches], axis=1)
        states = self.drop(states, deterministic=deterministic)
        seen = jnp.pad(valid, ((0, 0), (1, 0)), constant_values=True)
        mask = padding_mask(jnp.concatenate([words != self.pad_id, seen], axis=1))
        for block in self.blocks:
            states = block(states, mask, deterministic=deterministic)
        first = jnp.tanh(self.pooler(self.last_norm(states[:, 0])))
        return first.reshape(*shape, -1)

    @nn.nowrap
    def looks(self, maps: dict[str, Array], num_regions: int) -> Looks:
        """Returns where the token that answers looks in each layer."""
        return numbered_looks(maps, "layer", "blocks_{}/self_attention", num_regions)


def build(config: ViltConfig) -> Vilt:
    """Returns the module that a configuration describes."""
    norm = partial(nn.LayerNorm, epsilon=1e-12)
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
    return Vilt(
        image_encoder=PositionedPatches(
            config.model_dim, config.image_size, config.patch_size
        ),
        words=partial(
            WordEmbedding, config.vocab_size, config.model_dim, config.max_words, norm
        ),
        block=block,
        norm=norm,
        vocab_size=config.vocab_size,
        num_answers=config.num_answers,
        model_dim=config.model_dim,
        num_layers=config.num_layers,
        dropout_rate=config.dropout_rate,
        pad_id=config.pad_id,
    )
