"""Draws a sheet of test questions: picture, answer, and where the model looked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from experiments.command import run
from zoo.errors import InputError, require_positive


@dataclass(frozen=True)
class Arguments:
    """Which model, which questions, and where the picture goes."""

    model: Path = Path("runs/vqa")
    """Folder of a run."""
    split: Literal["train", "validation", "test"] = "test"
    """Which questions of the run."""
    group: str | None = None
    """Questions of this group alone."""
    wrong: bool = False
    """Questions that were answered wrongly alone."""
    rows: int = 8
    """Questions to draw."""
    output: Path = Path("attention.png")
    """Picture to write: .png, .svg or .pdf; or .html, a page to look around in."""

    def __post_init__(self):
        require_positive(self, "rows")


def main(arguments: list[str]) -> None:
    """Draws as the command line says."""
    plot(
        tyro.cli(
            Arguments,
            prog="python -m experiments.vqa.plot",
            description=__doc__,
            args=arguments,
        )
    )


def plot(arguments: Arguments) -> None:
    """Writes the picture and prints its name."""
    import numpy as np

    from experiments.vqa.config import data_from_json
    from experiments.vqa.drawing import choose, draw_sheet
    from experiments.vqa.scoring import scores_of
    from experiments.vqa.viewing import view_sheet
    from zoo.data.vqa.examples import select
    from zoo.errors import unknown
    from zoo.plots import check_suffix
    from zoo.runs import read_section, read_seed
    from zoo.visual.answerer import VisualAnswerer

    as_page = arguments.output.suffix.lower() == ".html"
    if not as_page:
        check_suffix(arguments.output)
    data = data_from_json(read_section(arguments.model, "data"))
    questions = data.read(arguments.split, read_seed(arguments.model))
    if arguments.group is not None:
        if arguments.group not in questions.groups:
            raise unknown("group", arguments.group, {*questions.groups})
        questions = select(questions, np.array(questions.groups) == arguments.group)
    answerer = VisualAnswerer.from_run(arguments.model)
    if answerer.grid is None:
        raise InputError(
            f"{arguments.model}: the images of this run are features of regions, "
            "which have no picture; choose a run on pixels"
        )
    scores = scores_of(questions, answerer.predict(questions)[0])
    if arguments.wrong:
        if scores.min() >= 0.5:
            raise InputError(f"all {len(questions)} answers are right; drop --wrong")
        questions = select(questions, scores < 0.5)
        scores = scores[scores < 0.5]
    chosen = choose(questions, scores, arguments.rows)
    draw = view_sheet if as_page else draw_sheet
    draw(answerer, questions, chosen, arguments.output)
    print(arguments.output)


if __name__ == "__main__":
    run(main)
