"""The translator that a command is told to use."""

from collections.abc import Sequence
from pathlib import Path

import zoo
from zoo.errors import InputError
from zoo.translation.translator import Translator


def load_translator(
    model: Path | str | Sequence[Path | str],
    *,
    average: int | None = None,
    source_language: str | None = None,
    target_language: str | None = None,
) -> Translator:
    """Returns what `zoo.load` does, if it translates.

    Raises:
        InputError: as `zoo.load`, or it answers questions about images.
    """
    loaded = zoo.load(
        model,
        average=average,
        source_language=source_language,
        target_language=target_language,
    )
    if not isinstance(loaded, Translator):
        first = model if isinstance(model, Path | str) else model[0]
        raise InputError(
            f"{first}: it answers questions about images, and is no translator; ask "
            "it with experiments.vqa.answer"
        )
    return loaded
