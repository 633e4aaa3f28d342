"""What a run of translation learns, with a model of one's own."""

from dataclasses import replace

import jax.numpy as jnp
import pytest

from experiments.translate import task, validation
from experiments.translate.config import PRESETS
from experiments.translate.corpus import prepare
from tests.decoding.models import Trigrams
from zoo.data.sources import PhrasesData
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
