import itertools
import subprocess
import sys
import warnings

import numpy as np
import pytest
from matplotlib.font_manager import FontProperties, findfont, get_font

from zoo import plots
from zoo.errors import InputError

# Hangul, Hanja, kana, a SentencePiece mark, Latin with accents, Cyrillic.
PIECES = ["▁회의", "漢字", "ねこカタカナ", "▁é", "Ж"]


@pytest.fixture
def without_font(monkeypatch):
    """A machine on which the package with the font is not installed."""
    monkeypatch.setattr(plots, "cjk_font", lambda: None)


def labels(figure):
    """Returns the visible labels of the columns and of the rows of each map."""
    figure.draw_without_rendering()
    return [
        [
            [x.get_text() for tick in axis.majorTicks for x in both(tick) if shown(x)]
            for axis in (axes.xaxis, axes.yaxis)
        ]
        for axes in maps(figure)
    ]


def maps(figure):
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def both(tick):
    return tick.label1, tick.label2


def shown(text):
    return text.get_visible()


def test_rows_are_targets_and_columns_are_sources_with_labels_on_top():
    weights = np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]])
    figure = plots.attention_heatmap(weights, ["a", "b", "c"], ["x", "y"])
    assert labels(figure) == [[["a", "b", "c"], ["x", "y"]]]
    (axes,) = maps(figure)
    assert all(t.label2.get_visible() for t in axes.xaxis.majorTicks)
    # The first row of the array is the uppermost of the picture.
    assert axes.get_ylim() == (2, 0)
    np.testing.assert_allclose(axes.collections[0].get_array(), weights, atol=1e-7)


def test_colours_stand_for_0_to_1_whatever_the_weights():
    figure = plots.attention_heatmap(np.full((1, 2), 0.25), ["a", "b"], ["x"])
    figure.draw_without_rendering()
    assert maps(figure)[0].collections[0].get_clim() == (0, 1)
    (bar,) = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    assert bar.get_ylim() == (0, 1)


