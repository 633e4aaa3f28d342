"""Draws where a translator looks while it translates a sentence."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.command import run
from zoo.errors import InputError


@dataclass(frozen=True)
class Arguments:
    """Which pair, which model, and where the picture goes."""

    source: Annotated[str, tyro.conf.Positional]
    """The sentence that is read."""
    target: Annotated[str | None, tyro.conf.Positional] = None
    """The sentence that is written; without one, the model's own translation."""
    model: Path = Path("runs/translate")
    """Folder of a run."""
    output: Path = Path("attention.png")
    """Picture to write: .png, .svg or .pdf; or .html, a page to look around in."""
    layer: int | None = None
    """Show the heads of this decoder layer, from 1; by default a map a layer."""


def main(arguments: list[str]) -> None:
    """Draws as the command line says."""
    plot(
        tyro.cli(
            Arguments,
            prog="python -m experiments.translate.plot",
            description=__doc__,
            args=arguments,
        )
    )


def plot(arguments: Arguments) -> None:
    """Writes the picture and prints the translation and the picture's name."""
    from experiments.translate.drawing import draw
    from experiments.translate.loading import load_translator
    from experiments.translate.viewing import view
    from zoo.plots import check_suffix

    as_page = arguments.output.suffix.lower() == ".html"
    if not as_page:
        check_suffix(arguments.output)
    elif arguments.layer is not None:
        raise InputError("--layer is of pictures; a page shows every layer")
    translator = load_translator(arguments.model)
    target = arguments.target
    if as_page:
        best = view(translator, arguments.source, target, arguments.output)
        print(*[best] * (target is None), arguments.output, sep="\n")
        return
    if target is None:
        best = translator.translate([arguments.source])[0][0]
        print(best.text)
        target = best.text and best.tokens
    if not target:
        raise InputError("nothing was written, so that there is nothing to draw")
    if not draw(
        translator, arguments.source, target, arguments.output, layer=arguments.layer
    ):
        raise InputError(
            f"{arguments.model}: {type(translator.model).__name__} has no attention "
            "to draw; choose a model with attention"
        )
    print(arguments.output)


if __name__ == "__main__":
    run(main)
