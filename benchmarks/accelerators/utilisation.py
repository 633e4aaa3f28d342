"""How much of an accelerator's bfloat16 the updates of Transformer big use, and why.

8 x 4,096 tokens in one batch without padding. The share is that of the products which
the model needs (hidden scores included, twice as many backward as forward, none for
what is computed once more), over the device's peak. The first row is what a user gets;
the others change something of it, to say what that costs. Each is timed for itself.

    python -m benchmarks.accelerators.utilisation
    python -m benchmarks.accelerators.utilisation plain cudnn
"""

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.accelerators import updates
from benchmarks.accelerators.command import (
    add_rows,
    chosen,
    first_line,
    in_time,
    parser_of,
    utilisation,
    write,
)
from benchmarks.attentions import FusedAttention, with_attention
from zoo import losses
from zoo.catalogue import model_config
from zoo.layers.blocks import rematerialized

RUNS = 5


@dataclass(frozen=True)
class Row(updates.Row):
    """A batch, and what is changed of the zoo's way.

    Attributes:
        fused: whether cuDNN computes the attention.
        remat: whether blocks are computed once more for the gradient.
        tokens_per_part: of the loss, whose logits exist at one time.
    """

    fused: bool = False
    remat: bool = False
    tokens_per_part: int = losses.TOKENS_PER_PART


PLAIN = Row("transformer-big", updates.LARGE, 512, 64)
ROWS = {
    "plain": PLAIN,
    "parts-of-4096": replace(PLAIN, tokens_per_part=4_096),
    "cudnn": replace(PLAIN, fused=True),
    "no-dropout": replace(PLAIN, overrides={**updates.LARGE, "dropout_rate": 0.0}),
    "cudnn-parts-of-4096": replace(PLAIN, fused=True, tokens_per_part=4_096),
    "128x256": replace(PLAIN, batch=128, length=256),
    "cudnn-128x256": replace(PLAIN, batch=128, length=256, fused=True),
    "remat": replace(PLAIN, remat=True),
}
TOYS = {
    name: replace(
        row,
        overrides={
            **updates.NARROW,
            "dropout_rate": row.overrides.get("dropout_rate", 0.3),
        },
        batch=16,
        length=4,
        updates=2,
    )
    for name, row in ROWS.items()
}


class Work(updates.Ours):
    """Updates of a row's model."""

    def build(self, row: Row) -> Any:
        model = super().build(row)
        model = with_attention(model, FusedAttention) if row.fused else model
        return rematerialized(model) if row.remat else model


def update_flops(row: Row) -> float:
    """Returns the operations of an update's products.

    For D wide states, F wide hidden layers and V tokens, those of weights and states
    are 2 (4 D² + 2 D F) a source token and layer, 2 (8 D² + 2 D F) a target token and
    layer, with the keys and values of the memory, and 2 D V a target token; those of
    queries with keys, and of weights with values, are 2 · 2 D for each pair.
    """
    config: Any = model_config(row.model, **row.overrides)
    width, tokens = config.model_dim, row.batch * row.length
    mlp = 2 * width * config.mlp_dim
    block = (4 * width**2 + mlp) + (8 * width**2 + mlp)
    scores = 3 * 2 * row.length * width  # of encoder, decoder, and between them
    forward = 2.0 * tokens * (config.num_layers * (block + scores))
    forward += 2.0 * tokens * width * config.vocab_size
    return 3 * forward


def measure(row: Row, cache: Path) -> dict[str, Any]:
    """Returns what one row takes, or why it cannot be run."""
    losses.TOKENS_PER_PART = row.tokens_per_part
    begun = time.perf_counter()
    try:
        work = Work(row, cache)
        work.run()
        first = time.perf_counter() - begun
        seconds = [timed(work) / row.updates for _ in range(RUNS)]
    except Exception as error:  # of memory and of cuDNN, in many classes
        return {"error": first_line(error)}
    finally:
        losses.TOKENS_PER_PART = PLAIN.tokens_per_part
    median, flops = statistics.median(seconds), update_flops(row)
    return {
        "seconds": median,
        "all_seconds": seconds,
        "first_seconds": first,
        "flops": flops,
        "tflops_per_second": flops / median / 1e12,
        "utilisation": utilisation(flops, median),
        "tokens_per_second": row.batch * row.length / median,
        "peak_bytes_so_far": work.peak_bytes(),
    }


def timed(work: Work) -> float:
    begun = time.perf_counter()
    work.run()
    return time.perf_counter() - begun


def main(arguments: list[str]) -> None:
    """Times as the command line says."""
    parser = parser_of("benchmarks.accelerators.utilisation", __doc__)
    add_rows(parser, ROWS)
    asked = parser.parse_args(arguments)
    rows = chosen(parser, asked.rows, TOYS if asked.toy else ROWS)
    results: dict[str, Any] = {}
    for name, row in in_time(rows):
        with tempfile.TemporaryDirectory() as cache:
            results[name] = measure(row, Path(cache))
        values = {"rows": results}
        write(asked.output, "utilisation", values, toy=asked.toy, named=asked.rows)
        print(f"{name}: {shown(results[name])}", flush=True)


def shown(found: dict[str, Any]) -> str:
    """Returns a line on one row."""
    if "error" in found:
        return found["error"]
    share = found["utilisation"]
    of_peak = "peak unknown" if share is None else f"{share:.1%} of the peak"
    speed = f"{found['tflops_per_second']:.3g} TFLOP/s, {of_peak}"
    return f"{1e3 * found['seconds']:.1f} ms an update, {speed}"


if __name__ == "__main__":
    main(sys.argv[1:])
