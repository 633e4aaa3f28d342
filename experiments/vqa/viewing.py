"""The page on which a reader sees where a model looked at pictures.

What a map of a model means is told by its path and its shape. Where words and regions
stand in one line, the regions come last and the words, after a start token if there is
one, come first.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from experiments.vqa.drawing import seen_of, widened
from zoo.data.vqa.examples import VisualQuestions
from zoo.data.vqa.words import QuestionWords
from zoo.errors import InputError
from zoo.looks import ANSWER, Look, Seen, looks_of_answer
from zoo.models.contract import Seq2Seq
from zoo.models.visual_contract import region_grid
from zoo.viewer.page import save
from zoo.viewer.pictures import pictures_page
from zoo.visual.answerer import Answer, VisualAnswerer
from zoo.visual.images import for_drawing

# How the modules are called from which an answer, a word or a region looks.
NAMES = {
    "glimpses": "glimpse",
    "region_pooling": "glimpse",
    "decoder": "decoder layer",
    "blocks": "layer",
    "encoder": "encoder layer",
    "region_blocks": "guided layer",
}


def view_sheet(
    answerer: VisualAnswerer,
    questions: VisualQuestions,
    places: Sequence[int],
    path: Path,
) -> None:
    """Writes the page of some questions, the model's answers and where it looked.

    Raises:
        InputError: the model has no attention to show.
    """

    def looks(chosen):
        return [
            looks_of(answerer, chosen.images[int(chosen.image_of[n])], question)
            for n, question in enumerate(chosen.questions)
        ]

    asked = seen_of(answerer, questions, places, looks)
    write(asked, "Questions about pictures", path)


def view_answer(
    answerer: VisualAnswerer, image: Path, question: str, path: Path
) -> None:
    """Writes the page of a user's own picture.

    Raises:
        InputError: the model has no attention to show.
    """
    best = answerer.answer(image, question)[0]
    write([asked_of(answerer, image, question, best)], image.name, path)


def asked_of(
    answerer: VisualAnswerer, image: Path, question: str, best: Answer
) -> Seen:
    """Returns what a page shows of a user's own picture and its best answer."""
    seen = answerer.sight.see(image)
    return Seen(
        picture=widened(for_drawing(image), seen.shape, answerer.cell_size),
        grid=answerer.grid_of(image),
        question=question,
        predicted=best.text,
        probability=best.probability,
        looks=looks_of(answerer, seen, question),
    )


def write(asked: Sequence[Seen], title: str, path: Path) -> None:
    """Writes a page; raises InputError if there is no attention to show."""
    if not all(one.looks for one in asked):
        raise InputError(
            "this model has no attention to show; choose a model with attention"
        )
    save(pictures_page(title, asked), path)


def looks_of(answerer: VisualAnswerer, image: np.ndarray, question: str) -> list[Look]:
    """Returns every look at the regions, those of the answer first.

    Of a model that reads pieces of words, those of the answer only.

    Args:
        image: as the model sees it.
    """
    if not isinstance(answerer.reader, QuestionWords):
        return looks_of_answer(answerer.look(image, question))
    tokenizer = answerer.reader.tokenizer
    ids = answerer.reader.encode([question])
    maps = maps_of(answerer.model)(answerer.params, image[None], ids[None])
    read = [[word] for word in ids[0].tolist() if word != tokenizer.pad_id]
    words = tokenizer.decode(read)
    rows, columns = region_grid(answerer.model, image.shape)
    found = []
    for path, weights in jax.device_get(maps).items():
        module, number = _module(path)
        if module not in NAMES:
            continue
        looks = _looks(
            f"{NAMES[module]} {number}",
            np.asarray(weights, np.float32),
            words,
            num_regions=rows * columns,
            num_words=ids.shape[1],
            within=path.endswith("self_attention"),
        )
        order = list(NAMES).index(module), number
        found += [(*order, place, look) for place, look in enumerate(looks)]
    return [look for *_, look in sorted(found, key=lambda x: x[:3])]


def _module(path: str) -> tuple[str, int]:
    """Returns the name of a module and its number, from 1."""
    name = path.partition("/")[0]
    stem, _, digits = name.rpartition("_")
    return (stem, int(digits) + 1) if digits.isdigit() else (name, 1)


def _looks(
    name: str,
    weights: np.ndarray,
    words: list[str],
    num_regions: int,
    num_words: int,
    within: bool,
) -> list[Look]:
    """Returns the looks of a map [heads, queries, keys]: mean, then head by head.

    None of a map in which regions look at each other, or words at words.

    Args:
        within: whether it is self-attention, of as many words as regions perhaps.
    """
    _, queries, keys = weights.shape
    by_cells = not within and (queries, keys) == (num_regions, num_words)
    if by_cells:
        looking, weights = words, weights.transpose(0, 2, 1)[:, : len(words)]
    elif queries == 1 and keys >= num_regions:
        looking, weights = [ANSWER], weights[:, :, -num_regions:]
    elif queries == keys and queries >= num_regions + num_words:
        start = queries - num_regions - num_words
        looking = [ANSWER] * start + words
        weights = weights[:, : len(looking), -num_regions:]
    else:
        return []
    heads = [
        Look(f"{name}, head {number}", looking, head, by_cells)
        for number, head in enumerate(weights, start=1)
    ]
    if len(heads) == 1:
        return [Look(name, looking, weights[0], by_cells)]
    return [Look(f"{name}, mean", looking, weights.mean(axis=0), by_cells), *heads]


@lru_cache(maxsize=4)
def maps_of(model: Any) -> Any:
    """Returns the jitted function that gives every map of attention by its path."""

    @jax.jit
    def maps(params, image, questions):
        arguments = image, questions
        if isinstance(model, Seq2Seq):
            arguments = arguments, jnp.full((1, 1), model.start_id, jnp.int32)
        variables = {"params": params}
        _, collected = model.apply(variables, *arguments, mutable=["intermediates"])
        flat = flatten_dict(collected.get("intermediates", {}))
        return {
            "/".join(path[:-1]): sown[0][0]
            for path, sown in flat.items()
            if path[-1] == "weights"
        }

    return maps
