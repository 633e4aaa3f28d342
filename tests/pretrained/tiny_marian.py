"""A tiny Marian with random weights, as a directory that a test damages."""

import json

import jax
import numpy as np
from safetensors.numpy import load_file, save_file

from zoo.models.contract import initialize

VOCAB = 300
SIZES = {"model_dim": 8, "mlp_dim": 12, "num_heads": 2, "num_layers": 2}
SIZES |= {"num_decoder_layers": 1, "dropout_rate": 0.0}
LAYER = "model.encoder.layers.0."


def noise(model):
    shapes = jax.eval_shape(lambda key: initialize(model, key), jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes
    )


def change_json(path, **values):
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(old | values))


def change_tensor(folder, name, array):
    path = folder / "model.safetensors"
    save_file(load_file(path) | {name: array}, path)
