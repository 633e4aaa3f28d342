"""Times searches of the zoo's Marian models beside CTranslate2's, same weights.

Sentences of 20 source tokens are translated into 32 tokens, float32; the weights are
random and the end of sentence is hopeless, so that both sides write every token. First
it is checked that they write the same sentences, but for 2 % at most, as rounding may
decide between two that are as likely, and score those alike to 0.1 %. CTranslate2 runs
without MKL, which is faster than its default on AMD processors.
"""

import json
import math
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pairs import keep_compiled
from experiments.command import run
from zoo.catalogue import model_config

SOURCE_LENGTH = 20
HOPELESS = -1e9
TOLERANCES = {"sentences": 0.02, "scores": 1e-3}


@dataclass(frozen=True)
class Row:
    """A model, how many sentences at once, and the width of the beam; 1 is greedy.

    Attributes:
        length: of each translation, in tokens.
        bar: the ratio to reach, CTranslate2's time over ours.
    """

    model: str
    overrides: dict[str, Any]
    batch: int
    beam_size: int
    bar: float = math.nan
    length: int = 32


BASE = ("marian-base", {"vocab_size": 32_000})
TINY = (
    "marian-tiny",
    {"vocab_size": 10_000, "num_layers": 4, "num_decoder_layers": 4},
)
ROWS = {
    "base-1-greedy": Row(*BASE, batch=1, beam_size=1, bar=0.9),
    "base-1-beam4": Row(*BASE, batch=1, beam_size=4, bar=0.9),
    "base-64-greedy": Row(*BASE, batch=64, beam_size=1, bar=0.85),
    "base-64-beam4": Row(*BASE, batch=64, beam_size=4, bar=0.9),
    "tiny-1-greedy": Row(*TINY, batch=1, beam_size=1, bar=0.8),
    "tiny-64-greedy": Row(*TINY, batch=64, beam_size=1, bar=0.75),
    "tiny-64-beam4": Row(*TINY, batch=64, beam_size=4, bar=0.75),
}


def source_of(row: Row) -> np.ndarray:
    """Returns random sentences that end in the end of sentence, [B, S]."""
    vocab_size = row.overrides["vocab_size"]
    shape = (row.batch, SOURCE_LENGTH)
    tokens = np.random.default_rng(0).integers(3, vocab_size, shape, dtype=np.int32)
    tokens[:, -1] = 2
    return tokens


def endless_model(row: Row, cache: Path) -> tuple[Any, Any]:
    """Returns a random model that never ends a sentence, and its parameters.

    The peer finds both in `cache`, as Hugging Face has them.
    """
    import jax

    from zoo.catalogue import create_model
    from zoo.models.contract import initialize
    from zoo.pretrained.export import marian_configs, marian_tensors
    from zoo.translation.options import Defaults

    model: Any = create_model(row.model, **row.overrides)
    params = jax.jit(partial(initialize, model))(jax.random.key(0))
    bias = params["embedding"]["bias"]
    params["embedding"]["bias"] = bias.at[:3].set(HOPELESS)
    np.savez(cache / "params.npz", **marian_tensors(model, params))
    configs = marian_configs(model, params, 2 * row.length, Defaults())
    (cache / "config.json").write_text(json.dumps(configs["config.json"]))
    return model, params


def hugging_face_model(cache: Path) -> Any:
    """Returns the model that `endless_model` has left, as Hugging Face's."""
    import torch
    from transformers import MarianConfig, MarianMTModel

    config = json.loads((cache / "config.json").read_text())
    model = MarianMTModel(MarianConfig(**config))
    with np.load(cache / "params.npz") as tensors:
        state = {name: torch.from_numpy(tensors[name]) for name in tensors}
    missing = model.load_state_dict(state, strict=False).missing_keys
    computed = {"embed_positions", "embed_tokens", "lm_head"}
    assert all(computed & set(name.split(".")) for name in missing), missing
    model.tie_weights()
    return model.eval()


