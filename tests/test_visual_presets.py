"""Presets that answer questions: their sizes, grids, configurations and refusals."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from tests.visual_models import shapes_of
from zoo.catalogue import build, config_from_json, config_to_json, model_config
from zoo.models.visual_configs import (
    VISUAL_PRESETS,
    EfficientNetConfig,
    VisionTransformerConfig,
)
from zoo.models.visual_contract import onto_regions, region_grid


def test_onto_regions_by_hand():
    # Two heads, two queries, two words and then two regions: the first query gives the
    # regions .2 and .6 with one head, 0 and .4 with the other.
    first = jnp.array([[0.1, 0.1, 0.2, 0.6], [0.3, 0.3, 0.0, 0.4]])
    weights = jnp.stack([first, jnp.ones((2, 4))], axis=1)[None]
    np.testing.assert_allclose(onto_regions(weights, 2), [[1 / 6, 5 / 6]], atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 64, 3), (75, 96, 3)])
@pytest.mark.parametrize(("name", "size"), [("cnn", 8), ("patches", 32)])
def test_the_grid_of_a_model_has_a_cell_for_each_region(name, size, shape):
    sight = {"patch_size": 0 if name == "cnn" else size}
    model = zoo.create_model("single-stream-tiny", **sight)
    image = jax.ShapeDtypeStruct((1, *shape), jnp.uint8)
    encode = functools.partial(model.apply, method="encode_image")
    regions, _ = jax.eval_shape(encode, {"params": shapes_of(model)}, image)
    rows, columns = region_grid(model, shape)
    assert (rows, columns) == (-(-shape[0] // size), -(-shape[1] // size))
    assert rows * columns == regions.shape[1]


def test_features_of_regions_have_no_grid():
    assert region_grid(zoo.create_model("mcan-small"), (100, 2048)) is None


def num_params(name):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes_of(zoo.create_model(name))))


@pytest.mark.parametrize("name", [n for n in VISUAL_PRESETS if n.endswith("-tiny")])
def test_tiny_is_under_a_million_parameters(name):
    config = model_config(name)
    assert config.vocab_size == 200
    assert getattr(config, "num_answers", 20) == 20
    assert num_params(name) < 1_000_000


def mcan_by_hand(words, width, mlp, pooled):
    """Adds up the layers of MCAN for 2,048 features a region and 3,129 answers."""
    attention = 4 * (width * width + width)
    feed_forward = width * mlp + mlp + mlp * width + width
    norm = 2 * width
    embedding = words * 300
    lstm = 4 * width * (300 + width) + 4 * width
    image = 2048 * width + width
    encoder = 6 * (attention + feed_forward + 2 * norm)
    guided = 6 * (2 * attention + feed_forward + 3 * norm)
    pooling = 2 * (width * 512 + 512 + 512 + 1 + width * pooled + pooled)
    out = 2 * pooled + pooled * 3129 + 3129
    return embedding + lstm + image + encoder + guided + pooling + out


@pytest.mark.parametrize(
    ("name", "sizes", "millions"),
    [
        ("mcan-small", (512, 2048, 1024), 57.8),
        ("mcan-large", (1024, 4096, 2048), 201.7),
    ],
)
def test_mcan_has_the_parameters_of_openvqa(name, sizes, millions):
    # With OpenVQA's vocabulary of 20,573 words; torch's LSTM has one bias more.
    assert num_params(name) == mcan_by_hand(20_573, *sizes)
    assert round(num_params(name) / 1e6, 1) == millions


@pytest.mark.parametrize("name", ["single-stream", "vilt"])
def test_a_single_stream_has_the_parameters_of_the_paper(name):
    # Kim et al. (2021), table 6: 87.4M, embeddings, positions and heads apart.
    shapes = shapes_of(zoo.create_model(name))
    sizes = [
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)
        if path[0].key.startswith(("blocks", "image_encoder"))
        and path[-1].key != "positions"
    ]
    assert round(sum(sizes) / 1e6, 1) == 87.4


@pytest.mark.parametrize("name", VISUAL_PRESETS)
def test_a_configuration_goes_to_json_and_back(name):
    config = model_config(name)
    assert config_from_json(config_to_json(config)) == config
    assert build(config) is build(model_config(name))
    assert name in zoo.list_models()


def test_a_description_tells_paper_and_size():
    description = zoo.describe("mcan-tiny")
    assert "1906.10770" in description.paper
    assert description.num_params == num_params("mcan-tiny")


def test_a_tower_goes_to_json_and_back_and_reads_the_image():
    tower = VisionTransformerConfig(
        image_size=16, patch_size=8, model_dim=12, mlp_dim=20, num_heads=3, num_layers=1
    )
    config = model_config("stacked-attention-tiny", tower=tower)
    assert config_from_json(json.loads(json.dumps(config_to_json(config)))) == config
    model = build(config)
    params = shapes_of(model)["image_encoder"]
    assert params["tower"]["patches"]["positions"].shape == (2, 2, 12)
    assert params["out"]["kernel"].shape == (12, config.model_dim)
    assert region_grid(model, (20, 24)) == (3, 3)
    with pytest.raises(zoo.InputError, match="field of tower: 'depth'"):
        config_from_json({"family": "stacked-attention", "tower": {"depth": 1}})


def test_the_family_of_a_tower_is_known_and_left_where_it_stands():
    values = {"family": "stacked-attention", "region_dim": 0}
    tower = {"family": "efficientnet", "width": 0.5}
    values |= {"tower": dict(tower)}
    assert config_from_json(values).tower == EfficientNetConfig(width=0.5)
    assert values["tower"] == tower
    values["tower"]["family"] = "efficientnets"
    with pytest.raises(zoo.InputError, match="family of towers: 'efficientnets'"):
        config_from_json(values)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"tower": VisionTransformerConfig(), "region_dim": 8}, "need no tower"),
        ({"tower": 3}, "tower is 3"),
    ],
)
def test_a_wrong_tower_is_refused(overrides, message):
    with pytest.raises(zoo.InputError, match=message):
        zoo.create_model("stacked-attention-tiny", **overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"num_heads": 5}, "num_heads 5"),
        ({"model_dim": 18, "num_heads": 2}, "model_dim 18"),
        ({"cnn_dim": 20}, "cnn_dim 20"),
        ({"region_dim": -1}, "region_dim is -1"),
        ({"region_dim": 8, "patch_size": 4}, "set patch_size to 0"),
        ({"patch_size": -1}, "patch_size is -1"),
        ({"num_answer": 3}, "num_answers"),
    ],
)
def test_a_wrong_size_is_refused_by_name(overrides, message):
    with pytest.raises(zoo.InputError, match=message):
        zoo.create_model("single-stream-tiny", **overrides)
