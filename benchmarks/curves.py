"""How time and memory of training and decoding grow, one size at a time, with a figure.

A Transformer of width 128 with four layers on each side, float32, dropout on in
training. All other sizes stay at those of its base. Each point is a process of its own,
which runs twice to warm up and then a few times; the median counts, and the most memory
that the process held. The slope is that of the last two points on logarithmic axes:
1 where doubling a size doubles the cost.
"""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from benchmarks import decoding, training
from benchmarks.pairs import Make, Side
from benchmarks.tables import output_of
from experiments.command import plain_console, run
from zoo.training.records import environment, write_json

TRAINING = training.Row("transformer-tiny", training.TINY, batch=16, length=64)
DECODING = decoding.Row(*decoding.TINY, batch=16, beam_size=4)


@dataclass(frozen=True)
class Curve:
    """One size of a work that takes several values.

    Attributes:
        base: the row of which one field is replaced, an override where it has none.
        unit: what the values count.
    """

    make: Make
    base: Any
    size: str
    values: tuple[int, ...]
    unit: str

    def row(self, value: int) -> Any:
        """Returns what is timed at a value."""
        if hasattr(self.base, self.size):
            return replace(self.base, **{self.size: value})
        overrides = {**self.base.overrides, self.size: value}
        if self.size == "model_dim":
            overrides["mlp_dim"] = 2 * value
        return replace(self.base, overrides=overrides)


CURVES = {
    "training by length": Curve(
        training.Ours, TRAINING, "length", (16, 32, 64, 128, 256, 512, 1024), "tokens"
    ),
    "training by batch": Curve(
        training.Ours, TRAINING, "batch", (1, 2, 4, 8, 16, 32, 64, 128), "pairs"
    ),
    "training by vocabulary": Curve(
        training.Ours,
        TRAINING,
        "vocab_size",
        (4_000, 8_000, 16_000, 32_000, 64_000),
        "tokens",
    ),
    "training by width": Curve(
        training.Ours, TRAINING, "model_dim", (64, 128, 256, 512, 1024), "features"
    ),
    "decoding by beam": Curve(
        decoding.Ours, DECODING, "beam_size", (1, 2, 4, 8, 16), "hypotheses"
    ),
    "decoding by length": Curve(
        decoding.Ours, DECODING, "length", (16, 32, 64, 128, 256), "tokens"
    ),
    "decoding by batch": Curve(
        decoding.Ours,
        DECODING,
        "batch",
        (1, 2, 4, 8, 16, 32, 64, 128, 256),
        "sentences",
    ),
}


@dataclass(frozen=True)
class Measured:
    """What one point took: the median of its runs, and the most memory it held."""

    value: int
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Arguments:
    """Which curves, how often, and where to write."""

    curves: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names of curves, such as "training by length"; all by default."""
    num_runs: int = 5
    """Timed runs of each point."""
    output: Path | None = None
    """The figure; the numbers lie beside it, as JSON. runs/benchmarks/curves.png by
    default, and where curves are named, curves-NAME.png."""


def main(arguments: list[str]) -> None:
    """Measures as the command line says."""
    from zoo.errors import unknown
    from zoo.plots import save

    asked = tyro.cli(
        Arguments,
        prog="python -m benchmarks.curves",
        description=__doc__,
        args=arguments,
    )
    for name in asked.curves:
        if name not in CURVES:
            raise unknown("curve", name, CURVES)
    output = asked.output or output_of("curves", asked.curves, ".png")
    output.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Measured]] = {}
    for name in asked.curves or CURVES:
        found[name] = []
        for value in CURVES[name].values:
            found[name].append(measure(CURVES[name], value, asked.num_runs))
            plain_console().print(f"{name}: {found[name][-1]}")
        rows = {curve: [asdict(point) for point in found[curve]] for curve in found}
        report = {"environment": environment(), "curves": rows}
        write_json(output.with_suffix(".json"), report)
    save(draw(found), output)


def measure(curve: Curve, value: int, num_runs: int) -> Measured:
    """Returns what a work takes at one value of its size."""
    with (
        tempfile.TemporaryDirectory() as cache,
        Side(curve.make, row=curve.row(value), cache=Path(cache)) as side,
    ):
        for _ in range(2):
            side.seconds()
        seconds = np.median([side.seconds() for _ in range(num_runs)])
        return Measured(value, float(seconds), side.peak_bytes())


def slope(points: list[Measured]) -> float:
    """Returns the slope of the last two times on logarithmic axes.

    >>> slope([Measured(1, 1.0, 1), Measured(2, 2.0, 8), Measured(4, 8.0, 16)])
    2.0
    """
    before, last = points[-2:]
    growth = math.log(last.seconds / before.seconds)
    return growth / math.log(last.value / before.value)


def draw(curves: Mapping[str, list[Measured]]) -> Any:
    """Returns a figure: time above, memory below, one column for each curve."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    figure = Figure(figsize=(2.3 * len(curves), 4.8), layout="constrained")
    axes = figure.subplots(2, len(curves), squeeze=False, sharex="col")
    for (name, points), (time, memory) in zip(curves.items(), axes.T, strict=True):
        values = [point.value for point in points]
        time.plot(values, [point.seconds for point in points], marker="o")
        time.set_xscale("log", base=2)
        time.set_yscale("log")
        memory.plot(values, [point.bytes / 1e9 for point in points], marker="o")
        memory.set_ylim(0, 1.1 * max(point.bytes for point in points) / 1e9)
        text = f"slope at the end {slope(points):.1f}"
        time.text(0.05, 0.9, text, transform=time.transAxes)
        time.grid(alpha=0.3)
        memory.grid(alpha=0.3)
        time.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        time.yaxis.set_major_formatter(lambda seconds, _: f"{seconds:g}")
        time.yaxis.set_minor_locator(NullLocator())
        memory.set_xlabel(CURVES[name].unit)
        memory.set_xticks(values[::2], [f"{value:,}" for value in values[::2]])
        time.set_title(name, fontsize="medium")
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("GB")
    return figure


if __name__ == "__main__":
    run(main)
