"""Stacked attention: the question looks at the image, and knowing more, looks again.

Yang et al. (2016), "Stacked Attention Networks for Image Question Answering". An LSTM
reads the question; each glimpse weighs the regions against what is known so far and
adds what it saw to it. The answer is linear in that, as in the paper, or has one hidden
layer, as in Kazemi and Elqursh (2017), "Show, Ask, Attend, and Answer".
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from zoo.layers.dropout import Dropout
from zoo.layers.embeddings import Embedding
from zoo.layers.recurrent import RNN, LSTMCell, hidden
from zoo.layers.state_attention import AdditiveAttention
from zoo.layers.vision import Regions
from zoo.models.visual_classifier import VisualClassifier
from zoo.models.visual_configs import StackedAttentionConfig
from zoo.models.visual_contract import Looks, image_encoder, numbered_looks


class Glimpse(nn.Module):
    """One look at the image (Yang et al. 2016, equations 19 to 22).

    h = tanh(W_I v ⊕ (W_Q u + b)) and p = softmax(W_P h), which is additive attention;
    then u + Σ p v. The regions are projected once an image, for all of its questions.
    The weights are sown as "weights", [BG, 1, 1, R].

    >>> import jax
    >>> known, regions = jnp.ones((2, 3, 8)), jnp.ones((2, 5, 8))
    >>> arguments = jax.random.key(0), known, regions, jnp.ones((2, 5), bool)
    >>> glimpse = Glimpse(AdditiveAttention(query_dim=8, attention_dim=4))
    >>> jax.eval_shape(glimpse.init_with_output, *arguments)[0].shape
    (2, 3, 8)

    Attributes:
        attention: (known, regions, valid) -> (context [B, G, D], weights [B, G, R]).
    """

    attention: nn.Module

    def __call__(
        self,
        known: Float[Array, "B G D"],
        regions: Float[Array, "B R D"],
        valid: Bool[Array, "B R"],
    ) -> Float[Array, "B G D"]:
        """Returns what each question knows after it has looked."""
        context, weights = self.attention(known, regions, valid)
        self.sow("intermediates", "weights", weights.reshape(-1, 1, 1, valid.shape[1]))
        return known + context


class StackedAttention(VisualClassifier):
    """Question RNN and n glimpses, under `zoo.models.visual_contract`.

    >>> import jax
    >>> model = build(StackedAttentionConfig(num_answers=4, region_dim=6, model_dim=8))
    >>> image, questions = jnp.ones((2, 5, 6)), jnp.ones((2, 3, 7), int)
    >>> arguments = jax.random.key(0), image, questions
    >>> jax.eval_shape(model.init_with_output, *arguments)[0].shape  # [B, G, A]
    (2, 3, 4)

    Attributes:
        image_encoder: makes the regions.
        reader: as an `RNN` does; its last hidden state, as wide as a region, is what is
            known before the first glimpse.
        attention: makes the attention of one glimpse; see `Glimpse`.
        hidden_dim: width of a hidden layer before the answer; 0 for none.
        dropout_rate: of the embedded words and before the answer.
    """

    reader: nn.Module
    attention: Callable[[], nn.Module]
    vocab_size: int
    num_answers: int
    word_dim: int
    num_glimpses: int
    hidden_dim: int
    dropout_rate: float
    pad_id: int = 0

    def setup(self):
        self.embedding = Embedding(self.vocab_size, self.word_dim)
        self.glimpses = [Glimpse(self.attention()) for _ in range(self.num_glimpses)]
        xavier = nn.initializers.xavier_uniform()
        if self.hidden_dim:
            self.hidden = nn.Dense(self.hidden_dim, kernel_init=xavier)
        self.out = nn.Dense(self.num_answers, kernel_init=xavier)
        self.drop = Dropout(self.dropout_rate)

    def encode_image(
        self, image: Num[Array, "B ..."], *, deterministic: bool = True
    ) -> Regions:
        """Returns tanh of the regions, bounded as states are (Yang et al., 2)."""
        regions, valid = self.image_encoder(image)
        return jnp.tanh(regions), valid

    def answer(
        self,
        regions: Float[Array, "B R D"],
        valid: Bool[Array, "B R"],
        questions: Int[Array, "B G S"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "B G A"]:
        """Returns the logits of every answer to every question (equation 23)."""
        words = questions.reshape(-1, questions.shape[2])  # [BG, S]
        embedded = self.drop(self.embedding(words), deterministic=deterministic)
        _, finals = self.reader(embedded, words != self.pad_id)
        known = hidden(finals[-1]).reshape(*questions.shape[:2], -1)  # [B, G, D]
        for glimpse in self.glimpses:
            known = glimpse(known, regions, valid)
        if self.hidden_dim:
            known = self.drop(known, deterministic=deterministic)
            known = nn.relu(self.hidden(known))
        return self.out(self.drop(known, deterministic=deterministic))

    @nn.nowrap
    def looks(self, maps: dict[str, Array], num_regions: int) -> Looks:
        """Returns where each glimpse went."""
        return numbered_looks(maps, "glimpse", "glimpses_{}", num_regions)


def build(config: StackedAttentionConfig) -> StackedAttention:
    """Returns the module that a configuration describes."""
    return StackedAttention(
        image_encoder=image_encoder(
            config.model_dim,
            region_dim=config.region_dim,
            cnn_dim=config.cnn_dim,
            tower=config.tower,
        ),
        reader=RNN(partial(LSTMCell, config.model_dim)),
        attention=partial(AdditiveAttention, config.model_dim, config.attention_dim),
        vocab_size=config.vocab_size,
        num_answers=config.num_answers,
        word_dim=config.word_dim,
        num_glimpses=config.num_glimpses,
        hidden_dim=config.hidden_dim,
        dropout_rate=config.dropout_rate,
        pad_id=config.pad_id,
    )
