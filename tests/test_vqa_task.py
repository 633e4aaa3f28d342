"""What a run of visual questions learns, with a model of one's own."""

import dataclasses
import functools
import os
import signal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from experiments.vqa.config import PRESETS
from experiments.vqa.dataset import prepare
from experiments.vqa.task import task
from zoo.catalogue import build, model_config
from zoo.data.vqa.sources import SortOfClevrData
from zoo.models.visual_contract import initialize
from zoo.runs import read_params
from zoo.training.records import open_run
from zoo.training.run import train_to_end
from zoo.visual.answerer import sized


class GatedAttention(nn.Module):
    """An attention that the zoo does not have."""

    @nn.compact
    def __call__(self, known, regions, valid):
        query = nn.Dense(regions.shape[-1], name="own")(known)
        gates = nn.sigmoid(jnp.einsum("BGD,BRD->BGR", query, regions))
        weights = jnp.where(valid[:, None], gates, 0.0)
        return jnp.einsum("BGR,BRD->BGD", weights, regions), weights


@pytest.fixture
def config(tmp_path):
    _, preset = PRESETS["sort-of-clevr"]
    small = {"model_dim": 16, "cnn_dim": 8, "word_dim": 8, "attention_dim": 8}
    return dataclasses.replace(
        preset,
        model=model_config("stacked-attention-tiny", num_glimpses=1, **small),
        data=SortOfClevrData(num_train=20, num_validation=4, num_test=4),
        optimizer=dataclasses.replace(preset.optimizer, warmup_steps=1),
        training=dataclasses.replace(
            preset.training, num_steps=4, evaluation_interval=2, images_per_batch=8
        ),
        workdir=tmp_path,
    )


def test_a_model_of_ones_own_is_trained_and_a_stopped_run_goes_on_with_it(
    config, tmp_path
):
    dataset = prepare(config)
    model = build(sized(config.model, dataset.tokenizer, dataset.answers))
    fork = model.clone(attention=GatedAttention)
    learned = task(config, dataset, model=fork)

    def train(workdir, learned):
        open_run(workdir, config.to_json())
        train_to_end(
            workdir,
            learned,
            config.training,
            config.optimizer,
            seed=0,
            started=0.0,
            console=Console(quiet=True),
        )
        return read_params(workdir, functools.partial(initialize, fork))

    def stopped(step):
        for number, batch in enumerate(learned.batches(step)):
            if number == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    whole = train(tmp_path / "whole", learned)
    assert "own" in whole["glimpses_0"]["attention"]
    with pytest.raises(SystemExit) as exit_:
        train(tmp_path / "cut", dataclasses.replace(learned, batches=stopped))
    assert exit_.value.code == 143
    jax.tree.map(np.testing.assert_array_equal, train(tmp_path / "cut", learned), whole)
