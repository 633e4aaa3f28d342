"""The translator that a run leaves behind: text in, text out, and where it looked.

It owns the tokenizer, the jitted search and the shapes, so that a command, a notebook
and a test translate alike. Sentences are padded to a few lengths and their number to a
few sizes, since each shape is one compilation, which the first sentence of that shape
waits for. The length depends on the sentence alone, and so does its translation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.catalogue import build, config_from_json
from zoo.checkpoints import Checkpoints, restore_params
from zoo.data.tokenizer import Tokenizer
from zoo.decoding import IMPOSSIBLE, Hypotheses, beam_search, greedy_search
from zoo.errors import InputError
from zoo.models.contract import Seq2Seq, attention_maps, initialize
from zoo.training.records import read_json

SHORTEST = 16
ROWS = (1, 8, 64)
WIDEST = 64


@dataclass(frozen=True)
class Hypothesis:
    """A translation.

    Attributes:
        score: log-probability in nats, over length^α; higher is better.
    """

    text: str
    score: float


@dataclass(frozen=True)
class AttentionMaps:
    """Where a model looked while it read and wrote one pair of sentences.

    Attributes:
        weights: by the path of the module, [heads, queries, keys], without padding.
        source_pieces: the source's subwords, end of sentence included.
        target_pieces: what is written at each step, end of sentence included.
    """

    weights: dict[str, np.ndarray]
    source_pieces: list[str]
    target_pieces: list[str]

    def between(self) -> dict[str, np.ndarray]:
        """Returns the maps from target to source, without self-attention."""
        return {
            path: maps
            for path, maps in self.weights.items()
            if not path.endswith("self_attention")
        }


class Translator:
    """A sequence-to-sequence model with its parameters and its tokenizer.

    Args:
        max_length: longest sentence in subwords, end of sentence included; on the
            source side a longer one is refused, on the target side it is cut.
    """

    def __init__(
        self, model: Seq2Seq, params: Any, tokenizer: Tokenizer, max_length: int
    ):
        self.model = model
        self.params = params
        self.tokenizer = tokenizer
        self.max_length = max_length

    @classmethod
    def from_run(cls, workdir: str | Path) -> "Translator":
        """Returns the translator of a run's best finished checkpoint.

        Raises:
            InputError: the folder holds no run, or a run without a checkpoint.
        """
        workdir = Path(workdir)
        if not (workdir / "config.json").exists():
            raise InputError(
                f"{workdir}: no config.json, so no run is here; train one, or give the "
                "folder of one"
            )
        config = read_json(workdir / "config.json")
        tokenizer = Tokenizer.load(workdir / "tokenizer.model")
        model_config = config_from_json(config["model"])
        model = build(replace(model_config, vocab_size=tokenizer.vocab_size))
        with Checkpoints(workdir / "checkpoints") as checkpoints:
            step = checkpoints.best_step()
        if step is None:
            raise InputError(f"{workdir}: no finished checkpoint yet; let it train on")
        shapes = jax.eval_shape(partial(initialize, model), jax.random.key(0))
        params = restore_params(workdir / "checkpoints", step, shapes)
        return cls(model, params, tokenizer, config["data"]["max_length"])

    def translate(
        self,
        sentences: Sequence[str],
        *,
        beam_size: int = 4,
        length_penalty: float = 1.0,
        num_best: int = 1,
        max_length: int | None = None,
    ) -> list[list[Hypothesis]]:
        """Returns the best translations of every sentence, in the order given.

        An empty sentence has one translation, the empty one.

        Args:
            beam_size: hypotheses kept at each step; 1 is greedy.
            length_penalty: α; scores are log-probabilities over length^α.
            num_best: translations of each sentence, at most `beam_size`.
            max_length: of a translation in subwords; None leaves it to the source's.

        Raises:
            InputError: a sentence is too long, or a number is out of its range.
        """
        _check_range("beam_size", beam_size, 1, WIDEST)
        _check_range("num_best", num_best, 1, beam_size)
        if max_length is not None:
            _check_range("max_length", max_length, 1, self.max_length)
        ids = self._encode(sentences)
        results = [[Hypothesis("", 0.0)] for _ in ids]
        waiting: dict[int, list[int]] = {}
        for number, row in enumerate(ids):
            if len(row) > 1:
                waiting.setdefault(self._bucket(len(row)), []).append(number)
        for bucket, numbers in sorted(waiting.items()):
            limit = max_length or min(2 * bucket, self.max_length)
            search = _search(self.model, limit, beam_size, length_penalty)
            for chunk in _chunks(numbers):
                source = _pad([ids[number] for number in chunk], bucket)
                found = jax.device_get(search(self.params, source))
                for row, number in enumerate(chunk):
                    results[number] = self._hypotheses(found, row, num_best)
        return results

    def attention(self, source: str, target: str) -> AttentionMaps:
        """Returns where every attention of the model looks, given both sentences.

        A target that is longer than the model can write is cut.

        Raises:
            InputError: a sentence is empty, or the source is too long.
        """
        (source_ids,) = self._encode([source])
        (target_ids,) = self.tokenizer.encode([target])
        target_ids = [*target_ids, self.tokenizer.eos_id][: self.max_length]
        if len(source_ids) == 1 or len(target_ids) == 1:
            raise InputError("attention needs a source and a target that are not empty")
        inputs = [self.tokenizer.start_id, *target_ids[:-1]]
        maps = _look(self.model)(
            self.params,
            _pad([source_ids], self._bucket(len(source_ids))),
            _pad([inputs], self._bucket(len(inputs))),
        )
        weights = {}
        for path, leaf in jax.device_get(maps).items():
            queries = len(source_ids) if path.startswith("encoder") else len(inputs)
            own = path.endswith("self_attention")
            keys = queries if own else len(source_ids)
            weights[path] = leaf[0, :, :queries, :keys]
        return AttentionMaps(
            weights,
            [*self.tokenizer.pieces(source), "</s>"],
            [*self.tokenizer.pieces(target), "</s>"][: self.max_length],
        )

    def _encode(self, sentences):
        """Returns the tokens of every sentence, with the end of sentence."""
        ids = []
        for number, tokens in enumerate(self.tokenizer.encode(sentences), start=1):
            if len(tokens) + 1 > self.max_length:
                raise InputError(
                    f"sentence {number} has {len(tokens) + 1} tokens, more than the "
                    f"{self.max_length} that the model was trained for; split it"
                )
            ids.append([*tokens, self.tokenizer.eos_id])
        return ids

    def _bucket(self, length):
        """Returns the length a sentence is padded to: 16, doubled until it fits."""
        bucket = SHORTEST
        while bucket < length:
            bucket *= 2
        return min(bucket, self.max_length)

    def _hypotheses(self, found: Hypotheses, row: int, num_best: int):
        scores = found.scores[row, :num_best]
        texts = self.tokenizer.decode(np.asarray(found.tokens[row, :num_best]))
        return [
            Hypothesis(text, float(score))
            for text, score in zip(texts, scores, strict=True)
            if score > IMPOSSIBLE
        ]


@lru_cache(maxsize=64)
def _search(model, max_length, beam_size, length_penalty):
    """Returns the jitted search; jax keeps a compilation for each shape of source."""
    if beam_size == 1:
        search = partial(greedy_search, length_penalty=length_penalty)
    else:
        search = partial(
            beam_search, num_hypotheses=beam_size, length_penalty=length_penalty
        )
    return jax.jit(lambda params, source: search(model, params, source, max_length))


@lru_cache(maxsize=8)
def _look(model):
    return jax.jit(partial(attention_maps, model))


def _chunks(numbers: list[int]) -> Iterator[list[int]]:
    """Yields at most as many at once as the largest of ROWS; the last is repeated.

    Repeated rather than padded, because a row of nothing might never end.
    """
    for first in range(0, len(numbers), ROWS[-1]):
        chunk = numbers[first : first + ROWS[-1]]
        size = min(rows for rows in ROWS if rows >= len(chunk))
        yield chunk + chunk[-1:] * (size - len(chunk))


def _pad(rows: list[list[int]], length: int) -> jax.Array:
    """Returns the rows under one length, with padding at the end."""
    padded = np.zeros((len(rows), length), np.int32)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return jnp.asarray(padded)


def _check_range(name: str, value: int, low: int, high: int):
    if not low <= value <= high:
        raise InputError(f"{name} is {value}, but must be from {low} to {high}")
