"""Sentences in a real browser: what is shown, by which key, and that it is true."""

import itertools

import numpy as np
import pytest

from tests.viewer.hostile import HOSTILE
from zoo.viewer.page import visible
from zoo.viewer.sentences import Sentence, Step, sentences_page

READ, WRITTEN = ["three", "red", "cats", "</s>"], ["세", "빨간", "고양이", "들", "</s>"]
LAYERS, HEADS = 2, 3
RNG = np.random.default_rng(0)


def rows(queries, keys, causal=False):
    weights = RNG.dirichlet(np.full(keys, 0.5), size=(HEADS, queries))
    if causal:
        weights = np.tril(weights) + 1e-9 * np.eye(queries)
        weights /= weights.sum(axis=-1, keepdims=True)
    return weights.astype(np.float32)


def sentence(text, pieces, num_read, score=None):
    weights = {}
    for layer in reversed(range(LAYERS)):  # in no order
        weights |= {
            f"decoder_{layer}/self_attention": rows(len(pieces), len(pieces), True),
            f"decoder_{layer}/cross_attention": rows(len(pieces), num_read),
            f"encoder_{layer}/self_attention": rows(num_read, num_read),
        }
    return Sentence(text, pieces, weights, score)


BEST = sentence("세 빨간 고양이들", WRITTEN, len(READ), -0.25)
OTHER = sentence("세 고양이", ["세", "고양이", "</s>"], len(READ), -0.5)
# What the best sentence's text begins with need not be how its tokens began.
STEPS = [
    Step(["세", "네", ""], [-0.1, -2.5, -3.0], [True, False, False]),
    Step(["세 빨", "세 빨간", "세 고양이"], [-0.1, -0.2, -0.9], [False, True, False]),
]
KINDS = {
    "written → read": "decoder_{}/cross_attention",
    "read → read": "encoder_{}/self_attention",
    "written → written": "decoder_{}/self_attention",
}


def cats():
    return sentences_page("three red cats", READ, [BEST, OTHER], steps=STEPS)


def line(page, name):
    """Returns the tokens of a line: text, percent, whether it is the chosen one."""
    return page.get_by_role("listbox", name=name, exact=True).evaluate(
        """list => [...list.children].map(x => [
            x.firstChild.textContent,
            parseFloat(x.lastChild.textContent || "0"),
            x.classList.contains("chosen")])"""
    )


def percents(page, name):
    return [number for _, number, _ in line(page, name)]


def chosen(page):
    return page.locator(".token.chosen bdi").all_inner_texts()


def token(page, name, number):
    return (
        page.get_by_role("listbox", name=name, exact=True).locator(".token").nth(number)
    )


def choose(page, label):
    page.get_by_role("radio", name=label, exact=True).check(force=True)


def test_the_numbers_shown_are_the_weights_of_every_kind_layer_and_head(open_page):
    page = open_page(cats())
    for kind, path in KINDS.items():
        choose(page, kind)
        for layer, head in itertools.product(range(LAYERS), [None, *range(HEADS)]):
            which = f"mean of {HEADS} heads" if head is None else f"head {head + 1}"
            choose(page, f"layer {layer + 1}, {which}")
            weights = BEST.weights[path.format(layer)]
            expected = weights.mean(axis=0) if head is None else weights[head]
            table = page.locator(".matrix tbody").evaluate(
                """x => [...x.rows].map(
                    row => [...row.cells].slice(1).map(cell => +cell.innerText))"""
            )
            np.testing.assert_allclose(np.array(table) / 100, expected, atol=0.00502)
            looking, looked_at = page.get_by_role("listbox").evaluate_all(
                "lists => lists.map(x => x.getAttribute('aria-label'))"
            )[::-1]
            token(page, looking, 1).click()
            shown = percents(page, looked_at)
            np.testing.assert_allclose(np.divide(shown, 100), expected[1], atol=6e-4)
            token(page, looked_at, 2).click()
            shown = percents(page, looking)
            np.testing.assert_allclose(np.divide(shown, 100), expected[:, 2], atol=6e-4)


def test_what_is_written_looks_at_what_was_written_before_it(open_page):
    page = open_page(cats())
    choose(page, "written → written")
    assert [word for word, *_ in line(page, "written before")] == ["<s>", *WRITTEN[:-1]]
    assert [word for word, *_ in line(page, "to write")] == WRITTEN


