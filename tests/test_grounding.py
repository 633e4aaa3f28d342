import numpy as np
import pytest

from zoo.grounding import Grounding, grounding, hide, overlaps, points

NOWHERE = [np.nan] * 4
GRID = (2, 3)


def test_the_shares_of_cells_in_a_box_by_hand():
    # Cells are 1/2 high and 1/3 wide. From 1/4 to 1 downwards: half of the upper row,
    # all of the lower. From 1/6 to 1/2 across: half of two columns.
    shares = overlaps(np.array([[0.25, 1 / 6, 1.0, 0.5]]), GRID)
    np.testing.assert_allclose(shares, [[0.25, 0.25, 0, 0.5, 0.5, 0]], atol=1e-12)


def test_a_box_within_one_cell_overlaps_that_cell_alone():
    shares = overlaps(np.array([[0.6, 0.7, 0.8, 0.8]]), GRID)
    # A fifth of the image high in a cell of a half; a tenth wide in one of a third.
    np.testing.assert_allclose(shares, [[0, 0, 0, 0, 0, 0.4 * 0.3]], atol=1e-12)


def test_the_shares_of_many_boxes_are_those_of_counted_pixels():
    rng = np.random.default_rng(0)
    size, (rows, columns) = 60, (4, 5)
    corners = np.sort(rng.choice(size + 1, (20, 2, 2)) / size, axis=1)
    boxes = np.concatenate([corners[:, 0], corners[:, 1]], axis=1)
    for box, found in zip(boxes, overlaps(boxes, (rows, columns)), strict=True):
        ymin, xmin, ymax, xmax = np.rint(box * size).astype(int)
        picture = np.zeros((size, size))
        picture[ymin:ymax, xmin:xmax] = 1
        cells = picture.reshape(rows, size // rows, columns, size // columns)
        np.testing.assert_allclose(found, cells.mean(axis=(1, 3)).ravel(), atol=1e-9)


def test_mass_and_pointing_by_hand():
    weights = np.array(
        [
            [0.1, 0.6, 0.1, 0.0, 0.2, 0.0],
            [0.5, 0.1, 0.1, 0.1, 0.1, 0.1],
            [1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        ]
    )
    # The middle column; the lower right cell and the half beside it; nothing.
    boxes = np.array([[0, 1 / 3, 1, 2 / 3], [0.5, 0.5, 1, 1], NOWHERE])
    found = grounding(weights, boxes, GRID)
    assert found.attention_mass == pytest.approx(((0.6 + 0.2) + (0.05 + 0.1)) / 2)
    assert found.pointing_accuracy == 0.5
    assert found.uniform_mass == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert found.uniform_pointing == pytest.approx(2 / 6)
    assert found.count == 2


def test_the_largest_cell_points_if_it_merely_touches_the_box():
    weights = np.array([[0.9, 0.1, 0, 0, 0, 0]])
    touching = np.array([[0, 0.33, 1, 1]])
    beside = np.array([[0, 1 / 3 + 1e-6, 1, 1]])
    assert grounding(weights, touching, GRID).pointing_accuracy == 1
    assert grounding(weights, beside, GRID).pointing_accuracy == 0


def test_uniform_attention_gets_what_uniform_attention_gets():
    boxes = np.array([[0.1, 0.2, 0.7, 0.5], [0, 0, 0.5, 1 / 3], NOWHERE])
    found = grounding(np.full((3, 6), 1 / 6), boxes, GRID)
    assert found.attention_mass == pytest.approx(found.uniform_mass)
    assert found.pointing_accuracy == pytest.approx(found.uniform_pointing)


def test_a_random_cell_points_as_often_as_uniform_says():
    rng = np.random.default_rng(0)
    boxes = np.tile([[0.1, 0.2, 0.7, 0.5]], (4000, 1))
    found = grounding(np.eye(6)[rng.integers(6, size=4000)], boxes, GRID)
    assert found.pointing_accuracy == pytest.approx(found.uniform_pointing, abs=0.03)
    assert found.attention_mass == pytest.approx(found.uniform_mass, abs=0.01)


def test_all_attention_on_a_cell_within_the_box_is_perfect():
    found = grounding(np.eye(6)[[4]], np.array([[0, 0.3, 1, 0.7]]), GRID)
    assert found == Grounding(1, 1, found.uniform_mass, found.uniform_pointing, 1)


def test_single_precision_from_a_model_will_do():
    weights = np.full((1, 6), 1 / 6, np.float32)
    found = grounding(weights, np.array([[0, 0, 1, 1]], np.float32), GRID)
    assert found.attention_mass == pytest.approx(1)
    # Equal weights share the point, in whatever precision they are equal.
    np.testing.assert_allclose(points(weights, np.eye(6, dtype=bool)[:1]), [1 / 6])


def test_where_no_question_names_an_object_there_is_nothing_to_say():
    for weights, boxes in (
        (np.full((2, 6), 1 / 6), np.array([NOWHERE] * 2)),
        (np.zeros((0, 6)), np.zeros((0, 4))),
    ):
        with pytest.raises(ValueError, match="no question names an object"):
            grounding(weights, boxes, GRID)


@pytest.mark.parametrize(
    ("weights", "box", "fault"),
    [
        (np.full((1, 5), 0.2), [0, 0, 1, 1], "5 weights for a grid of 2 rows and 3"),
        (np.full((1, 6), 1.0), [0, 0, 1, 1], "do not sum to one"),
        (np.full((1, 6), 1 / 6), [0, 0, 64, 64], "as fractions"),
        (np.full((1, 6), 1 / 6), [0, 0.5, 1, 0.5], "as fractions"),
        (np.full((1, 6), 1 / 6), [0.5, 0, 0.2, 1], "as fractions"),
    ],
)
def test_what_cannot_be_counted_is_refused(weights, box, fault):
    with pytest.raises(ValueError, match=fault):
        grounding(weights, np.array([box], float), GRID)


def test_one_region_is_hidden_in_the_colour_of_the_border():
    images = np.zeros((2, 4, 6, 3), np.uint8)
    images[:] = [10, 20, 30]
    images[:, 1:3, 1:5] = 255
    hidden = hide(images, np.array([1, 5]), GRID)
    expected = images.copy()
    expected[0, :2, 2:4] = [10, 20, 30]
    expected[1, 2:, 4:] = [10, 20, 30]
    np.testing.assert_array_equal(hidden, expected)
    assert (images[0, 1, 1:5] == 255).all(), "the images given stay as they were"


def test_every_pixel_belongs_to_one_region_even_if_the_grid_does_not_divide_them():
    images = np.zeros((12, 7, 10, 1), np.uint8)
    images[:, 1:-1, 1:-1] = 100
    hidden = hide(images, np.arange(12), (3, 4)) != images
    # The border has the colour of the paint, so it does not change.
    assert (hidden.sum(axis=0)[1:-1, 1:-1] == 1).all()
    assert hidden.sum() == 5 * 8
    # Pixel centres 0.5 to 2.5 of 10 are in the first quarter: 0.5, 1.5; 2.5 begins it.
    assert hidden[0][1:, :, 0].any(axis=0).tolist() == [False, True] + [False] * 8
