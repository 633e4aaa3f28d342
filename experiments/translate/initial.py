"""What training begins with, if not with random numbers: a model and its tokens."""

from dataclasses import dataclass
from typing import Any

import zoo
from zoo.catalogue import config_from_json
from zoo.data.text_tokens import TextTokens
from zoo.models.configs import ModelConfig
from zoo.pretrained.loading import family_of, find
from zoo.runs import has_run, read_config, read_section


@dataclass(frozen=True)
class Initial:
    """A trained model: its configuration, parameters and tokenizer."""

    config: ModelConfig
    params: Any
    tokenizer: TextTokens


def read_initial(path: str) -> Initial:
    """Returns the model of a run, of a directory of Hugging Face or of a hub id.

    Raises:
        InputError: there is none, or it does not translate.
    """
    translator = zoo.load(path)
    if has_run(path) and "model" in read_config(path):
        config = config_from_json(read_section(path, "model"))
    else:
        directory = find(path)
        config = family_of(directory).config_of(directory)
    return Initial(config, translator.params, translator.tokenizer)
