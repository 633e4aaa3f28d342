"""Our rules for pictures against Hugging Face's processors: the same pixels."""

import json

import numpy as np
import pytest

from tests.pretrained.torch_models import picture, transformers
from zoo.data.vqa.resizing import FitMultiples
from zoo.errors import InputError
from zoo.pretrained.directory import open_directory
from zoo.pretrained.pixels import FILE, cropping, fitting, folded, squashing

SIZES = [(31, 19), (20, 20), (13, 57), (120, 33), (64, 65), (7, 9), (41, 200), (25, 24)]


def saved(folder, processor, name=FILE):
    """Returns the directory that a processor is written to."""
    processor.save_pretrained(folder)
    (folder / "config.json").write_text("{}")
    if name != FILE:
        values = {"image_processor": json.loads((folder / FILE).read_text())}
        (folder / name).write_text(json.dumps(values))
        (folder / FILE).unlink()
    return open_directory(folder)


@pytest.mark.parametrize("resample", [2, 3])
@pytest.mark.parametrize("family", ["vit", "clip", "vilt"])
def test_the_pixels_are_theirs(tmp_path, family, resample):
    if family == "vit":
        processor = transformers.ViTImageProcessorPil(
            size={"height": 24, "width": 24}, resample=resample
        )
        rule = squashing(saved(tmp_path, processor), 24)
    elif family == "clip":
        processor = transformers.CLIPImageProcessorPil(
            size={"shortest_edge": 29},
            crop_size={"height": 24, "width": 24},
            resample=resample,
        )
        rule = cropping(saved(tmp_path, processor), 24)
    else:
        processor = transformers.ViltImageProcessorPil(
            size={"shortest_edge": 24}, size_divisor=8, resample=resample
        )
        rule = fitting(saved(tmp_path, processor, "processor_config.json"), 24, 8)
    mean, deviation = np.array(processor.image_mean), np.array(processor.image_std)
    for height, width in SIZES:
        one = picture(height, width)
        theirs = processor(one, return_tensors="np")["pixel_values"][0]
        theirs = (theirs.transpose(1, 2, 0) * deviation + mean) * 255
        ours = rule(one)
        assert ours.shape == theirs.shape, one.size
        # The same bytes; theirs have been scaled and back.
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_mean_and_deviation_move_into_the_first_map(tmp_path):
    processor = transformers.CLIPImageProcessorPil()
    directory = saved(tmp_path, processor)
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(5, 3, 2, 2)), rng.normal(size=5)
    pixels = rng.integers(0, 256, (3, 2, 2))
    mean = np.array(processor.image_mean)[:, None, None]
    deviation = np.array(processor.image_std)[:, None, None]
    normal = (pixels / 255 - mean) / deviation
    for weights in ({"p.weight": kernel, "p.bias": bias}, {"p.weight": kernel}):
        ours = folded(weights, directory, "p")
        expected = np.einsum("dcyx,cyx->d", kernel, normal) + weights.get("p.bias", 0)
        found = np.einsum("dcyx,cyx->d", ours["p.weight"], pixels / 127.5 - 1)
        np.testing.assert_allclose(found + ours["p.bias"], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"resample": 5}, "resample is 5"),
        ({"size": {"shortest_edge": "384"}}, "whole patches of 32"),
        ({"size_divisor": 48}, "whole patches of 32"),
        ({"do_resize": False}, "whole patches of 32"),
        ({"rescale_factor": 1.0}, "not divided by 255"),
        ({"rescale_factor": None}, "not divided by 255"),
        ({"rescale_factor": "x"}, "not divided by 255"),
        ({"image_mean": [0.5, 0.5]}, "image_mean"),
        ({"image_std": [0.5, 0.5, 0.0]}, "image_std"),
        ({"image_std": "high"}, "image_std"),
    ],
)
def test_what_we_cannot_do_is_refused(tmp_path, changed, message):
    directory = saved(tmp_path, transformers.ViltImageProcessorPil())
    values = directory.read_json(FILE)
    assert fitting(directory, 384, 32) == FitMultiples(384, 32)
    (tmp_path / FILE).write_text(json.dumps(values | changed))

    def prepare():
        fitting(directory, 384, 32)
        folded({"p.weight": np.zeros((5, 3, 2, 2))}, directory, "p")

    with pytest.raises(InputError, match=message):
        prepare()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            {"p.weight": np.zeros((5, 3, 2, 2)), "p.bias": np.zeros(4)},
            r"p.bias is \[4\]",
        ),
        ({"p.weight": np.zeros((5, 3, 2, 2)), "p.bias": np.zeros(5, int)}, "p.bias is"),
        ({"p.weight": np.zeros((5, 3, 2, 2), np.int8)}, "p.weight is of int8"),
        ({"p.weight": np.zeros((5, 12))}, r"p.weight is \[5, 12\]"),
    ],
)
def test_patches_that_are_none_are_named(tmp_path, weights, message):
    directory = saved(tmp_path, transformers.ViltImageProcessorPil())
    with pytest.raises(InputError, match=message):
        folded(weights, directory, "p")


def test_a_crop_or_a_square_of_another_size_is_refused(tmp_path):
    directory = saved(tmp_path, transformers.CLIPImageProcessorPil())
    assert cropping(directory, 224).height == 224
    with pytest.raises(InputError, match="not cropped to 336"):
        cropping(directory, 336)
    with pytest.raises(InputError, match="do not become 224 x 224"):
        squashing(directory, 224)
