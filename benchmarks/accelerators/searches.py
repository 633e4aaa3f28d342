"""Times beam search over 3,000 sentences beside Hugging Face's generate, same weights.

A random model of Marian's shape, 20 source tokens, a beam of 4 and 32 tokens for every
sentence, since the end of sentence is hopeless; bfloat16 on both sides, which take
turns in processes of their own. That both write the same sentences, but where rounding
decides between two that are as likely, is checked first on a few, in full float32.

    python -m benchmarks.accelerators.searches
"""

import copy
import importlib.util
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import decoding
from benchmarks.accelerators.command import (
    add_rows,
    chosen,
    in_time,
    pair,
    parser_of,
    share_memory,
    write,
)
from benchmarks.accelerators.updates import device_peak_bytes
from benchmarks.pairs import Side, keep_compiled, process_peak_bytes

NUM_CHECKED = 32
NUM_PAIRS = 5
TOLERANCES = {"sentences": 0.07, "scores": 1e-3}  # two sentences


@dataclass(frozen=True)
class Row(decoding.Row):
    """A search, and over how many sentences, `batch` of them at once."""

    sentences: int = 3_000


ROWS = {"base": Row(*decoding.BASE, batch=250, beam_size=4, bar=1.0)}
TINY = {"vocab_size": 50, "model_dim": 16, "mlp_dim": 16, "num_heads": 2}
LAYERS = {"num_layers": 1, "num_decoder_layers": 1}
TOYS = {"base": Row("marian-base", {**TINY, **LAYERS}, 64, 4, length=10, sentences=128)}


def batches_of(row: Row) -> list[np.ndarray]:
    """Returns the sentences, so many at once as the row has it, [B, S]."""
    rows = decoding.source_of(replace(row, batch=row.sentences))
    return np.split(rows, row.sentences // row.batch)


class Ours:
    """The zoo's model under the zoo's search."""

    def __init__(self, row: Row, cache: Path):
        import jax

        from zoo.decoding import beam_search

        keep_compiled(cache)
        model, self._exact = decoding.endless_model(row, cache)
        self._params = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), self._exact)
        self._batches = jax.device_put(batches_of(row))
        search = partial(beam_search, num_hypotheses=row.beam_size)
        self._search = jax.jit(
            lambda params, source: search(model, params, source, row.length)
        )

    def check(self):
        import jax

        with jax.default_matmul_precision("highest"):
            found = self._search(self._exact, self._batches[0][:NUM_CHECKED])
        best = {"tokens": found.tokens[:, 0], "scores": found.scores[:, 0]}
        return {name: np.asarray(value) for name, value in best.items()}

    def run(self):
        import jax

        found = [self._search(self._params, source).tokens for source in self._batches]
        jax.block_until_ready(found)

    def peak_bytes(self) -> int:
        return device_peak_bytes()


class HuggingFace:
    """The same in Hugging Face's model, on a GPU if there is one."""

    def __init__(self, row: Row, cache: Path):
        import torch

        self._torch, self._row = torch, row
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._exact = decoding.hugging_face_model(cache).to(self._device)
        self._model = copy.deepcopy(self._exact).to(torch.bfloat16)
        # Padding, our first token, is their last one.
        self._batches = [
            torch.from_numpy(rows.astype(np.int64) - 1).to(self._device)
            for rows in batches_of(row)
        ]

    def check(self):
        found = self._generate(self._exact, self._batches[0][:NUM_CHECKED])
        tokens = found.sequences[:, 1:] + 1
        found = {"tokens": tokens, "scores": found.sequences_scores}
        return {name: value.cpu().numpy() for name, value in found.items()}

    def run(self):
        for source in self._batches:
            self._generate(self._model, source)
        if self._device == "cuda":
            self._torch.cuda.synchronize()

    def _generate(self, model, source):
        with self._torch.inference_mode():
            return model.generate(
                source,
                attention_mask=self._torch.ones_like(source),
                num_beams=self._row.beam_size,
                do_sample=False,
                length_penalty=1.0,
                max_new_tokens=self._row.length,
                max_length=None,
                output_scores=True,
                return_dict_in_generate=True,
            )

    def flops(self):
        return decoding.num_flops(replace(self._row, batch=self._row.sentences))

    def peak_bytes(self) -> int:
        if self._device == "cuda":
            return self._torch.cuda.max_memory_allocated()
        return process_peak_bytes()


def main(arguments: list[str]) -> None:
    """Times as the command line says; ours alone where there is no peer."""
    parser = parser_of("benchmarks.accelerators.searches", __doc__)
    add_rows(parser, ROWS)
    asked = parser.parse_args(arguments)
    rows = chosen(parser, asked.rows, TOYS if asked.toy else ROWS)
    num_pairs = 2 if asked.toy else NUM_PAIRS
    report = {"output": asked.output, "toy": asked.toy, "named": asked.rows}
    if importlib.util.find_spec("transformers") is None:
        print("no transformers here: ours alone is timed")
        alone(rows, num_pairs, report)
        return
    pair(
        "searches",
        rows,
        Ours,
        HuggingFace,
        num_pairs=num_pairs,
        difference=decoding.difference,
        tolerances=TOLERANCES,
        **report,
    )


def alone(rows: dict[str, Row], num_runs: int, report: dict[str, Any]) -> None:
    """Times our side, and writes after each row."""
    share_memory()
    results: dict[str, Any] = {}
    for name, row in in_time(rows):
        with (
            tempfile.TemporaryDirectory() as cache,
            Side(Ours, row=row, cache=Path(cache)) as side,
        ):
            for _ in range(2):
                side.seconds()
            seconds = [side.seconds() for _ in range(num_runs)]
        results[name] = {"seconds": seconds, "sentences": row.sentences}
        write(name="searches", values={"rows": results}, **report)
        speed = row.sentences / float(np.median(seconds))
        print(f"{name}: {speed:.0f} sentences a second", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
