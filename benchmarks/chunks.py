"""Times an update on 8,192 tokens at once, and says what memory it takes.

A Transformer of width 128 with four layers on each side reads one sentence of as many
tokens and writes one, float32, dropout on. Its attention is exact and reads the keys in
chunks: the scores of one attention alone would be a gigabyte, and there are twelve.

    python -m benchmarks.chunks
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import training
from benchmarks.pairs import Side
from experiments.command import run
from zoo.training.records import environment, write_json

LENGTH = 8_192
LIMIT = 8e9  # bytes


class Ours(training.Ours):
    """Updates of a Transformer that reads keys in chunks."""

    def build(self, row: training.Row) -> Any:
        from benchmarks.attentions import with_attention
        from zoo.layers.chunked_attention import ChunkedAttention

        return with_attention(
            super().build(row), partial(ChunkedAttention, chunk_size=512)
        )


def measure(row: training.Row) -> dict[str, Any]:
    """Returns what the second update of a process takes, and the process's memory."""
    with (
        tempfile.TemporaryDirectory() as cache,
        Side(Ours, row=row, cache=Path(cache)) as side,
    ):
        first, second = side.seconds(), side.seconds()
        return {
            "tokens": row.length,
            "first_seconds": first,
            "seconds": second,
            "bytes": side.peak_bytes(),
        }


def main(arguments: list[str]) -> None:
    """Times as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chunks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--length", type=int, default=LENGTH, help="of both sentences")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/benchmarks/chunks.json")
    )
    asked = parser.parse_args(arguments)
    row = training.Row("transformer-tiny", training.TINY, batch=1, length=asked.length)
    found = measure(row)
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(asked.output, {"environment": environment(), **found})
    said = "below" if found["bytes"] < LIMIT else "not below"
    print(
        f"{found['tokens']:,} tokens: {found['seconds']:.1f} s, "
        f"{found['bytes'] / 1e9:.2f} GB, {said} {LIMIT / 1e9:g}"
    )


if __name__ == "__main__":
    run(main)
