"""Questions about pictures in a real browser."""

from dataclasses import replace

import numpy as np
import pytest

from tests.viewer.hostile import HOSTILE
from zoo.looks import Look, Seen, pale
from zoo.viewer.page import visible
from zoo.viewer.pictures import pictures_page

RNG = np.random.default_rng(1)
GRID = (2, 3)
WORDS = ["(the answer)", "what", "is", "red"]
PICTURE = RNG.integers(0, 256, (20, 30, 3), np.uint8)


def weights(count):
    return RNG.dirichlet(np.full(6, 0.5), size=count).astype(np.float32)


GLIMPSE = Look("glimpse 1", WORDS[:1], weights(1))
STREAM = Look("layer 2, head 1", WORDS, 0.5 * weights(4))
GUIDED = Look("guided layer 1", WORDS[1:], RNG.dirichlet([1] * 3, 6).T, by_cells=True)
RED = Seen(PICTURE, "what is red?", "cat", 0.625, [GLIMPSE, STREAM, GUIDED], GRID)
LOOK = Look("x", ["a"], weights(1))
WHERE = Seen(PICTURE, "where?", "here", 0.5, [LOOK], GRID, "up", right=False)


def cells(page):
    """Returns what a screen reader hears of every cell, in percent."""
    names = page.get_by_role("gridcell").evaluate_all(
        "cells => cells.map(x => x.getAttribute('aria-label'))"
    )
    assert names[4].startswith("row 2, column 2: ")
    return [float(name.rpartition(": ")[2].removesuffix("\u00a0%")) for name in names]


def choose(page, label):
    page.get_by_role("radio", name=label, exact=True).check(force=True)


def near(shown, expected):
    np.testing.assert_allclose(np.divide(shown, 100), expected, atol=6e-4)


def test_every_look_shows_the_weights_of_every_word(open_page):
    page = open_page(pictures_page("x", [RED]))
    for look in RED.looks:
        choose(page, look.name)
        for number, word in enumerate(look.looking):
            if len(look.looking) > 1:
                page.get_by_role("option", name=word).click()
            near(cells(page), look.weights[number])
            assert word in page.locator(".summary").inner_text()


def test_a_cell_is_the_denser_the_more_it_is_looked_at(open_page):
    page = open_page(pictures_page("x", [RED]))
    depths = page.locator(".cell").evaluate_all(
        "cells => cells.map(x => +x.style.getPropertyValue('--depth'))"
    )
    expected = GLIMPSE.weights[0] / max(GLIMPSE.weights.max(), 4 / 6)
    np.testing.assert_allclose(depths, expected, atol=1e-3)


def test_arrow_keys_move_over_the_picture_and_a_cell_shows_who_looks(open_page):
    page = open_page(pictures_page("x", [RED]))
    choose(page, STREAM.name)
    page.get_by_role("gridcell").nth(0).focus()
    steps = [("ArrowRight", 1), ("ArrowDown", 4), ("ArrowLeft", 3), ("ArrowLeft", 3)]
    for key, cell in [*steps, ("End", 5), ("ArrowDown", 5), ("ArrowUp", 2)]:
        page.keyboard.press(key)
        shown = page.locator(".token span").all_inner_texts()
        near([float(x[:-2]) for x in shown], STREAM.weights[:, cell])
        place = f"row {cell // 3 + 1}, column {cell % 3 + 1}"
        assert page.locator(".summary").inner_text().startswith(place)


def test_a_finger_chooses_a_word_on_a_phone(open_page):
    size = {"width": 390, "height": 800}
    html = pictures_page("x", [RED, WHERE])
    page = open_page(html, viewport=size, has_touch=True, is_mobile=True)
    page.get_by_text(STREAM.name, exact=True).tap()
    page.get_by_role("option", name="red").tap()
    page.locator(".hint").tap()
    near(cells(page), STREAM.weights[3])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_another_question_has_its_own_answer_and_look(open_page):
    page = open_page(pictures_page("x", [RED, WHERE]))
    assert page.locator(".answers").inner_text() == "cat 62.5\u00a0%"
    choose(page, "where?")
    assert page.locator("h2").inner_text() == "where?"
    assert page.locator(".answers").inner_text() == "✗ here 50.0\u00a0%; true: up"
    near(cells(page), WHERE.looks[0].weights[0])


