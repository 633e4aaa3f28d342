"""From a directory or a hub id to a model, its parameters and its tokenizer.

A family is a file with `load(directory)`, found by the model_type of config.json.
"""

import importlib
from pathlib import Path
from typing import Any

from zoo.data.json_tokens import JsonTokenizer
from zoo.errors import InputError, unknown
from zoo.pretrained.directory import Directory, open_directory
from zoo.pretrained.hub import download

# The file of each family, imported when it is needed.
FAMILIES: dict[str, str] = {
    "vit": "zoo.pretrained.vit",
    "clip": "zoo.pretrained.vit",
    "clip_vision_model": "zoo.pretrained.vit",
    "efficientnet_lite": "zoo.pretrained.efficientnet",
    "vilt": "zoo.pretrained.vilt",
    "marian": "zoo.pretrained.marian",
    "bart": "zoo.pretrained.bart",
    "mbart": "zoo.pretrained.bart",
    "m2m_100": "zoo.pretrained.bart",
    "t5": "zoo.pretrained.t5",
}

# Those whose file tells the `longest` sentence too.
TRANSLATORS = ("marian", "bart", "mbart", "m2m_100", "t5")


def from_pretrained(
    path: str | Path, *, revision: str | None = None
) -> tuple[Any, Any, Any]:
    """Returns (model, params, tokenizer) of weights that others have trained.

    For a model that sees, what prepares its images and questions stands in the place of
    the tokenizer.

    Args:
        path: of a local directory in Hugging Face's layout, or the id of one on the
            hub, as in "Helsinki-NLP/opus-mt-de-en".
        revision: branch, tag or commit on the hub; None takes the main branch.

    Raises:
        InputError: there is no such directory, it is damaged, or its model is of a kind
            that the zoo has not.
    """
    directory = find(path, revision=revision)
    return family_of(directory).load(directory)


def find(path: str | Path, *, revision: str | None = None) -> Directory:
    """Returns the directory of a path, or of a hub id after a download.

    Raises:
        InputError: there is none.
    """
    if Path(path).exists():
        return open_directory(path)
    return open_directory(download(str(path), revision))


def between(
    tokenizer: Any, source: str | None, target: str | None, *, where: str | Path
) -> Any:
    """Returns the tokenizer for two languages; None leaves one as the directory says.

    Raises:
        InputError: the model has no such language, or must be told which to write.
    """
    if isinstance(tokenizer, JsonTokenizer):
        return tokenizer.between(source, target)
    if name := source or target:
        raise InputError(
            f"{where}: has no languages to choose from; leave {name} out, or where its "
            "vocabulary has >>codes<< of languages begin the sentences with one"
        )
    return tokenizer


def family_of(directory: Directory) -> Any:
    """Returns the module that loads a directory.

    Raises:
        InputError: the zoo has no such kind of model.
    """
    kind = directory.config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise unknown(f"model_type in {directory.root}", str(kind), FAMILIES)
    return importlib.import_module(FAMILIES[kind])
