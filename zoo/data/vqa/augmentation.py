"""Changes of pictures, at random, that cannot change an answer.

Which of them are safe depends on what is asked: a mirror makes a left of a right, and a
picture in which distances are compared must not move against its border. So a source
names its own, or none.
"""

import numpy as np
from jaxtyping import UInt8

from zoo.data.vqa.easy_vqa import background_of, box_of, differs_from

_LIGHT = 0.05  # of brightness and contrast, up or down


def mirrored_and_moved(
    images: UInt8[np.ndarray, "B Y X C"], generator: np.random.Generator
) -> UInt8[np.ndarray, "B Y X C"]:
    """Returns images of one shape on a plain background with the shape elsewhere.

    Half of them are mirrored left to right, then the shape moves to any place at which
    it is whole; one that touches the border may be cut off by it, and so stays there.
    No image is turned upside down, as no triangle of easy-VQA is.
    """
    _, height, width, _ = images.shape
    background = background_of(images)
    boxes = box_of(differs_from(background, images))
    changed = np.broadcast_to(background[:, None, None], images.shape).copy()
    for number, (top, left, bottom, right) in enumerate(boxes.tolist()):
        shape = images[number, top:bottom, left:right]
        if generator.random() < 0.5:
            shape, left = shape[:, ::-1], width - right
        rows, columns = shape.shape[:2]
        top = _new_place(top, rows, height, generator)
        left = _new_place(left, columns, width, generator)
        changed[number, top : top + rows, left : left + columns] = shape
    return changed


def _new_place(
    first: int, size: int, length: int, generator: np.random.Generator
) -> int:
    """Returns where a shape begins on an axis: anywhere, if it touches no end now."""
    if first == 0 or first + size == length:
        return first
    return int(generator.integers(length - size, endpoint=True))


def in_other_light(
    images: UInt8[np.ndarray, "B Y X C"], generator: np.random.Generator
) -> UInt8[np.ndarray, "B Y X C"]:
    """Returns images a little brighter or darker, and with more or less contrast.

    All channels of a pixel change alike, so that no channel overtakes another, and none
    by more than 25 levels: white stays above 229 and black below 14 of 255, as colours
    are asked for.
    """
    brightness, contrast = generator.uniform(1 - _LIGHT, 1 + _LIGHT, (2, len(images)))
    means = images.mean(axis=(1, 2, 3))
    changed = np.empty_like(images)
    for number, image in enumerate(images):
        levels = means[number] + contrast[number] * (np.arange(256) - means[number])
        levels = np.rint(np.clip(levels * brightness[number], 0, 255))
        changed[number] = levels.astype(np.uint8)[image]
    return changed
