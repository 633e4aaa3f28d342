"""The page on which a reader sees where a translator looked."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from zoo.decoding.watching import Watched
from zoo.errors import InputError
from zoo.translation.translator import Hypothesis, Translator
from zoo.viewer.page import save
from zoo.viewer.sentences import Sentence, Step, sentences_page

BEAM_SIZE = 4


def view(translator: Translator, source: str, target: str | None, path: Path) -> str:
    """Writes the page of a source; returns the best of what was written from it.

    Args:
        target: the one sentence to show; None shows all that a beam finds, and how.

    Raises:
        InputError: the model has no attention, or a sentence is empty or too long.
    """
    steps: list[Step] = []
    found = [Hypothesis(target, 0.0)] if target else []
    if target is None:
        found, steps = watched_search(translator, source)
    if not found:
        raise InputError("nothing was written, so that there is nothing to show")
    if (written := page_of(translator, source, found, steps)) is None:
        raise InputError(
            f"{type(translator.model).__name__} has no attention to show; choose a "
            "model with attention"
        )
    save(written, path)
    return found[0].text


def page_of(
    translator: Translator,
    source: str,
    found: Sequence[Hypothesis],
    steps: Sequence[Step] = (),
) -> str | None:
    """Returns the page of what was written from a source, the best first.

    None if the model has no attention.

    Args:
        steps: of the search; scores are shown where there was one, or several texts.

    Raises:
        InputError: a sentence is empty or too long.
    """
    looked = [translator.attention(source, x.tokens or x.text) for x in found]
    if not looked[0].weights:
        return None
    searched = bool(steps) or len(found) > 1
    sentences = [
        Sentence(
            x.text, maps.target_pieces, maps.weights, x.score if searched else None
        )
        for x, maps in zip(found, looked, strict=True)
    ]
    return sentences_page(source, looked[0].source_pieces, sentences, steps=steps)


def watched_search(
    translator: Translator, source: str, beam_size: int = BEAM_SIZE
) -> tuple[list[Hypothesis], list[Step]]:
    """Returns the translations of a beam that are not empty, and its steps."""
    tokenizer = translator.tokenizer
    heard: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def listen(position, tokens, log_probs):
        heard[int(position)] = np.asarray(tokens[0]), np.asarray(log_probs[0])

    watched = Translator(
        Watched(translator.model, tokenizer.vocab_size, listen),
        translator.params,
        tokenizer,
        translator.max_length,
    )
    (found,) = watched.translate([source], beam_size=beam_size, num_best=beam_size)
    jax.effects_barrier()
    found = [hypothesis for hypothesis in found if hypothesis.text]
    best = found[0].tokens if found else ()
    steps = []
    for position, (tokens, log_probs) in sorted(heard.items()):
        written = tokens[:, :position].tolist()
        if position > 0:
            began = [tuple(row) == best[:position] for row in written]
            steps.append(Step(tokenizer.decode(written), log_probs.tolist(), began))
    return found, steps