def test_what_scores_as_right_needs_not_be_the_commonest_answer(open_page):
    page = open_page(pictures_page("x", [replace(WHERE, right=True)]))
    assert page.locator(".answers").inner_text() == "✓ here 50.0\u00a0%"


def test_the_named_object_is_outlined_and_what_lies_in_it_is_told(open_page):
    # The right half of the lower row: of three cells a half, and all of the last.
    boxed = replace(WHERE, box=np.array([0.5, 0.5, 1.0, 1.0]))
    page = open_page(
        pictures_page("x", [boxed, replace(WHERE, box=np.full(4, np.nan))])
    )
    mass = WHERE.looks[0].weights[0] @ [0, 0, 0, 0, 0.5, 1]
    assert (
        f"; {100 * mass:.1f}\u00a0% in the box" in page.locator(".summary").inner_text()
    )
    frame, box = (page.locator(x).bounding_box() for x in (".grid", ".box"))
    for side, place in [("width", "x"), ("height", "y")]:
        assert box[side] == pytest.approx(frame[side] / 2, abs=1)
        assert box[place] == pytest.approx(frame[place] + frame[side] / 2, abs=1)
    page.locator(".gallery input").nth(1).check(force=True)
    assert page.locator(".box").count() == 0
    assert "in the box" not in page.locator(".summary").inner_text()


def test_the_picture_is_in_the_page_once_and_unchanged_and_once_pale(open_page):
    html = pictures_page("x", [RED, WHERE])
    assert html.count("image/png") == 2
    page = open_page(html)
    grey = np.repeat(pale(PICTURE)[..., None], 3, axis=-1)
    for name, wanted in (("img.original", PICTURE), (".frame img", grey)):
        pixels = page.locator(name).evaluate(
            """async image => {
                await image.decode();
                const canvas = document.createElement("canvas");
                canvas.width = image.naturalWidth;
                canvas.height = image.naturalHeight;
                const pen = canvas.getContext("2d");
                pen.drawImage(image, 0, 0);
                return [...pen.getImageData(0, 0, canvas.width, canvas.height).data];
            }"""
        )
        shown = np.reshape(pixels, (20, 30, 4))[..., :3]
        np.testing.assert_array_equal(shown, wanted)


@pytest.mark.parametrize("javascript", [True, False])
def test_hostile_words_are_shown_and_nothing_else_happens(open_page, javascript):
    looks = [
        Look(word, HOSTILE, np.full((len(HOSTILE), 6), 1 / 6, np.float32))
        for word in HOSTILE
    ]
    asked = [
        Seen(PICTURE, word, word, 1.0, looks[:1], GRID, word + "x") for word in HOSTILE
    ]
    asked[0] = replace(asked[0], looks=looks)
    html = pictures_page("</title><script>window.hacked=1</script>.png", asked)
    page = open_page(html, java_script_enabled=javascript)
    expected = [*map(visible, HOSTILE)]
    if not javascript:
        shown = page.locator("#static td:first-child").evaluate_all
        assert shown("cells => cells.map(x => x.textContent)") == expected
        return
    assert (
        page.locator(".token bdi").evaluate_all(
            "words => words.map(x => x.textContent)"
        )
        == expected
    )
    for number in range(len(HOSTILE)):
        page.locator(".gallery input").nth(number).check(force=True)
        assert page.locator("h2").evaluate("x => x.textContent") == expected[number]
    assert page.locator("script").count() == 2
    assert page.locator("svg, iframe, a, base, [onerror], [onload]").count() == 0


def test_a_page_without_a_question_is_refused():
    with pytest.raises(ValueError, match="no question"):
        pictures_page("x", [])
