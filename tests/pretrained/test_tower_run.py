"""A run that begins with the image tower of others; the directory is made here."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save_file

import zoo
from experiments.vqa import train
from experiments.vqa.config import PRESETS
from experiments.vqa.dataset import prepare
from experiments.vqa.initial import with_tower
from experiments.vqa.task import task
from zoo.catalogue import build, model_config
from zoo.data.vqa.sources import SortOfClevrData
from zoo.models.visual_configs import VisionTransformerConfig
from zoo.models.visual_contract import initialize
from zoo.runs import read_params
from zoo.training.records import open_run
from zoo.training.run import train_to_end
from zoo.visual import answerer

WIDTH, HIDDEN, PATCH, PLACES = 8, 12, 25, 9
CONFIG = {
    "model_type": "vit",
    "hidden_size": WIDTH,
    "intermediate_size": HIDDEN,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "image_size": 75,
    "patch_size": PATCH,
}
PIXELS = {"size": {"height": 75, "width": 75}, "image_mean": [0.5] * 3}
TOWER = "image_encoder/tower"


def vit_weights():
    """Returns noise under the names of google/vit-*."""
    square, up = (WIDTH, WIDTH), (HIDDEN, WIDTH)
    layer = "encoder.layer.0."
    linear = {f"{layer}attention.attention.{x}": square for x in ("query", "key")}
    linear |= {f"{layer}attention.attention.value": square}
    linear |= {f"{layer}attention.output.dense": square}
    linear |= {f"{layer}intermediate.dense": up, f"{layer}output.dense": up[::-1]}
    linear |= {"embeddings.patch_embeddings.projection": (WIDTH, 3, PATCH, PATCH)}
    norms = [f"{layer}layernorm_{where}" for where in ("before", "after")]
    linear |= dict.fromkeys([*norms, "layernorm"], (WIDTH,))
    shapes = {f"{name}.weight": shape for name, shape in linear.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
    shapes |= {"embeddings.cls_token": (1, 1, WIDTH)}
    shapes |= {"embeddings.position_embeddings": (1, 1 + PLACES, WIDTH)}
    rng = np.random.default_rng(0)
    return {
        name: 0.1 * rng.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    pixels = PIXELS | {"image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    save_file(vit_weights(), folder / "model.safetensors")
    return folder


def config(workdir, **changed):
    _, preset = PRESETS["sort-of-clevr"]
    base = dataclasses.replace(
        preset,
        model=model_config(
            "stacked-attention-tiny",
            **{"model_dim": 16, "word_dim": 8, "attention_dim": 8},
            tower=VisionTransformerConfig(),
        ),
        data=SortOfClevrData(num_train=20, num_validation=6, num_test=8),
        optimizer=dataclasses.replace(
            preset.optimizer, warmup_steps=1, weight_decay=0.5, frozen=(TOWER,)
        ),
        training=dataclasses.replace(
            preset.training, num_steps=3, evaluation_interval=3, images_per_batch=8
        ),
        workdir=workdir,
    )
    return dataclasses.replace(base, **changed)


def trained(config):
    """Trains and validates, without the test of a whole run; returns the parameters."""
    learned = task(config, prepare(config))
    open_run(config.workdir, config.to_json())
    train_to_end(
        config.workdir,
        learned,
        config.training,
        config.optimizer,
        seed=0,
        started=0.0,
        console=Console(quiet=True),
    )
    init = functools.partial(initialize, build(config.model))
    return learned, read_params(config.workdir, init)


def test_a_frozen_tower_is_what_it_was_and_the_rest_has_learned(folder, tmp_path):
    told = with_tower(config(tmp_path / "run", init_from=str(folder)))
    assert told.model.tower.model_dim == WIDTH
    learned, params = trained(sized(told))
    _, theirs, rule = zoo.from_pretrained(folder)
    tower = params["image_encoder"]["tower"]
    assert jax.tree.structure(tower) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, tower, theirs)
    before = learned.initial["image_encoder"]["out"]["kernel"]
    assert np.abs(params["image_encoder"]["out"]["kernel"] - before).max() > 1e-4
    assert rule.height == 75


def sized(config):
    """Returns the config with the words and the answers of its data."""
    data = prepare(config)
    model = answerer.sized(config.model, data.tokenizer, data.answers)
    return dataclasses.replace(config, model=model)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"init_from": None}, "would be random numbers"),
        ({"init_from": "/no/such/place"}, "no such"),
        (
            {"model": model_config("stacked-attention-tiny"), "init_from": "x"},
            "no tower to begin with",
        ),
    ],
)
def test_a_tower_that_cannot_be_had_is_refused(tmp_path, changed, message):
    with pytest.raises(zoo.InputError, match=message):
        train.train(config(tmp_path / "run", **changed))
    assert not (tmp_path / "run").exists()


def test_an_unknown_part_is_refused_before_anything_is_written(folder, tmp_path):
    bad = config(tmp_path / "run", init_from=str(folder))
    bad = dataclasses.replace(
        bad, optimizer=dataclasses.replace(bad.optimizer, frozen=("tower",))
    )
    with pytest.raises(zoo.InputError, match="part to freeze: 'tower'"):
        train.train(bad)
    assert not (tmp_path / "run").exists()


def test_weights_that_are_missing_or_misshapen_are_told(folder, tmp_path):
    weights = vit_weights()
    for name, message in [
        ("embeddings.position_embeddings", "1 missing: embeddings.position"),
        ("embeddings.cls_token", "1 missing: embeddings.cls_token"),
        ("embeddings.patch_embeddings.projection.weight", "1 missing"),
        ("layernorm.weight", "1 missing: last_norm/scale"),
    ]:
        for file in folder.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        rest = {key: value for key, value in weights.items() if key != name}
        save_file(rest, tmp_path / "model.safetensors")
        with pytest.raises(zoo.InputError, match=message):
            zoo.from_pretrained(tmp_path)
    save_file(weights | {"decoder.weight": np.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(zoo.InputError, match=r"1 left over: decoder\.weight"):
        zoo.from_pretrained(tmp_path)
