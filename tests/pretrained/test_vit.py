"""ViT and CLIP's image side against Hugging Face's torch models, tiny and random."""

import jax
import numpy as np
import pytest

from tests.pretrained.torch_models import (
    picture,
    randomised,
    save,
    torch,
    transformers,
)
from zoo.pretrained.loading import from_pretrained

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "image_size": 12,
    "patch_size": 4,
}
KINDS = ["vit", "vit-classifier", "clip", "clip-vision"]


def make(kind):
    """Returns a model of Hugging Face's, and its processor of pictures."""
    if kind.startswith("vit"):
        config = transformers.ViTConfig(**SIZES)
        processor = transformers.ViTImageProcessorPil(size={"height": 12, "width": 12})
        if kind == "vit":
            return transformers.ViTModel(config), processor
        return transformers.ViTForImageClassification(config), processor
    processor = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 14}, crop_size={"height": 12, "width": 12}
    )
    if kind == "clip-vision":
        config = transformers.CLIPVisionConfig(**SIZES)
        return transformers.CLIPVisionModel(config), processor
    text = {**SIZES, "vocab_size": 9, "bos_token_id": 1, "eos_token_id": 2}
    del text["image_size"], text["patch_size"]
    config = transformers.CLIPConfig(text_config=text, vision_config=SIZES)
    return transformers.CLIPModel(config), processor


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory):
    """Returns their model and processor, and the directory that they wrote."""
    folder = tmp_path_factory.mktemp(request.param)
    model, processor = make(request.param)
    save(randomised(model), folder, processor)
    return model, processor, folder


def their_states(model, pixels):
    """Returns the last states, normed, the class token first."""
    with torch.inference_mode():
        if hasattr(model, "vit"):
            model = model.vit
        if hasattr(model, "vision_model"):
            model = model.vision_model
        states = model(pixel_values=pixels).last_hidden_state
        if hasattr(model, "post_layernorm"):
            states = model.post_layernorm(states)
    return states.numpy()


def test_the_states_of_two_pictures_are_theirs(pair):
    model, processor, folder = pair
    pictures = [picture(31, 19), picture(13, 40)]
    pixels = processor(pictures, return_tensors="pt")["pixel_values"]
    ours, params, rule = from_pretrained(folder)
    images = np.stack([rule(one) for one in pictures])

    @jax.jit
    def see(params, images):
        encode = ours.apply({"params": params}, images, method="encode")
        return encode[0], ours.apply({"params": params}, images)

    states, (regions, valid) = see(params, images)
    theirs = their_states(model, pixels)
    np.testing.assert_allclose(states, theirs, atol=1e-4)
    np.testing.assert_allclose(regions, theirs[:, 1:], atol=1e-4)
    assert valid.all()
