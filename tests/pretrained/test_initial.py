"""What a translator's training may begin with, refused before anything is written."""

import dataclasses
import json

import numpy as np
import pytest

import zoo
from experiments.translate import initial, train
from experiments.translate.config import PRESETS
from experiments.translate.initial import Initial, read_initial, with_initial
from zoo.catalogue import config_to_json, model_config
from zoo.translation.options import Defaults, defaults_from_json

MODEL = model_config("marian-tiny", vocab_size=9)


def config(workdir, *, frozen=(), init_from="there"):
    _, preset = PRESETS["phrases"]
    return dataclasses.replace(
        preset,
        optimizer=dataclasses.replace(preset.optimizer, frozen=frozen),
        init_from=init_from,
        workdir=workdir,
    )


@pytest.fixture
def reads(monkeypatch):
    """Returns the list of what is read as a model to begin with."""
    read = []

    def pretend(path):
        read.append(path)
        return Initial(MODEL, {"embedding": {"table": np.ones(3)}}, None, None)

    monkeypatch.setattr(initial, "read_initial", pretend)
    return read


def test_the_model_is_the_one_that_it_begins_with(reads, tmp_path):
    told, begins = with_initial(config(tmp_path / "run", frozen=("embedding",)))
    assert told.model == MODEL
    assert begins is not None
    assert reads == ["there"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"frozen": ("embeding",)}, "part to freeze: 'embeding'.*embedding"),
        ({"frozen": ("embedding",), "init_from": None}, "would be random numbers"),
    ],
)
def test_what_cannot_be_frozen_is_refused(reads, tmp_path, changed, message):
    with pytest.raises(zoo.InputError, match=message):
        train.train(config(tmp_path / "run", **changed))
    assert not (tmp_path / "run").exists()


def begun(workdir, saved, init_from="there"):
    workdir.mkdir()
    values = {"model": config_to_json(MODEL), "init_from": init_from}
    (workdir / "config.json").write_text(json.dumps(values))
    if saved:
        (workdir / saved).mkdir(parents=True)
    return config(workdir)


@pytest.mark.parametrize("saved", ["checkpoints/7", "result.json"])
def test_a_run_that_has_saved_something_needs_its_beginning_no_more(
    reads, tmp_path, saved
):
    told, begins = with_initial(begun(tmp_path / "run", saved))
    assert (told.model, begins, reads) == (MODEL, None, [])


@pytest.mark.parametrize(
    ("saved", "init_from"), [(None, "there"), ("checkpoints/7", "elsewhere")]
)
def test_a_run_without_or_with_another_beginning_reads_it(
    reads, tmp_path, saved, init_from
):
    _, begins = with_initial(begun(tmp_path / "run", saved, init_from))
    assert begins is not None
    assert reads == ["there"]


@pytest.mark.parametrize(
    "values", [{"model": {"family": "vqa-baseline"}}, {"model_type": "vilt"}]
)
def test_what_does_not_translate_is_no_beginning(tmp_path, values):
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(zoo.InputError, match="translate"):
        read_initial(str(tmp_path))


@pytest.mark.parametrize("option", ["--model.num-layers=3", "--model.dropout-rate"])
def test_a_model_from_elsewhere_is_not_changed_in_silence(tmp_path, option):
    arguments = ["files", "--init-from=x", f"--workdir={tmp_path / 'run'}", option]
    if "=" not in option:
        arguments.append("0.2")
    with pytest.raises(zoo.InputError, match=f"{option.partition('=')[0]} cannot be"):
        train.main(arguments)


@pytest.mark.parametrize(
    "changed", [{"banned": 3}, {"banned": ["x"]}, {"beam_size": "4"}, {"more": 1}]
)
def test_settings_of_a_search_survive_and_others_are_refused(changed):
    values = {"beam_size": 6, "length_penalty": 0.5, "max_length": None}
    values |= {"banned": [3, 9], "forced_end": True, "min_length": 5}
    found = defaults_from_json(values, "run")
    assert found == Defaults(6, 0.5, None, (3, 9), True, 5)
    with pytest.raises(zoo.InputError, match="run holds no settings of a search"):
        defaults_from_json(values | changed, "run")
