"""A packed run is the run, and what is amiss with one is said in a line."""

import json
from functools import partial

import jax
import numpy as np
import pytest

import zoo
from zoo.catalogue import config_to_json, model_config
from zoo.data.tokenizer import Tokenizer
from zoo.errors import InputError
from zoo.models.contract import initialize
from zoo.packing import PARAMS, pack, unpack
from zoo.pretrained.parameters import save_params

SIZES = {"model_dim": 16, "mlp_dim": 16, "num_heads": 2, "num_layers": 1}


def noise(model):
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32),
        jax.eval_shape(partial(initialize, model), jax.random.key(0)),
    )


@pytest.fixture
def run(tmp_path):
    """Makes what is kept of a run, and something that is not; returns its model."""
    folder = tmp_path / "run"
    folder.mkdir()
    tokenizer = Tokenizer.train(["a b c d"], 30, tokens="words")
    tokenizer.save(folder / "tokenizer.model")
    config = model_config("transformer-tiny", vocab_size=tokenizer.vocab_size, **SIZES)
    model = {"model": config_to_json(config), "data": {"max_length": 16}, "seed": 0}
    (folder / "config.json").write_text(json.dumps(model))
    (folder / "metrics.jsonl").write_text("{}")
    return folder, zoo.catalogue.build(config)


def test_a_packed_run_is_loaded_like_the_run(run, tmp_path):
    folder, model = run
    params = noise(model)
    pack(folder, tmp_path / "deep" / "packed", params)
    files = {path.name for path in (tmp_path / "deep" / "packed").iterdir()}
    assert files == {"config.json", "tokenizer.model", PARAMS}
    translator = zoo.load(tmp_path / "deep" / "packed")
    assert translator.model == model
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_array_equal(
            ours, theirs.astype(np.float16).astype(np.float32)
        ),
        translator.params,
        params,
    )
    zoo.pack(tmp_path / "deep" / "packed", tmp_path / "again")
    first, again = (tmp_path / x / PARAMS for x in ("deep/packed", "again"))
    assert again.read_bytes() == first.read_bytes()


def test_what_16_bits_cannot_hold_is_not_packed(run, tmp_path):
    folder, model = run
    params = jax.tree.map(lambda leaf: 1e5 * leaf, noise(model))
    with pytest.raises(InputError, match="beyond what 16 bits hold"):
        pack(folder, tmp_path / "packed", params)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_nothing_is_written_over_and_nothing_averaged(run, tmp_path):
    folder, model = run
    pack(folder, tmp_path / "packed", noise(model))
    with pytest.raises(InputError, match="exists already"):
        pack(folder, tmp_path / "packed", noise(model))
    with pytest.raises(InputError, match="no checkpoints to average"):
        zoo.load(tmp_path / "packed", average=1)


def test_parameters_of_another_model_are_refused(run, tmp_path):
    _, model = run
    path = tmp_path / PARAMS
    save_params({"a": np.zeros(3, np.float16)}, path)
    with pytest.raises(InputError, match="parameters of another model"):
        unpack(path, partial(initialize, model))


def test_weights_of_others_are_not_packed(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "marian"}')
    with pytest.raises(InputError, match="weights of others, and no run"):
        zoo.pack(tmp_path, tmp_path / "packed")
