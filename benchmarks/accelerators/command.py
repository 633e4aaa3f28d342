"""What the commands for an accelerator share: options, a limit of time, a JSON file.

Time on an accelerator is lent in minutes, often on a machine that has jax, flax, optax,
orbax and torch and none of our extras. So the options are read by argparse, where our
other commands have tyro; numbers are written after each row; and no row is begun that
would probably not end within eight minutes.
"""

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.pairs import Difference, Make, Paired, measure
from experiments.command import printable
from zoo.training.records import environment, write_json

LAST_START = 300  # seconds after which no further row is begun
# Products of bfloat16 without sparsity, FLOP/s of the SXM boards: NVIDIA H100 and H200
# Tensor Core GPU datasheets, which print twice as much, 1,979 TFLOP/s, with sparsity.
PEAKS = {"H100 80GB HBM3": 989e12, "H200": 989e12}


def parser_of(module: str, description: str | None) -> argparse.ArgumentParser:
    """Returns the options that every command has."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--toy", action="store_true", help="sizes of seconds on a CPU; no measurement"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs/benchmarks"),
        help="folder for the JSON file (default: %(default)s)",
    )
    return parser


def add_rows(parser: argparse.ArgumentParser, rows: Mapping[str, Any]) -> None:
    """Adds names of rows, of which all are taken by default."""
    names = ", ".join(rows)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {names}; else all")


def chosen(
    parser: argparse.ArgumentParser, names: list[str], rows: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the rows of these names, all if there are none; exits for an unknown."""
    for name in names:
        if name not in rows:
            parser.error(f"there is no row {name}; there are {', '.join(rows)}")
    return {name: rows[name] for name in names or rows}


def in_time(rows: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields the rows that can be begun in time, and says which could not."""
    begun = time.monotonic()
    for name, row in rows.items():
        if time.monotonic() - begun > LAST_START:
            print(f"{name}: left out, {LAST_START} s are over", flush=True)
        else:
            yield name, row


def write(
    output: Path,
    name: str,
    values: Mapping[str, Any],
    *,
    toy: bool,
    named: Sequence[str] = (),
) -> None:
    """Writes what was measured, and on what, to accelerators-NAME.json.

    Args:
        named: rows that were asked for by their names, which are in the file's then.
    """
    output.mkdir(parents=True, exist_ok=True)
    stem = "-".join(["accelerators", name, *named])
    made_by = environment()
    made_by["versions"] |= peer_versions()
    report = {"environment": made_by, "toy": toy, **values}
    write_json(output / f"{stem}.json", report)


def peer_versions() -> dict[str, str]:
    """Returns the versions of what the zoo is compared with, as far as it is here."""
    found = {}
    for name in ("torch", "transformers"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def peak_flops() -> float | None:
    """Returns the FLOP/s that the first device can do in bfloat16, None if unknown."""
    import jax

    kind = jax.devices()[0].device_kind
    return next((peak for name, peak in PEAKS.items() if name in kind), None)


def utilisation(flops: float, seconds: float) -> float | None:
    """Returns the share of the peak that was used, None where no peak is known."""
    peak = peak_flops()
    return None if peak is None else flops / seconds / peak


def first_line(error: BaseException) -> str:
    """Returns what an error says, short: XLA prints whole programs."""
    text = str(error).strip().partition("\n")[0]
    return printable(f"{type(error).__name__}: {text}")[:300]


def pair(
    name: str,
    rows: Mapping[str, Any],
    ours: Make,
    peer: Make,
    *,
    output: Path,
    num_pairs: int,
    difference: Difference,
    tolerances: Mapping[str, float],
    toy: bool,
    named: Sequence[str],
) -> None:
    """Measures rows beside a peer, and writes after each; see `benchmarks.pairs`."""
    share_memory()
    results: dict[str, Any] = {}
    for row_name, row in in_time(rows):
        with tempfile.TemporaryDirectory() as cache:
            paired = measure(
                ours,
                peer,
                num_pairs=num_pairs,
                difference=difference,
                tolerances=tolerances,
                cache=Path(cache),
                row=row,
            )
        results[row_name] = {**paired.to_json(), **utilisations(paired)}
        write(output, name, {"rows": results}, toy=toy, named=named)
        low, high = paired.interval
        print(f"{row_name}: {paired.ratio:.2f} ({low:.2f} – {high:.2f})", flush=True)


def share_memory() -> None:
    """Lets JAX take memory as it needs it, in this process and in those it starts.

    Otherwise it takes three quarters at once, and the peer has what is left. To be
    called before the first array is made.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def utilisations(paired: Paired) -> dict[str, float | None]:
    """Returns the share of the peak that both sides use in their median run."""
    sides = {"utilisation": paired.ours, "peer_utilisation": paired.peer}
    return {
        name: utilisation(paired.flops, sorted(seconds)[len(seconds) // 2])
        for name, seconds in sides.items()
    }
