"""How likely a model finds translations that are given to it."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np

from zoo.data.text_tokens import TextTokens
from zoo.decoding import Decodable, score_pairs
from zoo.translation.requests import encode, encode_targets
from zoo.translation.search import bucket, chunks, pad

SCORED = 8  # pairs at once, since each holds its logits of the whole vocabulary


def score_targets(
    model: Decodable,
    params: Any,
    tokenizer: TextTokens,
    sources: Sequence[str],
    targets: Sequence[str],
    max_length: int,
    length_penalty: float,
) -> list[float]:
    """Returns the score of each target as a translation of its source.

    What every translation begins with, such as the name of a language, is no choice of
    the model's, and counts for neither probability nor length.

    Args:
        max_length: of a sentence in tokens, end of sentence included.
        length_penalty: α; log-probabilities in nats over length^α.

    Raises:
        InputError: a sentence is longer.
    """
    if len(sources) != len(targets):
        raise ValueError(
            f"{len(sources)} sources need as many targets, not {len(targets)}"
        )
    source_ids = encode(tokenizer, sources, max_length, "source")
    target_ids = encode_targets(tokenizer, targets, max_length)
    shapes = [
        (bucket(len(source), max_length), bucket(len(target), max_length))
        for source, target in zip(source_ids, target_ids, strict=True)
    ]
    (given_start,) = tokenizer.encode_targets([""])
    start, pad_id, first = model.start_id, model.pad_id, len(given_start)
    scores = [0.0] * len(shapes)
    for (source_length, target_length), numbers in chunks(shapes, SCORED):
        labels = [target_ids[number] for number in numbers]
        log_probs = _jitted(model)(
            params,
            pad([source_ids[number] for number in numbers], source_length, pad_id),
            pad([[start, *row[:-1]] for row in labels], target_length, pad_id),
            pad(labels, target_length, pad_id),
        )
        totals = np.asarray(log_probs)[:, first:].sum(axis=1)
        for number, row, total in zip(numbers, labels, totals, strict=True):
            scores[number] = float(total) / (len(row) - first) ** length_penalty
    return scores


@lru_cache(maxsize=8)
def _jitted(model):
    return jax.jit(partial(score_pairs, model))
