import warnings
from dataclasses import replace

import numpy as np
import pytest

from zoo import plots
from zoo.looks import Look, Seen, looks_of_answer, pale
from zoo.overlays import HEAT, overlay, sheet, wrapped

PICTURE = np.full((40, 60, 3), 200, np.uint8)
PEAK = np.eye(6)[4]
SEEN = Seen(
    PICTURE,
    "what is there?",
    "a cat",
    0.625,
    looks_of_answer({"glimpse 1": PEAK, "glimpse 2": np.full(6, 1 / 6)}),
    (2, 3),
    "a cat",
    np.array([0.5, 1 / 3, 1, 1]),
    right=True,
)


def columns(figure):
    """Returns the axes of each row; the last one of all is the legend's."""
    grid = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    width = grid[0].get_gridspec().ncols
    return [grid[start : start + width] for start in range(0, len(grid), width)]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_a_row_is_text_and_picture_and_a_map_for_each_glimpse():
    figure = sheet([SEEN, SEEN])
    rows = columns(figure)
    assert [len(row) for row in rows] == [4, 4]
    titles = [axes.get_title() for axes in rows[0]]
    assert titles == ["", "picture", "glimpse 1", "glimpse 2"]
    assert not any(axes.get_title() for axes in rows[1])
    np.testing.assert_array_equal(rows[0][1].images[0].get_array(), PICTURE)


def test_attention_lies_over_the_whole_picture_row_by_row():
    axes = columns(overlay(SEEN))[0][2]
    base, heat = axes.images
    assert base.get_extent() == heat.get_extent() == [0, 60, 40, 0]
    np.testing.assert_array_equal(heat.get_array(), [[0, 0, 0], [0, 1, 0]])
    assert heat.get_clim() == (0, 1)


def test_a_uniform_map_is_pale_and_a_sharp_one_is_not():
    _, _, sharp, flat = columns(overlay(SEEN))[0]
    assert sharp.images[1].get_array().max() == 1
    np.testing.assert_allclose(flat.images[1].get_array(), 0.25)


def test_the_numbers_below_a_map_are_its_largest_weight_and_its_mass_in_the_box():
    _, _, sharp, flat = columns(overlay(SEEN))[0]
    assert sharp.get_xlabel() == "max 100%, in box 100%"
    # Two of six cells.
    assert flat.get_xlabel() == "max 17%, in box 33%"
    _, picture, sharp, _ = columns(overlay(replace(SEEN, box=np.full(4, np.nan))))[0]
    assert sharp.get_xlabel() == "max 100%"
    assert not picture.patches


def test_the_box_is_outlined_on_the_picture_and_on_every_map():
    _, *drawn = columns(overlay(SEEN))[0]
    for axes in drawn:
        (outline,) = axes.patches
        assert outline.get_bbox().bounds == pytest.approx((20, 20, 40, 20))
        assert not outline.get_fill()


def test_the_text_says_whether_the_answer_is_right():
    def lines(**changes):
        return texts(columns(sheet([replace(SEEN, **changes)]))[0][0])

    assert lines() == ["what is there?", "✓ a cat  62.5%"]
    wrong = ["what is there?", "✗ a cat  62.5%", "true: two dogs"]
    assert lines(answer="two dogs", right=False) == wrong
    assert lines(answer="cat") == lines()  # which other annotators said
    assert lines(answer=None, right=None) == ["what is there?", "a cat  62.5%"]


def test_text_is_never_markup_and_every_script_has_glyphs(tmp_path):
    # What Matplotlib cannot parse or draw would raise, or warn.
    case = replace(
        SEEN, question="$\\frac{ 사진 ねこ $ x_1^2 é", predicted="$", answer="_"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.save(sheet([case]), tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 0


def test_a_long_question_wraps_and_ends():
    lines = wrapped("what is " + "the very " * 100 + "end?").split("\n")
    assert len(lines) == 6
    assert max(map(len, lines)) <= 26
    assert lines[-1].endswith("…")
    assert wrapped("a" * 60).count("\n") == 2
    assert wrapped("a\x00b\nc\td\u200b") == "ab c d"


def test_a_row_has_room_for_its_text():
    case = replace(SEEN, question="the very " * 100, answer="no " * 100)
    figure = sheet([case, SEEN])
    figure.draw_without_rendering()
    above, below = (row[0] for row in columns(figure))
    lowest = min(text.get_window_extent().y0 for text in above.texts)
    highest = max(text.get_window_extent().y1 for text in below.texts)
    assert lowest > highest


def test_text_does_not_run_into_the_picture():
    figure = sheet([replace(SEEN, question="W" * 200)])
    figure.draw_without_rendering()
    text, picture = columns(figure)[0][:2]
    assert text.texts[0].get_window_extent().x1 < picture.get_window_extent().x0


def test_a_model_without_attention_has_its_sheet_too():
    figure = sheet([replace(SEEN, looks=[])])
    (row,) = columns(figure)
    assert len(row) == 2
    assert len(figure.axes) == 2, "no legend of colours that are not there"


def test_more_attention_is_darker_and_denser_on_any_picture():
    colours = HEAT(np.linspace(0, 1, 11))
    assert (np.diff(colours[:, 3]) > 0).all()
    for level in (0, 128, 255):
        grey = pale(np.full((1, 1, 3), level, np.uint8))[0, 0] / 255
        assert 0.4 < grey <= 1
        shown = colours[:, :3] * colours[:, 3:] + grey * (1 - colours[:, 3:])
        distance = np.linalg.norm(shown - grey, axis=1)
        assert (np.diff(distance) > 0).all()
        assert distance[-1] > 0.5


def test_yellow_on_white_is_seen_in_grey():
    white, yellow = np.array([[[247, 247, 247]], [[255, 255, 0]]], np.uint8)
    assert pale(white[None])[0, 0] > pale(yellow[None])[0, 0] + 25


@pytest.mark.parametrize(
    ("cases", "fault"),
    [
        ([], "one question or more"),
        ([SEEN, replace(SEEN, looks=[])], "the same maps"),
    ],
)
def test_what_makes_no_sheet_is_refused(cases, fault):
    with pytest.raises(ValueError, match=fault):
        sheet(cases)


def test_weights_of_another_grid_are_refused():
    fault = r"glimpse 1: weights of shape \(1, 6\) for 1 words and 9 cells"
    with pytest.raises(ValueError, match=fault):
        replace(SEEN, grid=(3, 3))
    nobody = Look("glimpse 1", [], np.zeros((0, 6)))
    with pytest.raises(ValueError, match="for 0 words and 6 cells"):
        replace(SEEN, looks=[nobody])
