"""Trains one run for each seed, and says how much of a score is luck.

Takes a preset and options as `experiments.translate.train` does, whose --help lists
them. Run N lies in WORKDIR/seed-N; the same command again goes on where it stopped.
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments.command import plain_console, run
from experiments.translate import train
from zoo.errors import InputError
from zoo.training.records import flatten, read_json, write_json


@dataclass(frozen=True)
class Arguments:
    """Which seeds, and where; everything else is for train."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Of parameters, dropout, order of the data, and generated phrases."""
    workdir: Path = Path("runs/seeds")
    """Folder of the runs."""


@dataclass(frozen=True)
class Summary:
    """A metric over the runs.

    Attributes:
        deviation: of the sample, with n - 1; None for a single run.
        values: in the order of the seeds.
    """

    mean: float
    deviation: float | None
    values: list[float]


def main(arguments: list[str]) -> None:
    """Trains as the command line says."""
    ours, rest = tyro.cli(
        Arguments,
        prog="python -m experiments.translate.seeds [PRESET]",
        description=__doc__,
        args=arguments,
        return_unknown_args=True,
    )
    train_seeds(ours, rest)


def train_seeds(arguments: Arguments, options: Sequence[str]) -> None:
    """Trains every seed, prints mean and deviation, and writes WORKDIR/seeds.json.

    Args:
        options: the preset and the options of train.

    Raises:
        InputError: a seed is given twice or none, or train refuses its options.
    """

    seeds, workdir = list(arguments.seeds), arguments.workdir
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds are {seeds}; give at least one, and each once")
    if any(option.split("=")[0] == "--seed" for option in options):
        raise InputError("--seed is set for each run; give --seeds")
    results = []
    for seed in seeds:
        folder = workdir / f"seed-{seed}"
        train.main([*options, "--seed", str(seed), "--workdir", str(folder)])
        results.append(read_json(folder / "result.json"))
    summaries = summarise([result["metrics"] for result in results])
    metrics = {name: asdict(summary) for name, summary in summaries.items()}
    shared = {name: results[0][name] for name in ("preset", "signature")}
    write_json(workdir / "seeds.json", {**shared, "seeds": seeds, "metrics": metrics})
    console = plain_console()
    console.print(f"{len(seeds)} seeds; {workdir / 'seeds.json'}", highlight=False)
    for name, summary in summaries.items():
        spread = "" if summary.deviation is None else f" ± {summary.deviation:.2f}"
        console.print(f"  {name} {summary.mean:.2f}{spread}", highlight=False)


def summarise(metrics: Sequence[dict[str, Any]]) -> dict[str, Summary]:
    """Returns mean and sample standard deviation of every number that all runs have.

    >>> summarise([{"bleu": 20.0}, {"bleu": 22.0}])["bleu"].mean
    21.0
    """
    flat = [flatten(values) for values in metrics]
    summaries = {}
    for name in flat[0]:
        values = [run[name] for run in flat if run.get(name) is not None]
        if len(values) == len(flat):
            deviation = statistics.stdev(values) if len(values) > 1 else None
            summaries[name] = Summary(statistics.fmean(values), deviation, values)
    return summaries


if __name__ == "__main__":
    run(main)
