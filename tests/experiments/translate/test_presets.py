"""The presets of the translation experiment: what they are, and that they train."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import zoo
from experiments.translate import train
from experiments.translate.config import PRESETS, FilesData
from experiments.vqa.config import PRESETS as VISUAL_PRESETS
from tests.experiments.translate.runs import TINY
from zoo.training.config import HostsConfig
from zoo.translation.translator import Translator


@pytest.mark.parametrize("preset", ["phrases-rnn", "phrases-bahdanau"])
def test_the_recurrent_presets_train_too(preset, tmp_path, capsys):
    workdir = tmp_path / "run"
    extra = ["--model.attention-dim=16"] if preset == "phrases-bahdanau" else []
    short = ["--training.num-steps=6", "--training.evaluation-interval=3"]
    average = ["--decoding.average=2", "--workdir", str(workdir)]
    train.main([preset, *TINY, *extra, *short, *average])
    assert json.loads((workdir / "result.json").read_text())["averaged"] == 2
    own, asked = Translator.from_run(workdir), Translator.from_run(workdir, average=2)
    for leaf, other in zip(
        *map(jax.tree.leaves, (own.params, asked.params)), strict=True
    ):
        np.testing.assert_array_equal(leaf, other)
    has_attention = preset == "phrases-bahdanau"
    assert (workdir / "attention.png").exists() == has_attention


def test_where_a_run_computes_is_not_in_its_config():
    # No result depends on the hosts; what is off unless it is asked for is left out.
    for presets in (PRESETS, VISUAL_PRESETS):
        config = next(iter(presets.values()))[1]
        values = config.to_json()
        assert not {"hosts", "workdir"} & set(values)
        assert "remat" not in values["training"]
        other = dataclasses.replace(config, hosts=HostsConfig(workers=2))
        assert other.to_json() == values
        training = dataclasses.replace(config.training, remat=True)
        changed = dataclasses.replace(config, training=training).to_json()
        assert changed["training"].pop("remat") is True
        assert changed == values
    phrases = PRESETS["phrases"][1]
    training = dataclasses.replace(phrases.training, packed_length=64)
    packed = dataclasses.replace(phrases, training=training).to_json()
    assert packed["training"].pop("packed_length") == 64
    assert packed == phrases.to_json()


def test_every_preset_goes_to_json_and_knows_its_name():
    from experiments.translate.config import data_from_json, name_of

    for name, (_, config) in PRESETS.items():
        values = json.loads(json.dumps(config.to_json(), default=str))
        assert data_from_json(values["data"]) == config.data
        assert name_of(dataclasses.replace(config, seed=3)) == name
        assert zoo.catalogue.config_from_json(values["model"]) == config.model
    assert isinstance(PRESETS["multi30k"][1].data, FilesData)
