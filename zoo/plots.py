"""Pictures of attention and of training, as Matplotlib figures.

An attention map is read like a page: a row for each target token in the order in which
it was generated, a column for each source token, and the darker a cell, the more the
one looked at the other. Tokens are data, never markup, in whatever script they come.
Every function returns a `Figure` that no global state knows; `save` writes it.
"""

import functools
import importlib.util
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from zoo.errors import InputError
from zoo.files import write_whole

# From white to navy on what is a straight line of OKLab (Ottosson 2020): one hue, and
# equal steps of weight are equal steps to the eye, whatever colours it tells apart.
WEIGHT_COLOURS = LinearSegmentedColormap.from_list(
    "weight", ["#ffffff", "#7d94bf", "#0a2c7a"]
)
# Of Okabe and Ito (2008), "Color Universal Design", those dark enough for a line.
LINE_COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"]
# As many shapes, for those who do not tell the colours apart.
MARKERS = "os^Dvp"
Point = tuple[float, float, float]  # a value, the low and the high end of its bar

# A font that has Hangul, kana and Hanja, which none of Matplotlib's own has.
FONT_PACKAGE = "notojp-matplotlib"
FONT_FILE = "notojp_matplotlib/fonts/NotoSansCJKjp-Regular.otf"

# A cell is between these sizes; maps that do not fit a page beside each other wrap.
CELL_INCHES = (0.2, 0.3)
PAGE_INCHES = 15.0
BAR_INCHES = 6.0  # longest bar of colours
SUFFIXES = (".pdf", ".png", ".svg")


@functools.cache
def cjk_font() -> str | None:
    """Returns the family of the packaged font, None where the package is missing.

    The package is found but not imported: to import it changes the font of every
    figure in the process.
    """
    package, _, rest = FONT_FILE.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / rest
    fontManager.addfont(path)
    return FontProperties(fname=path).get_name()


def text_style(texts: Sequence[str]) -> dict[str, Any]:
    """Returns the properties with which Matplotlib draws texts as they are.

    Raises:
        InputError: if a text needs the packaged font and it is not installed.
    """
    family = ["DejaVu Sans"]
    known = get_font(fontManager.findfont(family[0])).get_charmap()
    letters = {letter for text in texts for letter in text if letter.isprintable()}
    missing = sorted(letter for letter in letters if ord(letter) not in known)
    if missing:
        font = cjk_font()
        if font is None:
            raise InputError(
                f"no font here can draw {missing[0]!r}: pip install {FONT_PACKAGE}"
            )
        family.append(font)
    return {"family": family, "parse_math": False, "usetex": False}


def check_map(
    weights: Float[Any, "T S"],
    source_pieces: Sequence[str],
    target_pieces: Sequence[str],
) -> Float[np.ndarray, "T S"]:
    """Returns the weights as NumPy's; raises ValueError unless they fit the pieces."""
    expected = (len(target_pieces), len(source_pieces))
    if np.shape(weights) != expected or 0 in expected:
        raise ValueError(
            f"weights of shape {np.shape(weights)} for {expected[0]} target and "
            f"{expected[1]} source pieces: want [target, source], neither empty"
        )
    return np.asarray(weights, dtype=np.float32)


def page(num_maps: int, num_rows: int, num_columns: int) -> tuple[int, int, float]:
    """Returns rows and columns of maps on a page, and the width of a cell in inches."""
    smallest, largest = CELL_INCHES
    fitting = max(1, int(PAGE_INCHES / (num_columns * smallest)))
    rows = math.ceil(num_maps / fitting)
    columns = math.ceil(num_maps / rows)
    cell = PAGE_INCHES / max(columns * num_columns, num_rows)
    return rows, columns, min(max(cell, smallest), largest)


def draw_map(axes: Axes, weights: Float[np.ndarray, "T S"]) -> QuadMesh:
    """Draws one map, with a hidden label at each row and column; returns its cells."""
    num_rows, num_columns = weights.shape
    axes.set(xlim=(0, num_columns), ylim=(num_rows, 0), aspect="equal")
    axes.set(xticks=np.arange(num_columns) + 0.5, yticks=np.arange(num_rows) + 0.5)
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    axes.spines[:].set_color("0.6")
    return axes.pcolormesh(
        weights, cmap=WEIGHT_COLOURS, vmin=0, vmax=1, edgecolor="0.9", linewidth=0.4
    )


