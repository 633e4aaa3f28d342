"""The command of a benchmark: rows measured in turn, a table, a JSON file."""

import math
import tempfile
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import tyro

from benchmarks.pairs import Difference, Make, measure, relative_distance
from experiments.command import plain_console
from zoo.errors import InputError, unknown
from zoo.training.records import environment, write_json


class Row(Protocol):
    """What is measured, and the ratio to reach, the peer's time over ours."""

    @property
    def bar(self) -> float: ...


@dataclass(frozen=True)
class Arguments:
    """Which rows, how often, and where to write."""

    rows: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names of rows; all by default."""
    num_pairs: int = 15
    """Timed runs of each side."""
    output: Path | None = None
    """Where the numbers go; runs/benchmarks/NAME.json by default, and where rows are
    named, NAME-ROW.json, so that a part never takes the place of the whole."""


def compare(
    name: str,
    rows: Mapping[str, Row],
    ours: Make,
    peer: Make,
    arguments: list[str],
    *,
    description: str,
    difference: Difference = relative_distance,
    tolerances: Mapping[str, float] = types.MappingProxyType({"numbers": 1e-3}),
) -> None:
    """Measures as the command line says; writes after each row, and a table at the end.

    Args:
        name: of the benchmark's module.
        ours: makes a side from a row and a folder for what it keeps.
        peer: makes the other one.
        difference: of what both sides compute, which may reach its tolerance.
    """
    program = f"python -m benchmarks.{name}"
    asked = tyro.cli(Arguments, prog=program, description=description, args=arguments)
    for row in asked.rows:
        if row not in rows:
            raise unknown("row", row, rows)
    if asked.num_pairs < 2:
        raise InputError(
            f"num_pairs is {asked.num_pairs}, but an interval needs at least 2"
        )
    output = asked.output or output_of(name, asked.rows, ".json")
    output.parent.mkdir(parents=True, exist_ok=True)
    results, console = {}, plain_console()
    for row in asked.rows or rows:
        with tempfile.TemporaryDirectory() as cache:
            paired = measure(
                ours,
                peer,
                num_pairs=asked.num_pairs,
                difference=difference,
                tolerances=tolerances,
                cache=Path(cache),
                row=rows[row],
            )
        results[row] = {"bar": rows[row].bar, **paired.to_json()}
        write_json(output, {"environment": environment(), "rows": results})
        low, high = paired.interval
        console.print(f"{row}: {paired.ratio:.2f} ({low:.2f} – {high:.2f})")
    for table in _tables(results):
        console.print(table)


def output_of(name: str, chosen: Sequence[str], suffix: str) -> Path:
    """Returns where the numbers of a benchmark go, or of some of its rows.

    >>> output_of("training", [], ".json").name
    'training.json'
    >>> output_of("curves", ["decoding by beam", "decoding by batch"], ".png").name
    'curves-decoding-by-beam-decoding-by-batch.png'
    """
    stem = "-".join([name, *chosen]).replace(" ", "-")
    return Path("runs/benchmarks") / f"{stem}{suffix}"


def _tables(results: Mapping[str, Mapping[str, Any]]) -> Iterator[Any]:
    """Yields what was asked, and then what it cost."""
    from rich.table import Table

    times = Table("row", "ms", "peer's ms", "ratio (95 %)", "bar")
    costs = Table("row", "GFLOP/s", "MB", "peer's MB", "first s", "cached s")
    for name, result in results.items():
        low, high = result["interval"]
        times.add_row(
            name,
            f"{1e3 * result['median_seconds']:.0f}",
            f"{1e3 * result['peer_median_seconds']:.0f}",
            f"{result['ratio']:.2f} ({low:.2f} – {high:.2f})",
            "" if math.isnan(result["bar"]) else f"{result['bar']}",
        )
        costs.add_row(
            name,
            f"{result['gflops_per_second']:.0f}",
            f"{result['ours_bytes'] / 1e6:.0f}",
            f"{result['peer_bytes'] / 1e6:.0f}",
            f"{result['cold_seconds']:.1f}",
            f"{result['cached_seconds']:.1f}",
        )
    yield times
    yield costs
