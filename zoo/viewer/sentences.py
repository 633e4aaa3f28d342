"""Attention between sentences as a page: what is written, and where each token looks.

Choose a token on either side and the other side shows its weights in numbers and in
shades, for every layer and head, for every hypothesis of a beam. What bertviz (Vig
2019) does well is kept: one layer and head at a time on the words themselves, and all
heads small beside each other to choose from.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from zoo.viewer.page import direction, packed, page, table, visible

ENCODER, DECODER, BETWEEN = "encoder", "decoder", "between"


@dataclass(frozen=True)
class Sentence:
    """A sentence that a model wrote, and where it looked meanwhile.

    Attributes:
        pieces: what was written at each step.
        weights: [heads, queries, keys] by the path of the module, as the model's
            `attention_maps` have them.
        score: what the search gave it; None where there was no search.
    """

    text: str
    pieces: Sequence[str]
    weights: Mapping[str, Float[np.ndarray, "H Q K"]]
    score: float | None = None


@dataclass(frozen=True)
class Step:
    """What a beam held after one step, the best first.

    Attributes:
        texts: of the hypotheses that go on.
        log_probs: of each, in nats.
        began: of each, whether the best sentence began so.
    """

    texts: Sequence[str] = field(default_factory=list)
    log_probs: Sequence[float] = field(default_factory=list)
    began: Sequence[bool] = field(default_factory=list)


def sentences_page(
    source: str,
    source_pieces: Sequence[str],
    sentences: Sequence[Sentence],
    *,
    steps: Sequence[Step] = (),
) -> str:
    """Returns the HTML of one source and the sentences written from it.

    Args:
        sentences: the best first.
        steps: of the search that found them.

    Raises:
        ValueError: there is no sentence, or weights do not fit the pieces.
    """
    if not sentences:
        raise ValueError("no sentence to show: want at least one")
    for sentence in sentences:
        _check(sentence, len(source_pieces))
    data = {
        "source": {
            "pieces": [visible(piece) for piece in source_pieces],
            "direction": direction(source),
            "layers": _layers(sentences[0], ENCODER),
        },
        "sentences": [
            {
                "text": visible(sentence.text),
                "score": None if sentence.score is None else round(sentence.score, 4),
                "pieces": [visible(piece) for piece in sentence.pieces],
                "inputs": ["<s>", *map(visible, sentence.pieces[:-1])],
                "direction": direction(sentence.text),
                "layers": _layers(sentence, BETWEEN) + _layers(sentence, DECODER),
            }
            for sentence in sentences
        ],
        "steps": [
            {
                "texts": [visible(text) for text in step.texts],
                "log_probs": [round(log_prob, 3) for log_prob in step.log_probs],
                "began": list(step.began),
            }
            for step in steps
        ],
    }
    return page(
        f"{source} → {sentences[0].text}",
        data,
        script="sentences.js",
        fallback=_fallback(source_pieces, sentences[0]),
    )


def kind(path: str) -> str:
    """Returns which attention stands at a path: encoder, decoder or between."""
    if not path.endswith("self_attention"):
        return BETWEEN
    return ENCODER if path.startswith("encoder") else DECODER


def in_order(sentence: Sentence, which: str) -> list[Float[np.ndarray, "H Q K"]]:
    """Returns the weights of one kind, layer by layer."""
    paths = [path for path in sentence.weights if kind(path) == which]
    paths.sort(key=lambda path: [int(digits) for digits in re.findall(r"\d+", path)])
    return [np.asarray(sentence.weights[path], np.float32) for path in paths]


def _layers(sentence: Sentence, which: str) -> list[dict[str, Any]]:
    return [
        {"kind": which, "layer": number, "heads": len(x), "weights": packed(x)}
        for number, x in enumerate(in_order(sentence, which), start=1)
    ]


def _check(sentence: Sentence, num_source: int) -> None:
    """Raises ValueError unless every map has a row and a column for each piece."""
    num_target = len(sentence.pieces)
    shapes = {
        ENCODER: (num_source, num_source),
        DECODER: (num_target, num_target),
        BETWEEN: (num_target, num_source),
    }
    for path, weights in sentence.weights.items():
        if weights.ndim != 3 or weights.shape[1:] != shapes[kind(path)]:
            raise ValueError(
                f"{path}: weights of shape {weights.shape} for {num_target} written "
                f"and {num_source} read pieces: want [heads, queries, keys]"
            )


def _fallback(source_pieces: Sequence[str], sentence: Sentence) -> str:
    """Returns a table of where each token looks most, in the last layer between."""
    layers = in_order(sentence, BETWEEN)
    if not layers:
        return "<p>This model has no attention between the sentences.</p>"
    rows = []
    for piece, weights in zip(sentence.pieces, layers[-1].mean(axis=0), strict=True):
        most = np.argsort(-weights, kind="stable")[:2]
        looks = [f"{source_pieces[n]} ({weights[n]:.1%})" for n in most]
        rows.append([piece, *looks, *[""] * (2 - len(looks))])
    return (
        "<p>Where each token looked, in the last layer, mean of its heads.</p>"
        + table(["written", "looks most at", "then at"], rows)
    )
