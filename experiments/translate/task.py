"""What a run of translation learns: its model, its batches, its loss."""

import inspect
import math
from dataclasses import replace
from functools import partial
from typing import Any

import jax

from experiments.translate.config import Config
from experiments.translate.corpus import Corpora
from experiments.translate.validation import Validation, special_ids
from zoo.catalogue import build
from zoo.data.batching import BatchPlan, Plan, lengths_with_end, training_batches
from zoo.data.packed_batching import PackedPlan
from zoo.errors import InputError
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
    if config.training.packed_length:
        check_packing(model)
    plan = batch_plan(config, corpora)
    shapes = ", ".join(
        f"{bucket.rows} x ({bucket.source_length} + {bucket.target_length})"
        for bucket in plan.buckets
    )
    return Task(
        unit="token",
        init=partial(initialize, model),
        loss=partial(
            sequence_loss, model, label_smoothing=config.training.label_smoothing
        ),
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
    model, packed_length = build(config.model), config.training.packed_length
    if config.training.remat:
        rematerialized(model)
    if packed_length:
        check_packing(model)
        learned = getattr(config.model, "positions", "") == "learned"
        if learned and packed_length > config.model.max_positions:
            raise InputError(
                f"packed_length is {packed_length}, but the model has "
                f"{config.model.max_positions} positions to learn; lower "
                "--training.packed-length or raise --model.max-positions"
            )


def check_packing(model: Seq2Seq) -> None:
    """Raises InputError for a model that cannot take several pairs in a row."""
    if "packing" not in inspect.signature(model.features).parameters:
        raise InputError(
            f"{type(model).__name__} reads a row as one sentence; leave "
            "--training.packed-length out"
        )


def batch_plan(config: Config, corpora: Corpora) -> Plan:
    """Returns which pairs each update sees."""
    training = config.training
    lengths = map(lengths_with_end, corpora.train_ids)
    limits = {
        "tokens_per_batch": training.tokens_per_batch,
        "num_steps": training.num_steps,
        "seed": config.seed,
        # Every device has as many rows of every portion.
        "rows_multiple": math.lcm(8, jax.device_count() * training.accumulation),
    }
    if training.packed_length:
        return PackedPlan(*lengths, length=training.packed_length, **limits)
    return BatchPlan(*lengths, num_buckets=training.num_buckets, **limits)
