"""What a run of translation learns, with a model of one's own."""

from dataclasses import replace
from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.translate import rows, task, validation
from experiments.translate.config import PRESETS
from experiments.translate.corpus import prepare
from tests.decoding.models import Trigrams
from zoo.data.sources import PhrasesData
from zoo.errors import InputError
from zoo.losses import TokenLoss
from zoo.spreading import divide, mesh_of, on_all_devices
from zoo.training.step import TrainState


@pytest.fixture
def config(tmp_path):
    preset = PRESETS["phrases"][1]
    few = {"num_train": 60, "num_validation": 4, "num_test": 4}
    return replace(
        preset,
        workdir=tmp_path,
        data=PhrasesData(**few, tokens="characters", max_length=128),
    )


def test_a_model_of_ones_own_is_what_is_drawn_trained_and_validated(
    config, monkeypatch
):
    corpora = prepare(config)
    # Each says which model it was given.
    monkeypatch.setattr(task, "initialize", lambda model, *_: model)
    monkeypatch.setattr(task, "sequence_loss", lambda model, *_, **__: model)
    monkeypatch.setattr(task, "Validation", lambda *given: lambda: given[-1])
    model = Trigrams()
    learned = task.task(config, corpora, model=model)
    assert model is learned.init() is learned.loss() is learned.evaluate()
    model.start_id = 7
    first = next(iter(task.task(config, corpora, model=model).batches(0)))
    assert first["inputs"][0, 0] == 7


def test_rows_are_shared_where_that_is_asked_for(config):
    training = replace(config.training, packed_length=128)
    config = replace(config, training=training)
    corpora = prepare(config)
    with pytest.raises(InputError, match="Trigrams reads a row as one sentence"):
        task.task(config, corpora, model=Trigrams())
    learned = task.task(config, corpora)
    first, second = islice(learned.batches(0), 2)
    assert first["source_segments"].max() > 1
    assert " x (128 + " in learned.shapes  # letters; Korean has fewer
    # Every label of an epoch is learned once.
    sizes = [len(target) + 1 for target in corpora.train_ids[1]]
    epoch = islice(learned.batches(0), learned.batches_per_epoch)
    assert sum((batch["labels"] > 0).sum() for batch in epoch) == sum(sizes)
    (resumed,) = islice(learned.batches(1), 1)
    for name in second:
        np.testing.assert_array_equal(resumed[name], second[name])
    params = jax.eval_shape(learned.init, jax.random.key(0))
    loss = jax.eval_shape(learned.loss, params, first, jax.random.key(1))
    assert loss.count.shape == ()


def test_what_shared_rows_gain_is_measured_on_every_shape(config, monkeypatch, capsys):
    # A step and a model that are compiled in no time.
    monkeypatch.setattr(task, "initialize", lambda model, key: {"w": np.zeros(1)})
    taken = []

    def make_train_step(*_):
        def step(state, batch):
            taken.append(batch["source"].shape)
            return state, {"labels": (batch["labels"] > 0).sum()}

        return step

    monkeypatch.setattr("zoo.training.step.make_train_step", make_train_step)
    few = replace(config.training, packed_length=128, tokens_per_batch=512)
    config = replace(config, training=few)
    rows.measure(config, rounds=1)
    assert len(set(taken)) == 3  # two buckets and the shared rows, compiled once each
    output = capsys.readouterr().out
    assert "60 pairs" in output
    corpora = prepare(config)
    plan = task.batch_plan(config, corpora)
    cells = plan.batches_per_epoch * plan.buckets[0].rows
    cells *= plan.buckets[0].source_length + plan.buckets[0].target_length
    tokens = sum(len(ids) + 1 for side in corpora.train_ids for ids in side)
    (line,) = [line for line in output.splitlines() if "shared rows" in line]
    assert f"{tokens / cells:.1%}" in line
    assert f" {plan.batches_per_epoch} " in line


def test_the_devices_of_the_parameters_share_a_validation(config, monkeypatch):
    corpora, shared = prepare(config), []

    def loss(model, params, batch, key):
        return TokenLoss(jnp.ones(()), jnp.ones(()), jnp.full((), 2.0))

    def share(params, batch):
        divided = divide(params, batch)
        shared.append(len(divided["source"].sharding.device_set))
        return divided

    def translate_all(translator, sentences, decoding):
        shared.append(mesh_of(translator.params).size)
        return corpora.validation.target

    monkeypatch.setattr(validation, "sequence_loss", loss)
    monkeypatch.setattr(validation, "divide", share)
    monkeypatch.setattr(validation, "translate_all", translate_all)
    params = on_all_devices({"w": jnp.ones(2)})
    state = TrainState(step=0, params=params, opt_state=())
    found = validation.Validation(config, corpora, Trigrams())(state)
    assert (found["loss"], found["exact_match"]) == (0.5, 100.0)
    assert shared == [8, 8]
