"""What is asked about a picture is still so in the changed one."""

from pathlib import Path

import easy_vqa
import numpy as np
import pytest

from zoo.data.vqa.augmentation import in_other_light, mirrored_and_moved
from zoo.data.vqa.easy_vqa import background_of, box_of, differs_from
from zoo.data.vqa.examples import ImageFiles, decoded
from zoo.data.vqa.sources import EasyVqaData, ShapesData, SortOfClevrData


@pytest.fixture(scope="module")
def images():
    folder = Path(easy_vqa.__file__).parent / "data" / "test" / "images"
    return decoded(ImageFiles([folder / f"{n}.png" for n in range(200)], (64, 64, 3)))


def boxes_of(images):
    return box_of(differs_from(background_of(images), images))


def shape_in(image, box):
    top, left, bottom, right = box
    return image[top:bottom, left:right].tolist()


def test_a_shape_is_elsewhere_but_the_same(images):
    changed = mirrored_and_moved(images, np.random.default_rng(0))
    assert changed.dtype == np.uint8
    before, after = boxes_of(images), boxes_of(changed)
    np.testing.assert_array_equal(background_of(images), background_of(changed))
    mirrored = 0
    for image, box, other, other_box in zip(
        images, before, changed, after, strict=True
    ):
        shape, new = shape_in(image, box), shape_in(other, other_box)
        if shape != new:
            mirrored += 1
            assert [row[::-1] for row in shape] == new
    # Circles and rectangles are mostly their own mirror images.
    assert mirrored > 0
    moved = (before[:, :2] != after[:, :2]).any(axis=1)
    assert moved.mean() > 0.9
    # Everywhere: the mean place is the middle.
    free = 64 - (after[:, 2:] - after[:, :2])
    np.testing.assert_allclose((after[:, :2] / free).mean(axis=0), 0.5, atol=0.08)


def test_a_shape_at_the_border_stays_there(images):
    boxes = boxes_of(images)
    after = boxes_of(mirrored_and_moved(images, np.random.default_rng(0)))
    at_top, at_bottom = boxes[:, 0] == 0, boxes[:, 2] == 64
    assert at_top.any()
    assert at_bottom.any()
    assert (after[at_top, 0] == 0).all()
    assert (after[at_bottom, 2] == 64).all()
    # A mirror brings what is on the left to the right.
    at_left = boxes[:, 1] == 0
    now_left, now_right = after[at_left, 1] == 0, after[at_left, 3] == 64
    assert (now_left | now_right).all()
    assert now_left.any()
    assert now_right.any()


def test_half_of_the_shapes_are_mirrored():
    # A hook whose upper left corner is filled, and the upper right one is not.
    image = np.full((9, 9, 3), 250, np.uint8)
    image[3:6, 3] = image[5, 3:6] = 0
    changed = mirrored_and_moved(np.stack([image] * 200), np.random.default_rng(0))
    boxes = boxes_of(changed)
    upper_left = changed[np.arange(200), boxes[:, 0], boxes[:, 1]]
    assert 0.4 < (upper_left == 0).all(axis=1).mean() < 0.6


def test_an_empty_picture_stays_empty():
    black = np.zeros((2, 8, 8, 3), np.uint8)
    assert not mirrored_and_moved(black, np.random.default_rng(0)).any()


def test_in_other_light_no_channel_overtakes_another():
    generator = np.random.default_rng(0)
    images = generator.integers(256, size=(20, 8, 9, 3), dtype=np.uint8)
    changed = in_other_light(images, generator)
    assert changed.dtype == np.uint8
    assert (changed != images).any(axis=(1, 2, 3)).all()
    for one, other in ((0, 1), (1, 2), (0, 2)):
        before = np.sign(images[..., one].astype(int) - images[..., other])
        after = np.sign(changed[..., one].astype(int) - changed[..., other])
        assert ((after == before) | (after == 0)).all()


def test_other_light_is_mild():
    generator = np.random.default_rng(0)
    images = generator.integers(90, 160, size=(50, 8, 9, 3), dtype=np.uint8)
    changed = in_other_light(images, generator)
    ratio = changed.mean(axis=(1, 2, 3)) / images.mean(axis=(1, 2, 3))
    assert ratio.min() == pytest.approx(0.95, abs=0.01)
    assert ratio.max() == pytest.approx(1.05, abs=0.01)
    contrast = changed.std(axis=(1, 2, 3)) / images.std(axis=(1, 2, 3)) / ratio
    assert contrast.min() == pytest.approx(0.95, abs=0.01)
    assert contrast.max() == pytest.approx(1.05, abs=0.01)


@pytest.mark.parametrize("rest", [0, 90, 128, 255])
def test_in_other_light_white_is_no_grey_and_black_is_black(rest):
    images = np.full((200, 8, 8, 3), rest, np.uint8)
    images[:, 0, 0], images[:, 0, 1] = 255, 0
    changed = in_other_light(images, np.random.default_rng(0))
    assert changed[:, 0, 0].min() > 229
    assert changed[:, 0, 1].max() < 14
    assert abs(changed.astype(int) - images).max() <= 25


def test_changes_depend_on_the_random_numbers_alone(images):
    def change(seed):
        return EasyVqaData().augment(images[:20], np.random.default_rng(seed))

    np.testing.assert_array_equal(change(1), change(1))
    assert (change(1) != change(2)).any()


@pytest.mark.parametrize("data", [SortOfClevrData(), ShapesData()])
def test_pictures_whose_places_are_asked_for_are_not_changed(data):
    images = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    same = data.augment(images, np.random.default_rng(0))
    np.testing.assert_array_equal(same, images)