def test_keys_move_along_a_line_and_between_the_lines(open_page):
    page = open_page(cats())
    expected = BEST.weights["decoder_1/cross_attention"].mean(axis=0)
    token(page, "written", 0).focus()
    for key, number in [("ArrowRight", 1), ("End", 4), ("ArrowLeft", 3), ("Home", 0)]:
        page.keyboard.press(key)
        assert chosen(page) == [WRITTEN[number]]
        shown = np.divide(percents(page, "read"), 100)
        np.testing.assert_allclose(shown, expected[number], atol=6e-4)
    page.keyboard.press("ArrowLeft")  # the end of the line is no way out of it
    assert chosen(page) == [WRITTEN[0]]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    assert chosen(page) == [READ[1]]
    shown = np.divide(percents(page, "written"), 100)
    np.testing.assert_allclose(shown, expected[:, 1], atol=6e-4)
    page.keyboard.press("ArrowDown")
    assert chosen(page) == [WRITTEN[0]]


def test_between_the_lines_nothing_scrolls_and_the_browser_keeps_its_keys(open_page):
    page = open_page(cats(), viewport={"width": 800, "height": 300})
    token(page, "read", 0).focus()
    page.evaluate("scrollBy(0, 40)")
    page.evaluate(
        "addEventListener('keydown', x => window.stopped = x.defaultPrevented)"
    )
    for key, stopped in [("Alt+ArrowDown", False), ("ArrowDown", True)]:
        page.keyboard.press(key)
        assert page.evaluate("window.stopped") is stopped
        assert chosen(page) == [WRITTEN[0] if stopped else READ[0]]


