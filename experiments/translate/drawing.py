"""Pictures of where a translator looked."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zoo.errors import InputError
from zoo.plots import attention_grid, save
from zoo.translation.translator import Translator


def draw(
    translator: Translator,
    source: str,
    target: str | Sequence[int],
    path: Path,
    *,
    layer: int | None = None,
) -> bool:
    """Draws the attention of a pair; False, and no picture, if there is none to draw.

    Args:
        target: a text, or the tokens of a hypothesis.
        layer: one decoder layer's heads apart; None shows the mean over the heads of
            every layer.

    Raises:
        InputError: there is no such layer.
    """
    if not target:
        return False
    looked = translator.attention(source, target)
    between = list(looked.between().values())
    if not between:
        return False
    if layer is None and len(between) == 1:
        maps = {"": between[0].mean(axis=0)}
    elif layer is None:
        maps = {
            f"decoder layer {number}, mean of {len(heads)} heads": heads.mean(axis=0)
            for number, heads in enumerate(between, start=1)
        }
    elif not 1 <= layer <= len(between):
        raise InputError(f"no decoder layer {layer}; there are 1 to {len(between)}")
    else:
        maps = {
            f"layer {layer}, head {number}": np.asarray(weights)
            for number, weights in enumerate(between[layer - 1], start=1)
        }
    figure = attention_grid(maps, looked.source_pieces, looked.target_pieces)
    save(figure, path)
    return True
