"""Modular co-attention: words look at words, regions at regions and at words.

Yu et al. (2019), "Deep Modular Co-Attention Networks for Visual Question Answering",
in the encoder-decoder order that they found best, as OpenVQA configures it. The blocks
are those of the Transformer: self-attention over the words, then guided attention,
which is a decoder's block whose target is the regions, without a causal mask.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from zoo.layers.attention import MultiHeadAttention, masked_softmax
from zoo.layers.blocks import DecoderBlock, EncoderBlock
from zoo.layers.dropout import Dropout
from zoo.layers.embeddings import Embedding
from zoo.layers.feedforward import FeedForward
from zoo.layers.masks import padding_mask
from zoo.layers.recurrent import RNN, LSTMCell
from zoo.models.visual_classifier import VisualClassifier
from zoo.models.visual_configs import McanConfig
from zoo.models.visual_contract import Looks, image_encoder, onto_regions, per_question


class AttentionPooling(nn.Module):
    """A weighted mean of vectors, which weigh themselves (Yu et al. 2019, 4.3).

    softmax(MLP(x)) says how much of each; the mean is projected to `out_dim`. The
    weights are sown as "weights", [B, 1, 1, K].

    >>> import jax
    >>> pooling = AttentionPooling(hidden_dim=8, out_dim=16, dropout_rate=0.0)
    >>> arguments = jax.random.key(0), jnp.ones((1, 5, 6)), jnp.ones((1, 5), bool)
    >>> pool = partial(pooling.init_with_output, deterministic=True)
    >>> jax.eval_shape(pool, *arguments)[0].shape
    (1, 16)

    Attributes:
        hidden_dim: of the MLP.
        dropout_rate: inside the MLP.
    """

    hidden_dim: int
    out_dim: int
    dropout_rate: float

    def setup(self):
        xavier = nn.initializers.xavier_uniform()
        self.hidden = nn.Dense(self.hidden_dim, kernel_init=xavier)
        self.score = nn.Dense(1, kernel_init=xavier)
        self.out = nn.Dense(self.out_dim, kernel_init=xavier)
        self.drop = Dropout(self.dropout_rate)

    def __call__(
        self,
        vectors: Float[Array, "B K D"],
        valid: Bool[Array, "B K"],
        *,
        deterministic: bool,
    ) -> Float[Array, "B M"]:
        """Returns one vector for each row."""
        states = nn.relu(self.hidden(vectors))
        states = self.drop(states, deterministic=deterministic)
        weights = masked_softmax(self.score(states)[:, :, 0], valid)  # [B, K]
        self.sow("intermediates", "weights", weights[:, None, None])
        return self.out(jnp.einsum("BK,BKD->BD", weights, vectors))


class Mcan(VisualClassifier):
    """Deep co-attention, under `zoo.models.visual_contract`.

    Differs from OpenVQA in words that are drawn, not GloVe's, in an LSTM with one bias
    a gate instead of two, and in norms that divide by √(variance + ε).

    >>> sizes = {"model_dim": 8, "mlp_dim": 16, "num_heads": 2, "num_layers": 1}
    >>> import jax
    >>> model = build(McanConfig(num_answers=4, region_dim=6, **sizes))
    >>> image, questions = jnp.ones((2, 5, 6)), jnp.ones((2, 3, 7), int)
    >>> arguments = jax.random.key(0), image, questions
    >>> jax.eval_shape(model.init_with_output, *arguments)[0].shape  # [B, G, A]
    (2, 3, 4)

    Attributes:
        image_encoder: makes the regions.
        reader: as an `RNN` does; its states are what the blocks begin with.
        word_block: makes a block of self-attention over the words.
        region_block: makes a block of self-attention over the regions and of guided
            attention to the words.
        pooling: makes what turns words, or regions, into one vector.
    """

    reader: nn.Module
    word_block: Callable[[], nn.Module]
    region_block: Callable[[], nn.Module]
    pooling: Callable[[], nn.Module]
    vocab_size: int
    num_answers: int
    word_dim: int
    num_layers: int
    pad_id: int = 0

    def setup(self):
        self.embedding = Embedding(self.vocab_size, self.word_dim)
        self.word_blocks = [self.word_block() for _ in range(self.num_layers)]
        self.region_blocks = [self.region_block() for _ in range(self.num_layers)]
        self.word_pooling = self.pooling()
        self.region_pooling = self.pooling()
        self.norm = nn.LayerNorm()
        xavier = nn.initializers.xavier_uniform()
        self.out = nn.Dense(self.num_answers, kernel_init=xavier)

    def answer(
        self,
        regions: Float[Array, "B R D"],
        valid: Bool[Array, "B R"],
        questions: Int[Array, "B G S"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "B G A"]:
        """Returns the logits of every answer to every question.

        All blocks run once for every question: what a region is depends on it.
        """
        batch, num_questions, _ = questions.shape
        regions, valid, questions = per_question(regions, valid, questions)
        is_word = questions != self.pad_id
        words, _ = self.reader(self.embedding(questions), is_word)
        for block in self.word_blocks:
            words = block(words, padding_mask(is_word), deterministic=deterministic)
        for block in self.region_blocks:
            regions = block(
                regions,
                block.memory(words),
                padding_mask(valid),
                padding_mask(is_word),
                deterministic=deterministic,
            )
        question = self.word_pooling(words, is_word, deterministic=deterministic)
        image = self.region_pooling(regions, valid, deterministic=deterministic)
        logits = self.out(self.norm(question + image))
        return logits.reshape(batch, num_questions, -1)

    @nn.nowrap
    def looks(self, maps: dict[str, Array], num_regions: int) -> Looks:
        """Returns how much of each region enters the answer."""
        return {"glimpse 1": onto_regions(maps["region_pooling"], num_regions)}


def build(config: McanConfig) -> Mcan:
    """Returns the module that a configuration describes.

    The vectors that are pooled and added are twice as wide as the model, as in both
    configurations of OpenVQA.
    """
    rate = config.dropout_rate
    parts = {
        "attention": partial(
            MultiHeadAttention, config.model_dim, config.num_heads, rate
        ),
        "feed_forward": partial(
            FeedForward, config.model_dim, config.mlp_dim, dropout_rate=rate
        ),
        "dropout_rate": rate,
    }
    return Mcan(
        image_encoder=image_encoder(
            config.model_dim, region_dim=config.region_dim, cnn_dim=config.cnn_dim
        ),
        reader=RNN(partial(LSTMCell, config.model_dim)),
        word_block=partial(EncoderBlock, **parts),
        region_block=partial(DecoderBlock, **parts),
        pooling=partial(
            AttentionPooling, config.pooling_dim, 2 * config.model_dim, rate
        ),
        vocab_size=config.vocab_size,
        num_answers=config.num_answers,
        word_dim=config.word_dim,
        num_layers=config.num_layers,
        pad_id=config.pad_id,
    )
