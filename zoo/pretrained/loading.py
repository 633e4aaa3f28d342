"""From a directory or a hub id to a model, its parameters and its tokenizer.

A family is a file, found by the model_type of config.json. That of a translator has
`load_tokenizer`, `load_weights` and the `longest` sentence, any other has `load`.
"""

import importlib
from pathlib import Path
from typing import Any

from zoo.data.language_tokens import LanguageTokens
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
    family = family_of(directory)
    if directory.config["model_type"] not in TRANSLATORS:
        return family.load(directory)
    tokenizer = family.load_tokenizer(directory)
    return *family.load_weights(directory), tokenizer


def find(path: str | Path, *, revision: str | None = None) -> Directory:
    """Returns the directory of a path, or of a hub id after a download.

    Raises:
        InputError: there is none.
    """
    if Path(path).exists():
        return open_directory(path)
    return open_directory(download(str(path), revision))


def load_translator(
    directory: Directory, source: str | None = None, target: str | None = None
) -> tuple[Any, Any, Any]:
    """Returns (model, params, tokenizer) of a translator between two languages.

    The languages are looked up before the weights are read.

    Args:
        source: language that is read; None leaves it as the directory says.
        target: language that is written, likewise.

    Raises:
        InputError: the directory is damaged, it does not translate, it has no such
            language, or one is to be chosen.
    """
    family, kind = family_of(directory), directory.config["model_type"]
    if kind not in TRANSLATORS:
        raise InputError(f"{directory.root}: a {kind}, which does not translate")
    tokenizer = family.load_tokenizer(directory)
    if isinstance(tokenizer, LanguageTokens):
        tokenizer = tokenizer.between(source, target)
    elif name := source or target:
        raise InputError(
            f"{directory.root}: has no languages to choose from; leave {name} out, or "
            "where its vocabulary has >>codes<< of languages begin the sentences with "
            "one"
        )
    return *family.load_weights(directory), tokenizer


def family_of(directory: Directory) -> Any:
    """Returns the module that loads a directory.

    Raises:
        InputError: the zoo has no such kind of model.
    """
    kind = directory.config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise unknown(f"model_type in {directory.root}", str(kind), FAMILIES)
    return importlib.import_module(FAMILIES[kind])
