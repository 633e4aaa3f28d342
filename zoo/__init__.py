"""attention-zoo: attention models in JAX and Flax, from the RNN bottleneck to today.

Importing `zoo` is cheap; jax is loaded when a model is made.

>>> import zoo
>>> "transformer-tiny" in zoo.list_models()
True
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zoo.catalogue import create_model, describe, list_models
from zoo.errors import InputError
from zoo.models.visual_configs import VISUAL_FAMILIES
from zoo.translation.options import Constraints, Sampling

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.translation.translator import Translator
    from zoo.visual.answerer import VisualAnswerer

__version__ = "0.1.0"

__all__ = [
    "Constraints",
    "InputError",
    "Sampling",
    "create_model",
    "describe",
    "list_models",
    "load",
]


def load(
    path: "str | Path | Sequence[str | Path]", *, average: int | None = None
) -> "Translator | VisualAnswerer":
    """Returns the translator, or the answerer, that a run left in its folder.

    Several folders of translators make an ensemble, which decodes by the mean of the
    probabilities.

    Args:
        average: takes the mean of the parameters of the last so many checkpoints; 1
            takes the best one, None does as the run's own test does.

    Raises:
        InputError: there is no finished checkpoint in a folder, there are too few, or
            the members of an ensemble have different tokenizers or are no translators.
    """
    single = isinstance(path, str) or not isinstance(path, Sequence)
    paths = [path] if single else list(path)
    answerers = [one for one in paths if _sees(one)]
    if not answerers:
        from zoo.translation.translator import Translator

        return Translator.from_runs(paths, average=average)
    if len(paths) > 1:
        raise InputError(f"{answerers[0]}: no translator; ensembles are of translators")
    from zoo.visual.answerer import VisualAnswerer

    return VisualAnswerer.from_run(paths[0], average=average)


def _sees(path: "str | Path") -> bool:
    """Returns whether there is a run on questions about images."""
    from zoo.runs import has_run, read_config

    return has_run(path) and read_config(path)["model"]["family"] in VISUAL_FAMILIES