def test_a_line_is_one_stop_of_the_tab_key_and_the_focus_is_seen(open_page):
    page = open_page(cats())
    token(page, "read", 0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    focused = "document.activeElement.firstChild.textContent"
    assert page.evaluate(focused) == WRITTEN[0]
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(focused) == READ[1]
    outline = "getComputedStyle(document.activeElement).outlineWidth"
    assert page.evaluate(outline) == "3px"


def test_heads_are_chosen_by_key_too(open_page):
    page = open_page(cats())
    page.get_by_role("radio", name="layer 2, mean of 3 heads").focus()
    page.keyboard.press("ArrowRight")
    weights = BEST.weights["decoder_1/cross_attention"][0]
    shown = np.divide(percents(page, "read"), 100)
    np.testing.assert_allclose(shown, weights[0], atol=6e-4)
    assert "layer 2, head 1" in page.locator(".summary").inner_text()


def test_a_finger_chooses_on_a_phone(open_page):
    size = {"width": 390, "height": 800}
    page = open_page(cats(), viewport=size, has_touch=True, is_mobile=True)
    token(page, "read", 2).tap()
    page.locator("h1").tap()
    assert chosen(page) == ["cats"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_mouse_shows_while_it_is_there(open_page):
    page = open_page(cats())
    token(page, "written", 2).hover()
    assert chosen(page) == ["고양이"]
    page.mouse.move(1, 1)
    assert chosen(page) == ["세"]


def test_another_sentence_has_its_own_tokens_and_weights(open_page):
    page = open_page(cats())
    page.get_by_label("세 고양이").check()
    assert [word for word, *_ in line(page, "written")] == list(OTHER.pieces)
    expected = OTHER.weights["decoder_1/cross_attention"].mean(axis=0)[0]
    shown = np.divide(percents(page, "read"), 100)
    np.testing.assert_allclose(shown, expected, atol=6e-4)


def test_the_slider_goes_through_the_search(open_page):
    page = open_page(cats())
    page.get_by_role("slider").focus()
    assert page.locator("ol li").all_inner_texts() == ["세 -0.10", "네 -2.50", "-3.00"]
    assert page.locator("ol strong").all_inner_texts() == ["세"]
    page.keyboard.press("ArrowRight")
    assert page.locator("ol li").all_inner_texts() == [
        "세 빨 -0.10",
        "세 빨간 -0.20",
        "세 고양이 -0.90",
    ]
    assert page.locator("ol strong").all_inner_texts() == ["세 빨간"]


def test_a_screen_reader_hears_where_a_token_looks_most(open_page):
    page = open_page(cats())
    token(page, "written", 2).focus()
    weights = BEST.weights["decoder_1/cross_attention"].mean(axis=0)[2]
    most = int(weights.argmax())
    heard = page.locator(".summary").inner_text()
    told = f"“{READ[most]}” {100 * weights[most]:.1f}\u00a0%"
    assert heard.startswith(f"“고양이” (3 of 5) looks most at {told}")
    options = page.get_by_role("option", selected=True)
    assert options.all_inner_texts()[0].startswith("고양이")


def test_a_recurrent_model_has_no_layers_to_choose(open_page):
    weights = {"attention": rows(2, 4)[:1]}
    page = open_page(sentences_page("a", READ, [Sentence("x", ["x", "</s>"], weights)]))
    assert page.get_by_role("radio").count() == 0
    shown = np.divide(percents(page, "read"), 100)
    np.testing.assert_allclose(shown, weights["attention"][0, 0], atol=6e-4)


def test_arabic_runs_leftwards_and_its_keys_do(open_page):
    read = ["كتابان", "جديدان", "</s>"]
    weights = {"attention": rows(2, 3)[:1]}
    written = Sentence("two", ["two", "</s>"], weights)
    page = open_page(sentences_page("كتابان جديدان", read, [written]))
    first, second = (token(page, "read", n).bounding_box()["x"] for n in (0, 1))
    assert first > second
    token(page, "read", 0).focus()
    page.keyboard.press("ArrowLeft")
    assert chosen(page) == ["جديدان"]


@pytest.mark.parametrize("javascript", [True, False])
def test_hostile_words_are_shown_and_nothing_else_happens(open_page, javascript):
    hostile = sentence(" ".join(HOSTILE), HOSTILE, len(HOSTILE), -1.0)
    steps = [Step(HOSTILE, [0.0] * len(HOSTILE))]
    html = sentences_page(HOSTILE[1], HOSTILE, [hostile, hostile], steps=steps)
    page = open_page(html, java_script_enabled=javascript)
    expected = [*map(visible, HOSTILE)]
    if not javascript:
        shown = page.locator("#static td:first-child").evaluate_all
        assert shown("cells => cells.map(x => x.textContent)") == expected
        return
    assert [word for word, *_ in line(page, "read")] == expected
    for kind in KINDS:
        choose(page, kind)
    page.get_by_role("radio").nth(1).check()
    for number in range(len(HOSTILE)):
        token(page, "to write", number).click()
    assert (
        page.locator("script, style, meta, link, img, svg, iframe, a, base").count()
        == 9
    )


def test_the_policy_stops_what_the_page_does_not_name(open_page):
    page = open_page(cats(), faults=True)
    blocked = page.evaluate(
        """async () => {
            const stopped = [];
            addEventListener("securitypolicyviolation",
                event => stopped.push(event.effectiveDirective));
            const script = document.createElement("script");
            script.textContent = "window.hacked = 1";
            document.body.append(script);
            document.body.innerHTML +=
                "<img src=http://127.0.0.1:9/ onerror=hacked=1>" +
                "<style>body { color: red }</style>";
            await fetch("http://127.0.0.1:9/").catch(() => {});
            await new Promise(done => setTimeout(done, 50));
            return stopped;
        }"""
    )
    assert {"script-src-elem", "img-src", "style-src-elem", "connect-src"} <= set(
        blocked
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_stand_out_from_every_shade_and_more_is_further_from_none(
    open_page, scheme
):
    count = 101
    weights = np.linspace(0, 1, count, dtype=np.float32)[None, None]
    many = Sentence("x", ["x"], {"attention": weights})
    page = open_page(sentences_page("a", ["a"] * count, [many]), color_scheme=scheme)
    ink, shades = page.evaluate(
        """() => {
            const canvas = document.createElement("canvas");
            const pen = canvas.getContext("2d", { willReadFrequently: true });
            const rgb = colour => {
                pen.fillStyle = colour;
                pen.fillRect(0, 0, 1, 1);
                return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
            };
            const styles = [...document.querySelectorAll("[aria-label=read] .token")]
                .map(x => getComputedStyle(x));
            return ["color", "backgroundColor"].map(of => styles.map(x => rgb(x[of])));
        }"""
    )
    ink, shades = luminance(ink), luminance(shades)
    brighter, darker = np.maximum(ink, shades), np.minimum(ink, shades)
    assert ((brighter + 0.05) / (darker + 0.05)).min() >= 4.5
    steps = np.diff(shades) * (-1 if scheme == "light" else 1)
    assert (steps > 0).all(), "lightness tells the weights apart, whatever the eyes"


def luminance(colours):
    """Relative luminance of WCAG 2.2, from sRGB."""
    rgb = np.array(colours) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_six_layers_of_eight_heads_over_forty_tokens_are_below_two_megabytes():
    weights = np.full((8, 40, 40), 1 / 40, np.float32)
    paths = ["encoder_{}/self_attention", "decoder_{}/self_attention"]
    paths += ["decoder_{}/cross_attention"]
    maps = {path.format(layer): weights for path in paths for layer in range(6)}
    pieces = ["고양이"] * 40
    beam = [Sentence("고양이 " * 40, pieces, maps, -1.0)] * 4
    assert len(sentences_page("x", pieces, beam).encode()) < 2_000_000


def test_weights_that_do_not_fit_the_pieces_are_refused():
    wrong = Sentence("x", ["x", "y"], {"attention": np.zeros((1, 3, 2), np.float32)})
    with pytest.raises(ValueError, match=r"attention: weights of shape \(1, 3, 2\)"):
        sentences_page("a", ["a", "b"], [wrong])
    with pytest.raises(ValueError, match="no sentence"):
        sentences_page("a", ["a"], [])