def num_flops(row: Row) -> float:
    """Returns twice the products of weights and states, attention left out."""
    config: Any = model_config(row.model, **row.overrides)
    width = config.model_dim
    block = 4 * width**2 + 2 * width * config.mlp_dim
    memory = config.num_decoder_layers * 2 * width**2
    encoder = SOURCE_LENGTH * (config.num_layers * block + memory)
    step = config.num_decoder_layers * (block + 2 * width**2)
    step += width * config.vocab_size
    decoder = row.length * row.beam_size * step
    return 2.0 * row.batch * (encoder + decoder)


class Ours:
    """The zoo's model under the zoo's search, compiled as a user would."""

    def __init__(self, row: Row, cache: Path):
        import jax

        from zoo.decoding import beam_search, greedy_search

        keep_compiled(cache)
        model, params = endless_model(row, cache)
        search = (
            greedy_search
            if row.beam_size == 1
            else partial(beam_search, num_hypotheses=row.beam_size)
        )
        source = jax.device_put(source_of(row))
        compiled = jax.jit(
            lambda params, source: search(model, params, source, row.length)
        )
        self.search = partial(compiled, params, source)

    def check(self):
        found = self.search()
        return {
            "tokens": np.asarray(found.tokens[:, 0]),
            "scores": np.asarray(found.scores[:, 0]),
        }

    def run(self):
        self.search().tokens.block_until_ready()


class CTranslate2:
    """The same in CTranslate2, float32."""

    def __init__(self, row: Row, cache: Path):
        os.environ["CT2_USE_MKL"] = "0"
        import ctranslate2

        vocab_size = row.overrides["vocab_size"]
        folder = cache / "ctranslate2"
        # Padding, the first token of ours, is none of theirs.
        self.vocabulary = ["<s>", "</s>", *map(str, range(3, vocab_size))]
        if not folder.exists():
            self._convert(cache, folder)
        threads = len(os.sched_getaffinity(0))
        self.translator = ctranslate2.Translator(
            str(folder), inter_threads=1, intra_threads=threads, compute_type="float32"
        )
        self.sentences = [
            [self.vocabulary[token - 1] for token in sentence]
            for sentence in source_of(row)
        ]
        self.row = row

    def _convert(self, cache, folder):
        import torch
        from ctranslate2.converters.transformers import MarianMTLoader

        with torch.no_grad():
            spec = MarianMTLoader().get_model_spec(hugging_face_model(cache))
        spec.config.eos_token = "</s>"
        spec.config.unk_token = spec.config.bos_token = "<s>"
        spec.config.decoder_start_token = "</s>"
        spec.register_source_vocabulary(self.vocabulary)
        spec.register_target_vocabulary(self.vocabulary)
        spec.validate()
        spec.optimize()
        folder.mkdir()
        spec.save(str(folder))

    def _translate(self):
        return self.translator.translate_batch(
            self.sentences,
            beam_size=self.row.beam_size,
            max_decoding_length=self.row.length,
            length_penalty=1.0,
            return_scores=True,
        )

    def check(self):
        results = self._translate()
        number = {piece: 1 + place for place, piece in enumerate(self.vocabulary)}
        tokens = [[number[x] for x in result.hypotheses[0]] for result in results]
        scores = [result.scores[0] for result in results]
        return {"tokens": np.array(tokens), "scores": np.array(scores)}

    def run(self):
        self._translate()

    def flops(self):
        return num_flops(self.row)


def difference(ours: Any, peer: Any) -> dict[str, float]:
    """Returns the share of sentences that differ, and how far scores of others do."""
    same = (ours["tokens"] == peer["tokens"]).all(axis=1)
    close = np.abs(ours["scores"] - peer["scores"])[same] / np.abs(peer["scores"][same])
    return {
        "sentences": float(1 - same.mean()),
        "scores": float(close.max(initial=0.0)),
    }


def main(arguments: list[str]) -> None:
    """Times as the command line says."""
    from benchmarks.tables import compare  # which reads the command line with tyro

    compare(
        "decoding",
        ROWS,
        Ours,
        CTranslate2,
        arguments,
        description=__doc__,
        difference=difference,
        tolerances=TOLERANCES,
    )


if __name__ == "__main__":
    run(main)