def test_equal_steps_of_weight_are_equal_steps_to_the_eye_in_one_hue():
    rgb = plots.WEIGHT_COLOURS(np.linspace(0, 1, 11))[:, :3]
    lab = oklab(rgb)
    steps = np.linalg.norm(np.diff(lab, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps.mean(), rtol=0.1)
    assert (np.diff(lab[:, 0]) < -0.05).all(), "lightness must fall, for all eyes"
    hue = np.degrees(np.arctan2(lab[1:, 2], lab[1:, 1]))
    assert np.ptp(hue) < 10


def oklab(rgb):
    """Ottosson (2020), from sRGB."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.cbrt(linear @ np.transpose(to_cones)) @ np.transpose(to_lab)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_hangul_kana_and_hanja_have_glyphs_in_every_format(tmp_path, suffix):
    # A missing glyph is a warning of Matplotlib.
    weights = np.eye(len(PIECES))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.attention_heatmap(weights, PIECES, PIECES, title="한글 → 日本語")
        plots.save(figure, tmp_path / f"map.{suffix}")


def test_every_syllable_and_the_kana_are_in_the_packaged_font():
    letters = {*range(0xAC00, 0xD7A4), *range(0x3041, 0x3097), *range(0x30A1, 0x30FB)}
    font = get_font(findfont(FontProperties(family=plots.cjk_font())))
    assert letters <= set(font.get_charmap())


def test_the_font_is_used_without_a_change_to_other_figures():
    # In a process of its own: nothing before has touched the settings.
    code = (
        "import matplotlib; before = matplotlib.rcParams.copy()\n"
        "import numpy, sys; from zoo import plots\n"
        "plots.attention_heatmap(numpy.eye(1), ['a'], ['가'])\n"
        "assert matplotlib.rcParams.copy() == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_without_the_font_hangul_is_refused_and_the_package_named(without_font):
    with pytest.raises(InputError, match=r"'가'.*pip install notojp-matplotlib"):
        plots.attention_heatmap(np.eye(1), ["a"], ["가"])


def test_without_the_font_latin_and_cyrillic_are_drawn(without_font):
    figure = plots.attention_heatmap(np.eye(2), ["▁é", "Ж"], ["ß", "→"])
    figure.draw_without_rendering()


@pytest.mark.parametrize(
    "piece", ["$x^2$", r"$\frac$", "_", "a_b", "%", "\\", "{", " "]
)
def test_a_piece_is_text_and_never_markup(piece):
    figure = plots.attention_grid({piece: np.eye(1)}, [piece], [piece], title=piece)
    assert labels(figure) == [[[piece], [piece]]]
    (axes,) = maps(figure)
    tick_labels = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    texts = [figure.get_suptitle, axes.get_title, *(x.get_text for x in tick_labels)]
    assert {text() for text in texts} == {piece}
    drawn = [figure._suptitle, axes.title, *tick_labels]
    assert not any(text.get_parse_math() or text.get_usetex() for text in drawn)


def test_the_mark_of_a_space_is_drawn_thinner():
    assert labels(plots.attention_heatmap(np.eye(1), ["▁a"], ["▁_▁"])) == [
        [["ˍa"], ["ˍ_ˍ"]]
    ]


def test_maps_of_a_grid_share_their_labels():
    weights = np.full((2, 3), 1 / 3)
    figure = plots.attention_grid(
        {"head 1": weights, "head 2": weights, "head 3": weights},
        ["a", "b", "c"],
        ["x", "y"],
    )
    assert [axes.get_title() for axes in maps(figure)] == ["head 1", "head 2", "head 3"]
    rows = [["x", "y"], [], []]
    assert labels(figure) == [[["a", "b", "c"], row] for row in rows]


def test_many_maps_wrap_into_rows_and_leave_no_empty_frame():
    weights = np.full((20, 20), 0.05)
    pieces = [str(i) for i in range(20)]
    figure = plots.attention_grid(dict.fromkeys("12345", weights), pieces, pieces)
    shown = [axes for axes in maps(figure) if axes.axison]
    assert len(shown) == 5
    assert len({axes.get_subplotspec().rowspan.start for axes in shown}) == 2


@pytest.mark.parametrize("count", [5, 20, 40])
@pytest.mark.parametrize("num_maps", [1, 4])
def test_labels_are_readable_and_do_not_overlap(count, num_maps):
    pieces = [f"단어{i}" for i in range(count)]
    weights = np.eye(count)
    figure = plots.attention_grid(
        {f"head {i}": weights for i in range(num_maps)}, pieces, pieces
    )
    figure.draw_without_rendering()
    axes = maps(figure)[0]
    assert all(x.get_size() >= 7 for x in axes.get_yticklabels())
    boxes = [x.get_window_extent() for x in axes.get_yticklabels()]
    assert all(above.y0 > below.y1 for above, below in itertools.pairwise(boxes))
    boxes = [x.get_window_extent() for x in axes.get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_captions_do_not_overlap_over_the_smallest_maps():
    captions = {"MultiHeadAttention": np.eye(2), "LinearAttention, head 1": np.eye(2)}
    figure = plots.attention_grid(captions, ["a", "b"], ["c", "d"])
    figure.draw_without_rendering()
    first, second = (x.title.get_window_extent() for x in figure.axes[:2])
    assert first.x1 < second.x0
    assert second.x1 <= figure.bbox.x1
    assert first.x0 >= 0


def test_the_bar_of_colours_stays_slender_beside_tall_maps():
    pieces = [str(i) for i in range(60)]
    maps_of_60 = dict.fromkeys(["layer 1", "layer 2"], np.eye(60))
    figure = plots.attention_grid(maps_of_60, pieces, pieces)
    figure.draw_without_rendering()
    (bar,) = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    size = bar.get_window_extent()
    assert size.width / figure.dpi < 0.3
    assert size.height / figure.dpi > 3


def test_arabic_letters_are_joined_from_right_to_left(tmp_path):
    figure = plots.attention_heatmap(np.eye(4), list("كتبو"), ["كتب", "ك", "ت", "ب"])
    figure.draw_without_rendering()
    widths = [x.get_window_extent().width for x in maps(figure)[0].get_yticklabels()]
    # The forms that join are narrower than those that stand alone.
    assert widths[0] < 0.8 * sum(widths[1:])
    plots.save(figure, tmp_path / "map.svg")


@pytest.mark.parametrize("shape", [(3, 2), (2, 2)])
def test_weights_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"2 target and 3 source.*\[target, source\]"):
        plots.attention_heatmap(np.zeros(shape), ["a", "b", "c"], ["x", "y"])


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="neither empty"):
        plots.attention_heatmap(np.zeros((0, 1)), ["a"], [])
    with pytest.raises(ValueError, match="no maps"):
        plots.attention_grid({}, ["a"], ["x"])


def test_curves_name_each_series_even_after_an_underscore():
    figure = plots.curves(
        {"_train": [(0, 3.0), (10, 1.0)], "검증 $": [(0, 3.5)]},
        x_label="updates",
        y_label="nats per token",
    )
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert [x.get_text() for x in axes.get_legend().get_texts()] == ["_train", "검증 $"]
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [(0, 3), (10, 1)])
    assert axes.get_xlabel() == "updates"
    assert axes.get_ylabel() == "nats per token"


PANELS = {
    "BLEU": {"_a": [(30, 25, 32), (10, 10, 10)], "검증": [(20, 15, 25), (5, 6, 9)]},
    "chrF": {"_a": [(60, 50, 70), (40, 30, 45)], "검증": [(50, 45, 55), (35, 30, 40)]},
}


def test_each_measure_has_a_panel_each_series_a_line_with_bars():
    figure = plots.interval_panels(PANELS, ["1–5", "6–10"], x_label="words")
    figure.draw_without_rendering()
    assert [axes.get_ylabel() for axes in figure.axes] == ["BLEU", "chrF"]
    for axes, series in zip(figure.axes, PANELS.values(), strict=True):
        assert [x.get_text() for x in axes.get_xticklabels()] == ["1–5", "6–10"]
        assert axes.get_xlabel() == "words"
        assert axes.get_ylim()[0] == 0
        for line, bars, points in zip(
            axes.lines, axes.collections, series.values(), strict=True
        ):
            x, values = line.get_xydata().T
            assert values.tolist() == [value for value, _, _ in points]
            assert np.abs(x - [0, 1]).max() < 0.5
            ends = [[tuple(p) for p in bar] for bar in bars.get_segments()]
            assert ends == [
                [(place, low), (place, high)]
                for place, (_, low, high) in zip(x, points, strict=True)
            ]
    (legend,) = figure.legends
    assert [x.get_text() for x in legend.get_texts()] == ["_a", "검증"]


def test_no_bar_hides_another():
    series = {str(i): [(1, 0, 2)] * 3 for i in range(6)}
    figure = plots.interval_panels({"m": series}, list("abc"), x_label="x")
    places = sorted(x for line in figure.axes[0].lines for x in line.get_xdata())
    assert np.diff(places).min() > 0.05
    assert len({line.get_marker() for line in figure.axes[0].lines}) == 6


def test_one_series_needs_no_legend():
    figure = plots.interval_panels({"m": {"a": [(1, 0, 2)]}}, ["x"], x_label="x")
    assert not figure.legends


@pytest.mark.parametrize(
    "panels",
    [
        {},
        {"m": {}},
        {"m": {"a": [(1, 0, 2)]}},
        {"m": {"a": [(1, 0, 2)] * 2}, "n": {"b": [(1, 0, 2)] * 2}},
    ],
)
def test_panels_without_a_point_at_each_place_are_refused(panels):
    with pytest.raises(ValueError, match="for 2 places: want"):
        plots.interval_panels(panels, ["a", "b"], x_label="x")


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF")]
)
def test_the_suffix_decides_the_format(tmp_path, name, start):
    plots.save(plots.curves({"a": [(0, 1)]}, x_label="x", y_label="y"), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_another_suffix_is_refused_and_the_known_are_named(tmp_path):
    figure = plots.curves({"a": [(0, 1)]}, x_label="x", y_label="y")
    with pytest.raises(InputError, match=r"a\.gif: .*\.pdf, \.png, \.svg"):
        plots.save(figure, tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_missing_is_named(tmp_path):
    figure = plots.curves({"a": [(0, 1)]}, x_label="x", y_label="y")
    with pytest.raises(InputError, match=r"missing/a\.png: cannot be written"):
        plots.save(figure, tmp_path / "missing" / "a.png")
