"""Where a model looked while it read and wrote one pair of sentences."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np

from zoo.data.text_tokens import TextTokens
from zoo.decoding import Decodable
from zoo.errors import InputError
from zoo.models.contract import attention_maps
from zoo.translation.requests import encode
from zoo.translation.search import bucket, pad


@dataclass(frozen=True)
class AttentionMaps:
    """Where a model looked while it read and wrote one pair of sentences.

    Attributes:
        weights: by the path of the module, [heads, queries, keys], without padding.
        source_pieces: the source's subwords, end of sentence included.
        target_pieces: what is written at each step, end of sentence included if it is.
    """

    weights: dict[str, np.ndarray]
    source_pieces: list[str]
    target_pieces: list[str]

    def between(self) -> dict[str, np.ndarray]:
        """Returns the maps from target to source, layer by layer."""
        paths = [path for path in self.weights if not path.endswith("self_attention")]
        paths.sort(
            key=lambda path: [int(digits) for digits in re.findall(r"\d+", path)]
        )
        return {path: self.weights[path] for path in paths}


def look(
    model: Decodable,
    params: Any,
    tokenizer: TextTokens,
    source: str,
    target: str | Sequence[int],
    max_length: int,
) -> AttentionMaps:
    """Returns where every attention looks while the target is written.

    Args:
        target: a text, or the tokens that were written, with their end if there is one.
        max_length: in tokens, end of sentence included; a longer target is cut.

    Raises:
        InputError: a sentence is empty, or the source is too long.
    """
    (source_ids,) = encode(tokenizer, [source], max_length)
    if isinstance(target, str):
        target = [*tokenizer.encode_targets([target])[0], model.eos_id]
    target_ids = list(target)[:max_length]
    ended = target_ids[-1:] == [model.eos_id]
    written = target_ids[:-1] if ended else target_ids
    if len(source_ids) == 1 or not written:
        raise InputError("attention needs a source and a target that are not empty")
    inputs = [model.start_id, *target_ids[:-1]]
    maps = _jitted(model)(
        params,
        pad([source_ids], bucket(len(source_ids), max_length), model.pad_id),
        pad([inputs], bucket(len(inputs), max_length), model.pad_id),
    )
    weights = {}
    for path, leaf in jax.device_get(maps).items():
        queries = len(source_ids) if path.startswith("encoder") else len(inputs)
        own = path.endswith("self_attention")
        keys = queries if own else len(source_ids)
        weights[path] = leaf[0, :, :queries, :keys]
    return AttentionMaps(
        weights,
        [*tokenizer.source_tokens.labels(source_ids[:-1]), "</s>"],
        [*tokenizer.labels(written), *["</s>"] * ended],
    )


@lru_cache(maxsize=8)
def _jitted(model):
    return jax.jit(partial(attention_maps, model))
