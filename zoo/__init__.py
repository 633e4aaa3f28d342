"""attention-zoo: attention models in JAX, from the RNN bottleneck to the Transformer.

Importing `zoo` is cheap; jax is loaded when a model is made.

>>> import zoo
>>> "transformer-tiny" in zoo.list_models()
True
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zoo.catalogue import create_model, describe, initialize, list_models
from zoo.errors import InputError
from zoo.models.visual_configs import VISUAL_FAMILIES
from zoo.translation.options import Constraints, Sampling

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.data.text_tokens import TextTokens
    from zoo.translation.options import Defaults
    from zoo.translation.translator import Translator
    from zoo.visual.answerer import VisualAnswerer

__version__ = "0.1.0"

__all__ = [
    "Constraints",
    "InputError",
    "Sampling",
    "create_model",
    "describe",
    "from_pretrained",
    "initialize",
    "list_models",
    "load",
    "load_params",
    "pack",
    "save_params",
    "save_pretrained",
]


def load(
    path: "str | Path | Sequence[str | Path]",
    *,
    average: int | None = None,
    revision: str | None = None,
    source_language: str | None = None,
    target_language: str | None = None,
) -> "Translator | VisualAnswerer":
    """Returns the translator, or the answerer, that training left in a folder.

    Several runs of translators make an ensemble, which decodes by the mean of the
    probabilities.

    Args:
        path: of a run's folder, packed or not, or of a directory in Hugging Face's
            layout; text such as "Helsinki-NLP/opus-mt-de-en" that is no folder is an
            id on the hub.
        average: takes the mean of the parameters of the last so many checkpoints; 1
            takes the best one, None does as the run's own test does.
        revision: branch, tag or commit on the hub; None takes the main branch.
        source_language: what a model of many languages of others reads, by its own
            name, as "deu_Latn" of NLLB or "de" of M2M100; None leaves it as its
            directory says.
        target_language: what it writes, likewise.

    Raises:
        InputError: there is no finished checkpoint in a folder, there are too few, the
            members of an ensemble have different tokenizers or are no translators, or
            an option is given that belongs to the other kind of path.
    """
    single = isinstance(path, str) or not isinstance(path, Sequence)
    paths = [path] if single else list(path)
    if any(map(_is_pretrained, paths)):
        if len(paths) > 1:
            raise InputError(f"{paths[0]}, …: ensembles are of runs; load one model")
        if average is not None:
            raise InputError(
                f"{paths[0]}: weights of others, with no checkpoints to average; leave "
                "average out"
            )
        return _from_pretrained(paths[0], revision, source_language, target_language)
    if revision is not None:
        raise InputError(
            f"{paths[0]}: a run, and no id on the hub, so that it has no revision "
            f"{revision!r}; leave revision out"
        )
    if language := source_language or target_language:
        raise InputError(
            f"{paths[0]}: a run, whose languages are those it has learned; leave "
            f"{language} out"
        )
    answerers = [one for one in paths if _sees(one)]
    if not answerers:
        from zoo.translation.translator import Translator

        return Translator.from_runs(paths, average=average)
    if len(paths) > 1:
        raise InputError(f"{answerers[0]}: no translator; ensembles are of translators")
    from zoo.visual.answerer import VisualAnswerer

    return VisualAnswerer.from_run(paths[0], average=average)


def from_pretrained(
    path: "str | Path", *, revision: str | None = None
) -> tuple[Any, Any, Any]:
    """Returns (model, params, tokenizer) of weights that others have trained.

    For a model that sees, what prepares images and questions stands in the place of the
    tokenizer.

    Args:
        path: of a directory in Hugging Face's layout, or its id on the hub, as in
            "Helsinki-NLP/opus-mt-de-en".
        revision: branch, tag or commit on the hub; None takes the main branch.

    Raises:
        InputError: there is none, it is damaged, or its model is of a kind that the zoo
            has not.
    """
    from zoo.pretrained import loading

    return loading.from_pretrained(path, revision=revision)


def save_pretrained(
    model: Any,
    params: Any,
    tokenizer: "TextTokens",
    directory: "str | Path",
    *,
    max_length: int = 512,
    defaults: "Defaults | None" = None,
) -> None:
    """Writes a Transformer as a Marian directory of Hugging Face, all of it or nothing.

    Args:
        model: of the family "marian", as the preset marian-tiny makes it, or imported.
        tokenizer: of subwords, ours or the imported one.
        directory: which must not exist.
        max_length: longest sentence in subwords that others are to take.
        defaults: how others are to search; None as ours do.

    Raises:
        InputError: the directory exists, or Marian cannot express the model or the
            tokenizer.
    """
    from zoo.pretrained import export

    export.save_pretrained(
        model, params, tokenizer, directory, max_length=max_length, defaults=defaults
    )


def pack(
    run: "str | Path", directory: "str | Path", *, average: int | None = None
) -> None:
    """Writes a trained run as a small folder that `load` reads like the run itself.

    It holds the config, the tokens and the parameters in 16 bits, and no checkpoints,
    logs or pictures.

    Args:
        average: as `load` has it.

    Raises:
        InputError: as `load`, the directory exists, or a parameter is too large for 16
            bits.
    """
    from pathlib import Path

    from zoo import packing

    if _is_pretrained(run):
        raise InputError(f"{run}: weights of others, and no run; copy them instead")
    loaded = load(run, average=average)
    packing.pack(Path(run), Path(directory), loaded.params)


def save_params(params: Any, path: "str | Path") -> None:
    """Writes the parameters of any model to a safetensors file, at once or not at all.

    Raises:
        InputError: the file exists already, or cannot be written.
    """
    from zoo.pretrained import parameters

    parameters.save_params(params, path)


def load_params(path: "str | Path") -> Any:
    """Returns the parameters that `save_params` wrote, bit for bit.

    Raises:
        InputError: there is no such file, or it is damaged.
    """
    from zoo.pretrained import parameters

    return parameters.load_params(path)


def _is_pretrained(path: "str | Path") -> bool:
    """Returns whether there is a directory in Hugging Face's layout, or a hub id."""
    from pathlib import Path

    from zoo.runs import has_run, read_config

    if has_run(path):
        return "model_type" in read_config(path)
    return isinstance(path, str) and path.count("/") == 1 and not Path(path).exists()


def _from_pretrained(
    path: "str | Path",
    revision: str | None,
    source_language: str | None,
    target_language: str | None,
) -> "Translator | VisualAnswerer":
    from zoo.pretrained.loading import TRANSLATORS, find

    directory = find(path, revision=revision)
    if directory.config.get("model_type") in TRANSLATORS:
        from zoo.translation.translator import Translator

        return Translator.from_pretrained(
            directory.root,
            source_language=source_language,
            target_language=target_language,
        )
    if source_language or target_language:
        raise InputError(
            f"{path}: no translator, so that it has no languages to choose; leave them "
            "out"
        )
    from zoo.visual.answerer import VisualAnswerer

    return VisualAnswerer.from_pretrained(directory.root)


def _sees(path: "str | Path") -> bool:
    """Returns whether there is a run on questions about images."""
    from zoo.runs import has_run, read_section

    if not has_run(path):
        return False
    return str(read_section(path, "model").get("family")) in VISUAL_FAMILIES
