"""Scores by the length of the source: where a translator begins to lose the thread.

After figure 2 of Bahdanau et al. (2015), "Neural Machine Translation by Jointly
Learning to Align and Translate", with the interval that so few sentences leave open.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from experiments.translate.scoring import NAMES, comparable, count
from zoo.data.text import ParallelText
from zoo.errors import InputError
from zoo.metrics import bootstrap, interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Bin = tuple[int, int]  # the shortest and the longest sentence in it, in words
WIDTH = 5
FEWEST = 20  # sentences in a bin, below which its interval says nothing


@dataclass(frozen=True)
class Row:
    """What one system is worth on the sentences of one bin.

    Attributes:
        bin: their shortest and longest length in words.
        count: their number.
        bleu_interval: between which 95 % of the resampled scores lie.
        chrf_interval: the same for chrF.
    """

    system: str
    bin: Bin
    count: int
    bleu: float
    bleu_interval: tuple[float, float]
    chrf: float
    chrf_interval: tuple[float, float]


def length_bins(
    lengths: Sequence[int], *, width: int = WIDTH, fewest: int = FEWEST
) -> list[Bin]:
    """Returns bins that hold every length once, each of a whole number of widths.

    A bin with too few sentences is joined with the next one, the last with the one
    before it; only a text of fewer sentences than that has a smaller bin.

    >>> length_bins([2, 3, 4, 9, 9, 11, 12, 12, 31], fewest=2)
    [(1, 5), (6, 10), (11, 35)]

    Raises:
        ValueError: there is no length, or one below 1.
    """
    if not lengths or min(lengths) < 1:
        raise ValueError(f"lengths {list(lengths)[:5]}: want some, each at least 1")
    sizes = Counter((length - 1) // width for length in lengths)
    bins, first, waiting = [], 0, 0
    for place in range(max(sizes) + 1):
        waiting += sizes[place]
        if waiting >= fewest:
            bins.append((first * width + 1, (place + 1) * width))
            first, waiting = place + 1, 0
    if waiting:
        start = bins.pop()[0] if bins else 1
        bins.append((start, (max(sizes) + 1) * width))
    return bins


def source_lengths(text: ParallelText, *, tokenize: str = "13a") -> list[int]:
    """Returns the words of every source sentence; subwords of "none" are joined."""
    sources = comparable(text.source, lowercase=False, tokenize=tokenize)
    return [len(sentence.split()) for sentence in sources]


def by_length(
    systems: Mapping[str, Sequence[str]],
    text: ParallelText,
    *,
    lowercase: bool,
    tokenize: str = "13a",
    lengths: Sequence[int] | None = None,
    bins: Sequence[Bin] | None = None,
) -> list[Row]:
    """Returns a row for each system and bin, one system after the other.

    Args:
        systems: the translations of the whole text under the name of each system.
        lowercase, tokenize: as for `scoring.score`.
        lengths: of each pair; None counts the words of its source.
        bins: lengths, both ends included; sentences outside are left out. None bins
            all sentences, by `length_bins`.

    Raises:
        InputError: a bin is empty, or a system has not translated every sentence.
    """
    lengths = lengths or source_lengths(text, tokenize=tokenize)
    rows = []
    for system, hypotheses in systems.items():
        counts = count(
            hypotheses,
            text.target,
            names=("bleu", "chrf"),
            lowercase=lowercase,
            tokenize=tokenize,
        )
        for shortest, longest in bins or length_bins(lengths):
            chosen = [n for n, x in enumerate(lengths) if shortest <= x <= longest]
            if not chosen:
                raise InputError(
                    f"no sentence has {shortest} to {longest} words; choose other bins"
                )
            bleu, chrf = (counts[name].of(chosen) for name in ("bleu", "chrf"))
            rows.append(
                Row(
                    system=system,
                    bin=(shortest, longest),
                    count=len(chosen),
                    bleu=bleu.score().value,
                    bleu_interval=interval(bootstrap(bleu)),
                    chrf=chrf.score().value,
                    chrf_interval=interval(bootstrap(chrf)),
                )
            )
    return rows


def table(rows: Sequence[Row]) -> Table:
    """Returns the rows for the console; the system is named if there are several."""
    several = len({row.system for row in rows}) > 1
    columns = ["words", "sentences", "BLEU", "95 %", "chrF", "95 %"]
    drawn = Table(*(["system"] if several else []), *columns)
    for column in drawn.columns[several:]:
        column.justify = "right"
    named = ""
    for row in rows:
        cells = [
            f"{row.bin[0]}–{row.bin[1]}",
            f"{row.count:,}",
            f"{row.bleu:.1f}",
            _range(row.bleu_interval),
            f"{row.chrf:.1f}",
            _range(row.chrf_interval),
        ]
        if several:
            cells.insert(0, Text(row.system) if row.system != named else "")
        named = row.system
        drawn.add_row(*cells)
    return drawn


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.1f}–{ends[1]:.1f}"


def draw_by_length(
    rows: Sequence[Row], x_label: str = "words of the source sentence"
) -> "Figure":
    """Returns a panel for BLEU and one for chrF, a line with bars for each system.

    Raises:
        InputError: a name needs a font that is not installed.
    """
    from zoo.plots import interval_panels

    places = {f"{row.bin[0]}–{row.bin[1]}\nn={row.count}": None for row in rows}
    panels = {}
    for name in ("bleu", "chrf"):
        lines = panels.setdefault(NAMES[name], {})
        for row in rows:
            ends = getattr(row, f"{name}_interval")
            lines.setdefault(row.system, []).append((getattr(row, name), *ends))
    return interval_panels(panels, list(places), x_label=x_label)
