"""attention-zoo: attention models in JAX and Flax, from the RNN bottleneck to today.

Importing `zoo` is cheap; jax is loaded when a model is made.

>>> import zoo
>>> "transformer-tiny" in zoo.list_models()
True
"""

from typing import TYPE_CHECKING

from zoo.catalogue import create_model, describe, list_models
from zoo.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.translator import Translator

__version__ = "0.1.0"

__all__ = ["InputError", "create_model", "describe", "list_models", "load"]


def load(path: "str | Path") -> "Translator":
    """Returns the translator that a run left in its folder.

    Raises:
        InputError: there is no finished checkpoint in the folder.
    """
    from zoo.translator import Translator

    return Translator.from_run(path)
