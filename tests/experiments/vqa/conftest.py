"""A run of the experiment of visual questions, and a picture to ask about."""

import pytest
from PIL import Image

from experiments.vqa import train
from tests.experiments.vqa.runs import TINY


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("unbroken") / "run"
    train.main([*TINY, f"--workdir={workdir}"])
    return workdir


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (40, 60), "orange").save(path)
    return path
