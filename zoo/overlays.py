"""Where a model looked at a picture to answer a question, as Matplotlib figures.

Attention lies as a warm, translucent colour on the picture in pale grey, so that its
colours mean attention and nothing else, on any picture; the picture itself, with the
box of the object that the question names, stands beside it. Each map is scaled to its
own largest cell, whose weight is written below it, but a map that is nearly uniform
stays pale. Questions and answers are text, never markup.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from zoo.grounding import overlaps
from zoo.looks import Look, Seen, pale
from zoo.plots import text_style

# From nothing through orange to dark red: much attention is dark and dense.
HEAT = LinearSegmentedColormap.from_list(
    "heat", [(1.0, 0.75, 0.3, 0.0), (0.95, 0.4, 0.1, 0.6), (0.6, 0.0, 0.1, 0.9)]
)
BOX_COLOUR = "#0072b2"
RIGHT_COLOUR, WRONG_COLOUR = "#00785a", "#c04000"
# Less than as many times the uniform weight is never drawn as the densest colour.
_LEAST_PEAK = 4
_LINE_LETTERS, _MOST_LINES = 26, 6
_TEXT_INCHES, _LINE_INCHES = 2.3, 0.17


def draw_box(axes: Axes, seen: Seen) -> None:
    """Draws the outline of the named object, with a white rim, if there is one."""
    if seen.box is None or not seen.has_box:
        return
    height, width, _ = seen.picture.shape
    ymin, xmin, ymax, xmax = seen.box * [height, width, height, width]
    outline = Rectangle(
        (xmin, ymin), xmax - xmin, ymax - ymin, fill=False, edgecolor=BOX_COLOUR
    )
    outline.set(linewidth=1.4, path_effects=[withStroke(linewidth=3, foreground="w")])
    axes.add_patch(outline)


def draw_picture(axes: Axes, seen: Seen) -> None:
    """Draws a picture in its colours, with the box of the named object."""
    height, width, _ = seen.picture.shape
    axes.imshow(seen.picture, extent=(0, width, height, 0))
    draw_box(axes, seen)


def draw_look(axes: Axes, seen: Seen, look: Look) -> None:
    """Draws where the first who looks does, over a pale picture, and numbers below."""
    height, width, _ = seen.picture.shape
    extent = (0, width, height, 0)
    weights = np.asarray(look.weights[0], dtype=float)
    axes.imshow(pale(seen.picture), extent=extent, cmap="gray", vmin=0, vmax=255)
    axes.imshow(
        weights.reshape(seen.grid) / max(weights.max(), _LEAST_PEAK / len(weights)),
        extent=extent,
        cmap=HEAT,
        vmin=0,
        vmax=1,
        interpolation="catrom",
        interpolation_stage="data",
    )
    draw_box(axes, seen)
    numbers = f"max {weights.max():.0%}"
    if seen.box is not None and seen.has_box:
        mass = (weights * overlaps(seen.box[None], seen.grid)[0]).sum()
        numbers += f", in box {mass:.0%}"
    axes.set_xlabel(numbers, size=7, color="0.3", labelpad=2)


def wrapped(text: str) -> str:
    """Returns a text in short lines, without what cannot be printed.

    >>> print(wrapped("what is the shape of the object closest to the red object?"))
    what is the shape of the
    object closest to the red
    object?
    """
    printable = "".join(x for x in text if x.isprintable() or x.isspace())
    line = " ".join(printable.split())
    lines = textwrap.wrap(line, _LINE_LETTERS, max_lines=_MOST_LINES, placeholder=" …")
    return "\n".join(lines)


def draw_text(axes: Axes, seen: Seen) -> None:
    """Writes the question, the predicted answer in percent, and the true one."""
    question, predicted = wrapped(seen.question), wrapped(seen.predicted)
    answer = "" if seen.answer is None else wrapped(seen.answer)
    style = text_style([question, predicted, answer])
    colour, mark = "0.1", ""
    if seen.right is not None:
        colour, mark = (RIGHT_COLOUR, "✓ ") if seen.right else (WRONG_COLOUR, "✗ ")
    lines = [(question, "0.1"), (f"{mark}{predicted}  {seen.probability:.1%}", colour)]
    if answer and not seen.right:
        lines.append((f"true: {answer}", "0.1"))
    place: dict[str, Any] = {"xy": (0, 1), "xycoords": "axes fraction"}
    for text, shade in lines:
        above = axes.annotate(text, **place, va="top", color=shade, **style)
        place = {"xy": (0, 0), "xycoords": above}
        place |= {"xytext": (0, -5), "textcoords": "offset points"}
    axes.set_axis_off()


def row_inches(seen: Seen, inches: float) -> float:
    """Returns how high a row is for its picture and its text."""
    height, width, _ = seen.picture.shape
    texts = [seen.question, seen.predicted, seen.answer or ""]
    num_lines = sum(wrapped(text).count("\n") + 1 for text in texts)
    return max(inches * min(1, height / width), _LINE_INCHES * num_lines + 0.2)


def legend(figure: Figure, grid: np.ndarray) -> None:
    """Draws which colour stands for which weight, below all maps."""
    mappable = ScalarMappable(Normalize(0, 1), HEAT)
    bar = figure.colorbar(
        mappable, ax=grid, location="bottom", shrink=0.4, aspect=30, pad=0.02
    )
    bar.ax.set_xticks([0, 1], ["0", "max"], size=8)
    bar.ax.set_xlabel("attention weight of a cell", size=8, labelpad=-8)
    bar.outline.set_edgecolor("0.7")


def sheet(cases: Sequence[Seen], *, inches: float = 1.7) -> Figure:
    """Returns a row for each question: its text, the picture, and each map beside it.

    Args:
        inches: the height and width of a picture on the page.

    Raises:
        ValueError: there is none, or they have different maps.
        InputError: a text needs a font that is not installed.
    """
    maps = [[look.name for look in case.looks] for case in cases]
    if not cases or any(names != maps[0] for names in maps):
        raise ValueError("want one question or more, and the same maps for each")
    names = maps[0]
    heights = [row_inches(case, inches) for case in cases]
    widths = [_TEXT_INCHES] + [inches] * (1 + len(names))
    figure = Figure(
        figsize=(sum(widths) + 0.3, sum(heights) + 0.25 * len(cases) + 0.8),
        layout="constrained",
    )
    grid = figure.subplots(
        len(cases),
        len(widths),
        squeeze=False,
        gridspec_kw={"width_ratios": widths, "height_ratios": heights},
    )
    for row, case in zip(grid, cases, strict=True):
        draw_text(row[0], case)
        draw_picture(row[1], case)
        for axes, look in zip(row[2:], case.looks, strict=True):
            draw_look(axes, case, look)
        for axes in row[1:]:
            axes.set(xticks=[], yticks=[], anchor="N")
            axes.spines[:].set_color("0.7")
    for axes, name in zip(grid[0, 1:], ["picture", *names], strict=True):
        axes.set_title(name, size=9, color="0.3", **text_style([name]))
    if names:
        legend(figure, grid)
    return figure


def overlay(seen: Seen) -> Figure:
    """Returns one question as `sheet` draws it, in larger pictures."""
    return sheet([seen], inches=3.0)
