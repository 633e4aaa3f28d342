"""One small model of each family that answers questions, with noise for parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.models.visual_contract import initialize

VOCAB, ANSWERS, WIDTH = 9, 4, 6
SMALL = {"vocab_size": VOCAB, "model_dim": 16, "dropout_rate": 0.0}
CHOICE = {"num_answers": ANSWERS}
BLOCKS = {"mlp_dim": 24, "num_heads": 4, "num_layers": 1}
# One small model of each family; it is given features of regions, which compile fast.
TINY = {
    "vqa-baseline": {**CHOICE, "word_dim": 8, "joint_dim": 16},
    "stacked-attention": {
        **CHOICE,
        **{"word_dim": 8, "attention_dim": 12, "hidden_dim": 10},
    },
    "mcan": {**CHOICE, **BLOCKS, "word_dim": 8, "pooling_dim": 12},
    "single-stream": {**CHOICE, **BLOCKS},
    "answer-decoder": BLOCKS,
}
BATCH = 8
every_model = pytest.mark.parametrize("name", TINY)


def small(name, **sight):
    return zoo.create_model(f"{name}-tiny", **SMALL, **TINY[name], **sight)


@functools.cache
def shapes_of(model):
    return jax.eval_shape(functools.partial(initialize, model), jax.random.key(0))


def draw(model, seed=1):
    """Returns noise for every parameter, so that none is zero."""
    rng = np.random.default_rng(seed)
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.asarray(
            0.3 * rng.normal(size=leaf.shape) + ("scale" in str(path[-1])), jnp.float32
        ),
        shapes_of(model),
    )


@functools.cache
def make(name):
    model = small(name, region_dim=WIDTH)
    return model, draw(model)


@functools.cache
def batch():
    """Returns images, questions and labels.

    Of the five regions of images 0 and 1, three are real; the second question of
    image 1 is padding alone.
    """
    rng = np.random.default_rng(0)
    image = rng.normal(size=(BATCH, 5, WIDTH)).astype(np.float32)
    image[:2, 3:] = 0.0
    questions = rng.integers(3, VOCAB, (BATCH, 3, 4)).astype(np.int32)
    questions[:, 0, 2:] = 0
    questions[1, 1] = 0
    return image, questions, rng.integers(0, ANSWERS, (BATCH, 3)).astype(np.int32)
