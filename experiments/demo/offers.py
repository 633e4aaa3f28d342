"""What a visitor can pick from: phrases and pictures of what the models never saw."""

from pathlib import Path

import numpy as np
from PIL import Image

from experiments.translate.config import data_from_json as text_from_json
from experiments.vqa.config import data_from_json as pictures_from_json
from experiments.vqa.drawing import choose
from zoo.errors import InputError
from zoo.runs import has_run, read_config

COUNT = 5


def phrases(model: Path | str) -> list[str]:
    """Returns sentences of a run's test set; none where there is none to read."""
    if (config := _config(model)) is None:
        return []
    try:
        text = text_from_json(config["data"]).read("test", config["seed"])
    except InputError:
        return []
    return list(text.source[:COUNT])


def pictures(model: Path | str, folder: Path) -> list[tuple[Path, str]]:
    """Returns pictures of a run's test set and their questions, written to a folder."""
    if (config := _config(model)) is None:
        return []
    try:
        questions = pictures_from_json(config["data"]).read("test", config["seed"])
    except InputError:
        return []
    if len(questions.images.shape) != 4:  # features of regions, which nobody sees
        return []
    offers = []
    for place in choose(questions, np.ones(len(questions)), COUNT):
        path = folder / f"{place}.png"
        Image.fromarray(questions.images[int(questions.image_of[place])]).save(path)
        offers.append((path, questions.questions[place]))
    return offers


def _config(model: Path | str) -> dict | None:
    """Returns the config of a run; None for weights of others, which have no data."""
    if not has_run(model):
        return None
    config = read_config(model)
    return config if "data" in config and "seed" in config else None
