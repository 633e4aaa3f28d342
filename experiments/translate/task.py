"""What a run of translation learns: its model, its batches, its loss."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import jax

from experiments.translate.config import Config
from experiments.translate.corpus import Corpora
from experiments.translate.validation import Validation, special_ids
from zoo.catalogue import build
from zoo.data.batching import BatchPlan, lengths_with_end, training_batches
from zoo.layers.blocks import rematerialized
from zoo.losses import sequence_loss
from zoo.models.contract import Seq2Seq, initialize
from zoo.training.hosts import own_share, several
from zoo.training.run import Task


def task(
    config: Config,
    corpora: Corpora,
    initial: Any = None,
    model: Seq2Seq | None = None,
) -> Task:
    """Returns what a config and its texts come to.

    Args:
        initial: parameters to begin with; None draws them.
        model: one of your own, of as many tokens as the tokenizer has; None builds the
            config's.
    """
    if model is None:
        model = build(replace(config.model, vocab_size=corpora.tokenizer.vocab_size))
    if config.training.remat:
        model = rematerialized(model)
    plan = batch_plan(config, corpora)
    shapes = ", ".join(
        f"{bucket.rows} x ({bucket.source_length} + {bucket.target_length})"
        for bucket in plan.buckets
    )
    return Task(
        unit="token",
        init=partial(initialize, model),
        loss=partial(sequence_loss, model, smoothing=config.training.label_smoothing),
        batches=lambda step: training_batches(
            plan,
            *corpora.train_ids,
            first_step=step,
            special=special_ids(model),
            share=own_share(),
            workers=config.hosts.workers,
        ),
        batches_per_epoch=plan.batches_per_epoch,
        shapes=f"{shapes} tokens",
        evaluate=Validation(config, corpora, model),
        initial=initial,
    )


def check(config: Config) -> None:
    """Raises InputError for what would be refused once there are data, and need not."""
    if several():
        config.training.check_several()
    if config.training.remat:
        rematerialized(build(config.model))


def batch_plan(config: Config, corpora: Corpora) -> BatchPlan:
    """Returns which pairs each update sees."""
    training = config.training
    return BatchPlan(
        *map(lengths_with_end, corpora.train_ids),
        tokens_per_batch=training.tokens_per_batch,
        num_buckets=training.num_buckets,
        num_steps=training.num_steps,
        seed=config.seed,
        # Every device has as many rows of every portion.
        rows_multiple=math.lcm(8, jax.device_count() * training.accumulation),
    )
