"""What the tests against Hugging Face share; without torch they are skipped."""

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def randomised(model, seed=0):
    """Returns the model with noise in every parameter, so that none is zero or one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.3 * noise)
    return model.eval()


def save(model, folder, *processors):
    """Writes a model and what belongs to it as Hugging Face does."""
    for part in (model, *processors):
        part.save_pretrained(folder)


def picture(height, width, seed=0):
    """Returns an RGB picture of smooth noise."""
    rng = np.random.default_rng([seed, height, width])
    small = rng.integers(0, 256, (5, 7, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
