"""A run of the experiment of visual questions, and a picture to ask about."""

import pytest
from PIL import Image

from experiments.vqa import train
from tests.experiments.vqa.runs import TINY


@pytest.fixture(scope="session", autouse=True)
def small_batches():
    """Few images are answered at a time, as there are few; no answer depends on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.visual.answerer._IMAGES", 8)
        yield


@pytest.fixture(scope="session")
def unbroken(small_batches, tmp_path_factory):
    """Returns the folder of a run that nothing has interrupted."""
    workdir = tmp_path_factory.mktemp("unbroken") / "run"
    train.main([*TINY, f"--workdir={workdir}"])
    return workdir


@pytest.fixture
def picture(tmp_path):
    """Returns the path of a picture that no data set has."""
    path = tmp_path / "picture.png"
    Image.new("RGB", (40, 60), "orange").save(path)
    return path
