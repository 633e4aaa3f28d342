"""What a model begins with beside random numbers: an image tower of others."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax

from experiments.vqa.config import Config
from zoo.errors import InputError
from zoo.models.visual_contract import initialize
from zoo.pretrained import efficientnet, vit
from zoo.pretrained.loading import family_of, find
from zoo.training.optimizers import is_learned


def with_tower(config: Config) -> Config:
    """Returns the config with the sizes of the tower that it begins with.

    Raises:
        InputError: there is no such tower, the model has no place for one, or parts are
            frozen that nobody has trained.
    """
    if config.init_from is None:
        if config.optimizer.frozen:
            raise InputError(
                f"{', '.join(config.optimizer.frozen)} is frozen, but would be random "
                "numbers; give --init-from, or drop --optimizer.frozen"
            )
        return config
    if getattr(config.model, "tower", None) is None:
        raise InputError(
            f"{config.init_from}: this model has no tower to begin with; choose a "
            "preset that has one, such as daquar-vit"
        )
    directory = find(config.init_from)
    family = family_of(directory)
    if family not in (vit, efficientnet):
        raise InputError(
            f"{config.init_from}: neither a ViT, a CLIP nor an EfficientNet, so no "
            "tower of a model"
        )
    tower = family.config_of(directory)
    return replace(config, model=replace(config.model, tower=tower))


def initial_params(config: Config, model: Any) -> Any:
    """Returns the parameters to begin with, None if all are drawn.

    Raises:
        InputError: the tower's directory is damaged, or a part to freeze is unknown.
    """
    shapes = jax.eval_shape(partial(initialize, model), jax.random.key(0))
    is_learned(shapes, config.optimizer.frozen)
    if config.init_from is None:
        return None
    directory = find(config.init_from)
    _, tower, _ = family_of(directory).load(directory)

    def draw_rest(key):
        params = initialize(model, key)
        del params["image_encoder"]["tower"]
        return params

    key, _ = jax.random.split(jax.random.key(config.seed))  # as the run would draw
    params = jax.jit(draw_rest)(key)
    params["image_encoder"]["tower"] = tower
    return params
