"""Answers a question about a picture of yours."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.command import run
from zoo.errors import InputError


@dataclass(frozen=True)
class Arguments:
    """Which picture, which question, which model."""

    image: Annotated[Path, tyro.conf.Positional]
    """PNG, JPEG or WebP of any size."""
    question: Annotated[str, tyro.conf.Positional]
    """In the words of the questions that the model was trained on."""
    model: str = "runs/vqa"
    """Folder of a run or in Hugging Face's layout, or an id on its hub, of a ViLT."""
    top: int = 3
    """Answers to print, the likeliest first."""
    overlay: Path | None = None
    """Picture of where the model looked: .png, .svg or .pdf; or .html, a page to look
    around in."""


def main(arguments: list[str]) -> None:
    """Answers as the command line says."""
    answer(
        tyro.cli(
            Arguments,
            prog="python -m experiments.vqa.answer",
            description=__doc__,
            args=arguments,
        )
    )


def answer(arguments: Arguments) -> None:
    """Prints a line for each answer: its probability in percent, a tab, and it."""
    import zoo
    from experiments.vqa.drawing import draw_answer
    from experiments.vqa.viewing import view_answer
    from zoo.plots import check_suffix
    from zoo.visual.answerer import VisualAnswerer

    as_page = bool(arguments.overlay) and arguments.overlay.suffix.lower() == ".html"
    if arguments.overlay is not None and not as_page:
        check_suffix(arguments.overlay)
    answerer = zoo.load(arguments.model)
    if not isinstance(answerer, VisualAnswerer):
        raise InputError(
            f"{arguments.model}: a translator, which answers no questions about images"
        )
    for found in answerer.answer(
        arguments.image, arguments.question, top=arguments.top
    ):
        print(f"{100 * found.probability:.1f} %\t{found.text}", flush=True)
    if arguments.overlay is not None:
        draw = view_answer if as_page else draw_answer
        draw(answerer, arguments.image, arguments.question, arguments.overlay)
        print(arguments.overlay)


if __name__ == "__main__":
    run(main)
