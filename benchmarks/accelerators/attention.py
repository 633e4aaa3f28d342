"""Times attention alone, forward and backward: the zoo's, XLA's and cuDNN's.

The zoo computes and keeps the weights of every head, which it can show and drop from;
`jax.nn.dot_product_attention` can leave that to cuDNN's fused kernel, in bfloat16 on a
GPU. The shapes are those of Transformer base and big with 32,768 queries, in rows of
several lengths. What each returns, gradients included, is compared first.

    python -m benchmarks.accelerators.attention
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from benchmarks.accelerators.command import (
    add_rows,
    chosen,
    first_line,
    in_time,
    parser_of,
    write,
)
from zoo.layers.attention import attention_weights, weighted_sum
from zoo.layers.masks import causal_mask

Attend = Callable[[Array, Array, Array], Array]
TOLERANCE = 0.05  # of the largest number: bfloat16 has 8 bits
ROUNDS, CALLS = 15, 10


@dataclass(frozen=True)
class Row:
    """Sizes of causal self-attention."""

    batch: int
    length: int
    num_heads: int
    head_dim: int = 64

    def flops(self) -> float:
        """Returns those of a forward and a backward pass, hidden scores included.

        Two products forward, and four backward; a kernel that computes scores once more
        is credited with no more.
        """
        return 6 * 2.0 * self.batch * self.num_heads * self.length**2 * self.head_dim


ROWS = {
    "base-512x64": Row(512, 64, 8),
    "base-32x1024": Row(32, 1024, 8),
    "big-512x64": Row(512, 64, 16),
    "big-128x256": Row(128, 256, 16),
    "big-32x1024": Row(32, 1024, 16),
    "big-8x4096": Row(8, 4096, 16),
}
TOYS = {name: Row(2, 8, row.num_heads, 8) for name, row in ROWS.items()}


def plain(query: Array, key: Array, value: Array) -> Array:
    """Returns causal attention as the zoo's models compute it."""
    mask = causal_mask(query.shape[1])
    return weighted_sum(attention_weights(query, key, mask), value)


def ways() -> dict[str, Attend]:
    """Returns what is timed here; cuDNN is for GPUs."""
    library = partial(jax.nn.dot_product_attention, is_causal=True)
    found = {"zoo": plain, "xla": partial(library, implementation="xla")}
    if jax.default_backend() == "gpu":
        found["cudnn"] = partial(library, implementation="cudnn")
    return found


def both_passes(attend: Attend) -> Any:
    """Returns the compiled (query, key, value, cotangent) -> context and gradients."""

    def run(query, key, value, cotangent):
        context, back = jax.vjp(attend, query, key, value)
        return context, *back(cotangent)

    return jax.jit(run)


def inputs_of(row: Row) -> tuple[Array, ...]:
    """Returns queries, keys, values and the gradient of the context, [B, Q, H, E]."""
    shape = (row.batch, row.length, row.num_heads, row.head_dim)
    keys = jax.random.split(jax.random.key(0), 4)
    return tuple(jax.random.normal(key, shape, jnp.bfloat16) for key in keys)


def difference(first: tuple[Array, ...], second: tuple[Array, ...]) -> float:
    """Returns the largest difference of two arrays, over the largest number there."""

    def apart(one, other):
        one, other = one.astype(jnp.float32), other.astype(jnp.float32)
        return float(jnp.abs(one - other).max() / jnp.abs(other).max())

    return max(map(apart, first, second))


def measure(row: Row) -> dict[str, Any]:
    """Returns seconds and more of each way, which take turns, or why it cannot."""
    inputs = inputs_of(row)
    results, runs = {}, {}
    expected = None
    for name, attend in ways().items():
        begun = time.perf_counter()
        run = both_passes(attend)
        try:
            found = jax.block_until_ready(run(*inputs))
        except Exception as error:  # of shapes and memory, in many classes
            results[name] = {"error": first_line(error)}
            continue
        expected = found if expected is None else expected
        apart = difference(found, expected)
        results[name] = {
            "compile_seconds": time.perf_counter() - begun,
            "difference": apart,
        }
        if apart <= TOLERANCE:
            runs[name] = run
    for name, seconds in timed(runs, inputs).items():
        median = statistics.median(seconds)
        speed = row.flops() / median / 1e12
        results[name] |= {"seconds": median, "all_seconds": seconds, "tflops": speed}
    return results


def timed(runs: dict[str, Any], inputs: tuple[Array, ...]) -> dict[str, list[float]]:
    """Returns the seconds of one call, in each of some rounds."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            begun = time.perf_counter()
            for _ in range(CALLS):
                last = run(*inputs)
            jax.block_until_ready(last)
            found[name].append((time.perf_counter() - begun) / CALLS)
    return found


def main(arguments: list[str]) -> None:
    """Times as the command line says."""
    parser = parser_of("benchmarks.accelerators.attention", __doc__)
    add_rows(parser, ROWS)
    asked = parser.parse_args(arguments)
    rows = chosen(parser, asked.rows, TOYS if asked.toy else ROWS)
    results: dict[str, Any] = {}
    for name, row in in_time(rows):
        results[name] = measure(row)
        values = {"rows": results}
        write(asked.output, "attention", values, toy=asked.toy, named=asked.rows)
        for way, found in results[name].items():
            print(f"{name} {way}: {shown(found)}", flush=True)


def shown(found: dict[str, Any]) -> str:
    """Returns a line on one way."""
    if "error" in found:
        return found["error"]
    if "seconds" not in found:
        return f"differs by {found['difference']:.2g}, and was not timed"
    return f"{1e3 * found['seconds']:.3f} ms, {found['tflops']:.0f} TFLOP/s"


if __name__ == "__main__":
    main(sys.argv[1:])