def attention_grid(
    maps: Mapping[str, Float[Any, "T S"]],
    source_pieces: Sequence[str],
    target_pieces: Sequence[str],
    *,
    title: str = "",
) -> Figure:
    """Returns several maps of one pair beside each other: heads, layers or models.

    Args:
        maps: Each map under its caption. The pieces label the first row of maps and
            the first column.

    Raises:
        ValueError: if there is no map, or one is not [target, source].
        InputError: if a piece needs a font that is not installed.
    """
    if not maps:
        raise ValueError("no maps to draw: want at least one")
    checked = [check_map(x, source_pieces, target_pieces) for x in maps.values()]
    # SentencePiece's mark of a space, with a thinner line than Matplotlib's fonts have.
    source_pieces = [piece.replace("▁", "ˍ") for piece in source_pieces]
    target_pieces = [piece.replace("▁", "ˍ") for piece in target_pieces]
    style = text_style([title, *maps, *source_pieces, *target_pieces])
    rows, columns, cell = page(len(maps), *checked[0].shape)
    size = 36 * cell  # of a letter, in points: half a cell
    letter = size / 72
    caption_inches = 0.8 * letter * max(map(len, maps))
    width = columns * (max(len(source_pieces) * cell, caption_inches) + 0.2)
    height = rows * (len(target_pieces) * cell + 0.4)

    figure = Figure(
        figsize=(
            width + letter * max(map(len, target_pieces)) + 1,
            height + letter * max(map(len, source_pieces)) + 0.6,
        ),
        layout=ConstrainedLayoutEngine(h_pad=0.1),
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, caption, weights in zip(grid.flat, maps, checked, strict=False):
        mesh = draw_map(axes, weights)
        axes.set_title(caption, size=size + 2, **style)
    for axes in grid[0]:
        axes.tick_params(labeltop=True)
        axes.set_xticklabels(source_pieces, rotation=90, size=size, **style)
    for axes in grid[:, 0]:
        axes.tick_params(labelleft=True)
        axes.set_yticklabels(target_pieces, size=size, **style)
    for axes in grid.flat[len(maps) :]:
        axes.set_axis_off()
    shrink = min(0.8, BAR_INCHES / figure.get_figheight())
    bar = figure.colorbar(mesh, ax=grid, shrink=shrink, aspect=30, pad=0.02)
    bar.set_label("attention weight")
    bar.outline.set_edgecolor("0.6")
    figure.suptitle(title, size=size + 4, **style)
    return figure


def attention_heatmap(
    weights: Float[Any, "T S"],
    source_pieces: Sequence[str],
    target_pieces: Sequence[str],
    *,
    title: str = "",
) -> Figure:
    """Returns a map of how much each target piece looks at each source piece.

    As Bahdanau et al. (2015) draw it in figure 3, but dark for much, which prints well.

    >>> import numpy as np
    >>> attention_heatmap(np.eye(2), ["two", "cats"], ["고양이", "둘"], title="en-ko")
    <Figure size ...>

    Raises:
        ValueError: if the weights are not [target, source].
        InputError: if a piece needs a font that is not installed.
    """
    return attention_grid({"": weights}, source_pieces, target_pieces, title=title)


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]], *, x_label: str, y_label: str
) -> Figure:
    """Returns a line for each series of points (x, y), named in a legend.

    Raises:
        InputError: if a name needs a font that is not installed.
    """
    style = text_style([*series, x_label, y_label])
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=LINE_COLOURS)
    lines = [axes.plot(*np.reshape(points, (-1, 2)).T)[0] for points in series.values()]
    axes.set_xlabel(x_label, **style)
    axes.set_ylabel(y_label, **style)
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    # Matplotlib would leave out names with a leading underscore, so they come later.
    legend = axes.legend(lines, [str(i) for i in range(len(lines))], frameon=False)
    for text, name in zip(legend.get_texts(), series, strict=True):
        text.set(text=name, **style)
    return figure


def draw_intervals(axes: Axes, series: Sequence[Sequence[Point]]) -> list[Line2D]:
    """Draws a line with a bar at each whole x for each series; returns the lines.

    The series stand a little beside each other, so that no bar hides another.
    """
    lines = []
    apart = min(0.1, 0.5 / len(series))
    for number, points in enumerate(series):
        values, low, high = np.asarray(points, dtype=float).T
        x = np.arange(len(values)) + apart * (number - (len(series) - 1) / 2)
        colour = LINE_COLOURS[number % len(LINE_COLOURS)]
        marker = MARKERS[number % len(MARKERS)]
        axes.vlines(x, low, high, color=colour, linewidth=1.2)
        lines += axes.plot(x, values, color=colour, marker=marker, markersize=4)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    return lines


def interval_panels(
    panels: Mapping[str, Mapping[str, Sequence[Point]]],
    places: Sequence[str],
    *,
    x_label: str,
) -> Figure:
    """Returns a panel for each measure: a line for each series, a bar at each point.

    Args:
        panels: Each measure's series under its name, and in each series the value, the
            low and the high end of the bar at every place. All measures have the same
            series; more than one are named in a legend.
        places: What stands below the points.

    Raises:
        ValueError: if there is nothing to draw, or not one point for each place.
        InputError: if a name needs a font that is not installed.
    """
    names = list(next(iter(panels.values()), {}))
    shapes = {np.shape(points) for x in panels.values() for points in x.values()}
    if shapes != {(len(places), 3)} or any(list(x) != names for x in panels.values()):
        raise ValueError(
            f"points of shapes {sorted(shapes)} for {len(places)} places: want "
            "(value, low, high) at each, and the same series in every panel"
        )
    style = text_style([*panels, *names, *places, x_label])
    width = max(4.5, 0.65 * len(places) + 1.5)
    figure = Figure(figsize=(width * len(panels), 4.5), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (measure, series) in zip(grid, panels.items(), strict=True):
        lines = draw_intervals(axes, list(series.values()))
        axes.set_xticks(range(len(places)), places, **style)
        axes.set_xlabel(x_label, **style)
        axes.set_ylabel(measure, **style)
    if len(names) > 1:
        legend = figure.legend(
            lines,
            [str(i) for i in range(len(names))],
            loc="outside upper center",
            ncols=min(len(names), 5),
            frameon=False,
        )
        for text, name in zip(legend.get_texts(), names, strict=True):
            text.set(text=name, **style)
    return figure


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Raises InputError unless a path ends as a picture does that `save` can write."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: a picture ends in {', '.join(SUFFIXES)}")


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure as PNG, SVG or PDF, whole or not at all.

    Raises:
        InputError: for another suffix, or a path that cannot be written.
    """
    path = Path(path)
    check_suffix(path)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:], dpi=150, bbox_inches="tight")
    write_whole(path, picture.getvalue())
