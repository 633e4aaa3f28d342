"""What a run of visual questions learns: its model, its batches, its loss."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from experiments.vqa.config import Config, VisualTraining
from experiments.vqa.dataset import Dataset, encode
from experiments.vqa.initial import initial_params
from experiments.vqa.scoring import scores_of
from zoo.catalogue import build
from zoo.data.vqa.batching import GroupPlan, evaluation_batches, training_batches
from zoo.data.vqa.sources import VisualSource
from zoo.data.vqa.words import QuestionWords
from zoo.layers.blocks import rematerialized
from zoo.losses import (
    TokenLoss,
    label_smoothed_cross_entropy,
    sigmoid_cross_entropy,
    tied_cross_entropy,
)
from zoo.models.contract import Seq2Seq
from zoo.models.visual_contract import VisualModel, initialize
from zoo.spreading import divide
from zoo.training.hosts import own_share, several
from zoo.training.run import Task
from zoo.training.step import LossFunction, TrainState
from zoo.visual.answerer import VisualAnswerer, answer_tokens, sized
from zoo.visual.images import OneShape
from zoo.vqa_metrics import accuracy


def task(config: Config, dataset: Dataset, model: VisualModel | None = None) -> Task:
    """Returns what a config and its questions come to.

    Args:
        model: one of your own, of as many words as the tokenizer has and of as many
            answers as there are; None builds the config's.
    """
    training = config.training
    if model is None:
        model = build(sized(config.model, dataset.tokenizer, dataset.answers))
    if training.remat:
        model = rematerialized(model)
    questions = encode(config, dataset, dataset.train)
    plan = GroupPlan(
        questions.image_of,
        images_per_batch=_rows(training, training.accumulation),
        questions_per_image=training.questions_per_image,
        num_steps=training.num_steps,
        seed=config.seed,
    )
    loss = loss_function(config, model, dataset)
    changes = type(config.data).augment is not VisualSource.augment
    image = " x ".join(map(str, config.data.image_shape))
    return Task(
        unit="answer",
        init=partial(initialize, model),
        loss=partial(loss, label_smoothing=training.label_smoothing),
        batches=lambda step: training_batches(
            plan,
            questions,
            first_step=step,
            augment=config.data.augment if changes else None,
            share=own_share(),
            workers=config.hosts.workers,
        ),
        batches_per_epoch=plan.batches_per_epoch,
        shapes=(
            f"{_rows(training, training.accumulation)} images ({image}) with up to "
            f"{training.questions_per_image} questions each"
        ),
        evaluate=Validation(config, dataset, model, loss),
        initial=initial_params(config, model),
    )


def check(config: Config) -> None:
    """Raises InputError for what would be refused once there are data, and need not."""
    if several():
        config.training.check_several()
    if config.training.remat:
        rematerialized(build(config.model))


def _rows(training: VisualTraining, portions: int) -> int:
    """Returns images a batch, so many that every device has as many of each portion."""
    multiple = jax.device_count() * portions
    return math.ceil(training.images_per_batch / multiple) * multiple


def loss_function(config: Config, model: Any, dataset: Dataset) -> LossFunction:
    """Returns loss(params, batch, key, *, label_smoothing); without key no dropout."""
    if isinstance(model, Seq2Seq):
        table = jnp.asarray(answer_tokens(dataset.tokenizer, dataset.answers))
        return partial(_loss_of_words, model, table)
    return partial(_loss_of_choice, model, config.training.loss)


def _loss_of_choice(model, loss, params, batch, key, *, label_smoothing) -> TokenLoss:
    logits = model.apply(
        {"params": params}, batch["image"], batch["questions"], **_dropout(key)
    )
    if loss == "sigmoid":
        return sigmoid_cross_entropy(logits, batch["targets"], batch["valid"])
    return label_smoothed_cross_entropy(
        logits, batch["labels"], batch["valid"], label_smoothing
    )


def _loss_of_words(model, table, params, batch, key, *, label_smoothing) -> TokenLoss:
    """Returns the loss of the words of the answers, in nats an answer."""
    labels = table[batch["labels"].reshape(-1)]  # [BG, T]
    inputs = jnp.roll(labels, 1, axis=1).at[:, 0].set(model.start_id)
    features = model.apply(
        {"params": params},
        (batch["image"], batch["questions"]),
        inputs,
        method="features",
        **_dropout(key),
    )
    valid = batch["valid"].reshape(-1)
    output, bias = model.apply({"params": params}, method="output")
    loss = tied_cross_entropy(
        features,
        output,
        labels,
        valid[:, None] & (labels != model.pad_id),
        label_smoothing,
        bias,
    )
    return loss._replace(count=valid.sum(dtype=jnp.float32))


def _dropout(key: jax.Array | None) -> dict[str, Any]:
    if key is None:
        return {"deterministic": True}
    return {"deterministic": False, "rngs": {"dropout": key}}


class Validation:
    """Measures a state: its loss and its accuracy on all questions to validate on."""

    def __init__(self, config: Config, dataset: Dataset, model: Any, loss: Any):
        self._questions = dataset.validation
        self._encoded = encode(config, dataset, dataset.validation)
        self._training = config.training
        self._loss = jax.jit(partial(loss, key=None, label_smoothing=0.0))
        self._answerer = VisualAnswerer(
            model,
            None,
            QuestionWords(dataset.tokenizer, config.data.max_words),
            OneShape(config.data.image_shape),
            dataset.answers,
        )

    def __call__(self, state: TrainState) -> dict[str, float]:
        """Returns the loss in nats an answer, and the accuracy in percent."""
        params = state.eval_params
        total = count = 0.0
        for _, batch in evaluation_batches(
            self._encoded,
            images_per_batch=_rows(self._training, 1),
            questions_per_image=self._training.questions_per_image,
        ):
            loss = self._loss(params, divide(params, batch))
            total, count = total + float(loss.plain), count + float(loss.count)
        answers, _ = self._answerer.with_params(params).predict(self._questions)
        scores = scores_of(self._questions, answers)
        return {"loss": total / max(count, 1.0), "accuracy": accuracy(scores).value}
