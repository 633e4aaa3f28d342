"""Opens a page on this machine: translate, ask a picture, and see the attention."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import tyro

from experiments.command import run
from zoo.errors import InputError

Model = TypeVar("Model")
TRANSLATOR, ANSWERER = "runs/translate", "runs/vqa"


@dataclass(frozen=True)
class Arguments:
    """Which models are shown. Nothing is sent to any other machine."""

    translator: str | None = None
    """Folder of a run or in Hugging Face's layout, or an id on its hub; by default
    runs/translate, if it is there."""
    answerer: str | None = None
    """The same of a model of questions about pictures; by default runs/vqa."""


def main(arguments: list[str]) -> None:
    """Serves the page until Ctrl-C."""
    chosen = tyro.cli(
        Arguments,
        prog="python -m experiments.demo",
        description=__doc__,
        args=arguments,
    )
    with tempfile.TemporaryDirectory() as folder:
        address = open_page(chosen, Path(folder))
        print(f"{address} (Ctrl-C ends it)", flush=True)
        while True:
            time.sleep(3_600)


def open_page(arguments: Arguments, folder: Path) -> str:
    """Loads the models and serves their page; returns its address.

    Args:
        folder: for the pictures that can be picked.

    Raises:
        InputError: the extra `demo` is not installed, or a model cannot be loaded.
    """
    try:
        from experiments.demo.page import launch, make_page
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise InputError(
            "the demo needs Gradio; pip install -e '.[experiments,demo]'"
        ) from None
    from experiments.demo import offers
    from zoo.translation.translator import Translator
    from zoo.visual.answerer import VisualAnswerer

    translates = arguments.translator or _default(TRANSLATOR)
    answers = arguments.answerer or _default(ANSWERER)
    if not translates and not answers:
        raise InputError(
            f"neither {TRANSLATOR} nor {ANSWERER} holds a run; train one with "
            "experiments.translate.train or experiments.vqa.train, or give "
            "--translator or --answerer"
        )
    page = make_page(
        _load(translates, Translator, "--answerer") if translates else None,
        _load(answers, VisualAnswerer, "--translator") if answers else None,
        offers.phrases(translates) if translates else [],
        offers.pictures(answers, folder) if answers else [],
    )
    return launch(page)


def _default(folder: str) -> str | None:
    from zoo.runs import has_run

    return folder if has_run(folder) else None


def _load(path: str, kind: type[Model], other: str) -> Model:
    import zoo

    model = zoo.load(path)
    if not isinstance(model, kind):
        raise InputError(
            f"{path}: a {type(model).__name__} and no {kind.__name__}; give it as "
            f"{other}"
        )
    return model


if __name__ == "__main__":
    run(main)
