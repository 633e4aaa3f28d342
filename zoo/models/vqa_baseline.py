"""The baseline of visual question answering: question times image, no attention.

Antol et al. (2015), "VQA: Visual Question Answering", section 4.1, "deeper LSTM Q +
norm I": an LSTM reads the question, both sides are projected to one width and
multiplied, and a small network answers.
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from zoo.layers.dropout import Dropout
from zoo.layers.embeddings import Embedding
from zoo.layers.recurrent import RNN, LSTMCell
from zoo.models.visual_classifier import VisualClassifier
from zoo.models.visual_configs import VqaBaselineConfig
from zoo.models.visual_contract import image_encoder


def mean_of_valid(
    vectors: Float[Array, "B R D"], valid: Bool[Array, "B R"]
) -> Float[Array, "B D"]:
    """Returns the mean of the vectors that are real; zeros where there is none."""
    total = jnp.where(valid[:, :, None], vectors, 0.0).sum(axis=1)
    count = jnp.maximum(valid.sum(axis=1, keepdims=True), 1)
    return total / count.astype(total.dtype)


class VqaBaseline(VisualClassifier):
    """Question RNN times image vector, under `zoo.models.visual_contract`.

    The paper's image is one vector. Here it has regions, each of which knows its place,
    and their mean is taken after a nonlinear map, so that place is not lost in it:
    mean(tanh(W r + b)). With one region it is the paper's, but for its normalisation of
    the image vector, for one more linear map of it, and for the layer with tanh that
    its words pass before the LSTM.

    >>> import jax
    >>> model = build(VqaBaselineConfig(num_answers=4, region_dim=6, model_dim=8))
    >>> image, questions = jnp.ones((2, 5, 6)), jnp.ones((2, 3, 7), int)
    >>> arguments = jax.random.key(0), image, questions
    >>> jax.eval_shape(model.init_with_output, *arguments)[0].shape  # [B, G, A]
    (2, 3, 4)

    Attributes:
        image_encoder: makes the regions.
        reader: as an `RNN` does; its final states are the question.
        joint_dim: width in which both are multiplied, and of the MLP.
        dropout_rate: inside the MLP.
    """

    reader: nn.Module
    vocab_size: int
    num_answers: int
    word_dim: int
    joint_dim: int
    dropout_rate: float
    pad_id: int = 0

    def setup(self):
        dense = partial(nn.Dense, kernel_init=nn.initializers.xavier_uniform())
        self.embedding = Embedding(self.vocab_size, self.word_dim)
        self.question = dense(self.joint_dim)
        self.image = dense(self.joint_dim)
        self.hidden = [dense(self.joint_dim) for _ in range(2)]
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
        """Returns the logits of every answer to every question.

        The question is the final hidden states and memories of all layers, side by
        side.
        """
        words = questions.reshape(-1, questions.shape[2])  # [BG, S]
        _, finals = self.reader(self.embedding(words), words != self.pad_id)
        read = jnp.concatenate([leaf for state in finals for leaf in state], axis=-1)
        question = jnp.tanh(self.question(read))
        question = question.reshape(*questions.shape[:2], -1)  # [B, G, D]
        image = mean_of_valid(jnp.tanh(self.image(regions)), valid)
        states = question * image[:, None]
        for layer in self.hidden:
            states = self.drop(jnp.tanh(layer(states)), deterministic=deterministic)
        return self.out(states)


def build(config: VqaBaselineConfig) -> VqaBaseline:
    """Returns the module that a configuration describes."""
    return VqaBaseline(
        image_encoder=image_encoder(
            config.model_dim, region_dim=config.region_dim, cnn_dim=config.cnn_dim
        ),
        reader=RNN(partial(LSTMCell, config.model_dim), config.num_layers),
        vocab_size=config.vocab_size,
        num_answers=config.num_answers,
        word_dim=config.word_dim,
        joint_dim=config.joint_dim,
        dropout_rate=config.dropout_rate,
        pad_id=config.pad_id,
    )
