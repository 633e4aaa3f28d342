import itertools

import numpy as np
import pytest

from zoo.data.vqa.shapes import (
    CELL,
    COLORS,
    SHAPES,
    Layouts,
    coverages,
    draw,
    draw_layouts,
    is_so,
    matching_layouts,
    parse,
    read_shapes,
)
from zoo.errors import InputError

PROGRAMS = {
    "(is red green)": "is a red shape green",
    "(is circle (above blue))": "is a circle above a blue shape",
    "(is green (left_of (below square)))": "is a green shape left of below a square",
}


def layouts_seen(images):
    """What stands in the cells of pictures: the nearest drawing of each cell."""
    cells = images.reshape(-1, 3, CELL, 3, CELL, 3).transpose(0, 1, 3, 2, 4, 5)
    sums = cells.sum(axis=(3, 4), dtype=int)
    color = np.where(sums.max(axis=-1) > 0, sums.argmax(axis=-1), -1)
    bright = cells.max(axis=-1).reshape(-1, CELL * CELL).astype(float)
    bright /= np.maximum(bright.max(axis=1, keepdims=True), 1)
    table = coverages().reshape(-1, CELL * CELL)
    away = (table**2).sum(axis=1) - 2 * bright @ table.T
    shape = away.argmin(axis=1).reshape(color.shape) // (len(table) // 3)
    return Layouts(np.where(color < 0, -1, shape), color)


@pytest.fixture
def folder(tmp_path):
    """Each program six times in each split, with BGR pictures of random layouts."""
    for name in ("train.large", "val", "test"):
        programs = [program for program in PROGRAMS for _ in range(6)]
        generator = np.random.default_rng(len(name))
        layouts = draw_layouts(len(programs), generator)
        np.save(tmp_path / f"{name}.input.npy", draw(layouts, generator)[..., ::-1])
        outputs = [
            is_so(parse(program, ""), Layouts(*(column[[n]] for column in layouts)))[0]
            for n, program in enumerate(programs)
        ]
        lines = {
            "query": programs,
            "query_str.txt": [PROGRAMS[program] for program in programs],
            "output": [str(output).lower() for output in outputs],
        }
        for ending, texts in lines.items():
            text = "".join(f"{text}\n" for text in texts)
            (tmp_path / f"{name}.{ending}").write_text(text)
    return tmp_path


def test_a_program_is_evaluated_by_hand():
    circle, square, triangle = range(3)
    red, green, blue = range(3)
    shape = [[circle, -1, square], [triangle, -1, -1], [-1, square, circle]]
    color = [[red, -1, green], [blue, -1, -1], [-1, red, blue]]
    layouts = Layouts(np.array([shape]), np.array([color]))

    def ask(*program):
        return bool(is_so(program, layouts)[0])

    assert ask("red", "circle")
    assert not ask("green", "circle")
    assert ask("circle", "above", "triangle")  # top left over middle left
    assert not ask("triangle", "above", "circle")
    assert ask("triangle", "below", "red")
    assert ask("square", "left_of", "blue")  # bottom middle, beside bottom right
    assert not ask("circle", "left_of", "square")  # two cells to the left
    assert ask("circle", "left_of", "left_of", "square")
    assert ask("circle", "right_of", "square")
    # What left the grid does not come back: above the top row is nothing.
    assert not ask("green", "below", "above", "green")
    # The cell right of the one below a red one: right of middle left, so the middle.
    assert not ask("blue", "right_of", "below", "red")


def test_programs_agree_with_sets_of_cells():
    shifts = {"above": (-1, 0), "below": (1, 0), "left_of": (0, -1), "right_of": (0, 1)}
    layouts = draw_layouts(30, np.random.default_rng(0))

    def cells(names, number):
        if len(names) > 1:
            rows, columns = shifts[names[0]]
            moved = {(y + rows, x + columns) for y, x in cells(names[1:], number)}
            return {(y, x) for y, x in moved if 0 <= y < 3 and 0 <= x < 3}
        return {
            (y, x)
            for y, x in itertools.product(range(3), repeat=2)
            if names[0]
            in (
                [*SHAPES, None][layouts.shape[number, y, x]],
                [*COLORS, None][layouts.color[number, y, x]],
            )
        }

    for first, one, other in itertools.product(("red", "circle"), shifts, shifts):
        for middle in ((), (one,), (one, other)):
            expected = [
                bool(cells((first,), n) & cells((*middle, "square"), n))
                for n in range(30)
            ]
            assert is_so((first, *middle, "square"), layouts).tolist() == expected


def test_coverage_by_hand():
    covered = coverages()
    small, big = covered[:, 0], covered[:, -1]  # radius 2.25 and 4.125
    circle, square, triangle = range(3)
    np.testing.assert_allclose(small[square].sum(), 4.5**2, atol=0.3)
    np.testing.assert_allclose(big[circle].sum(), np.pi * 4.125**2, atol=0.3)
    np.testing.assert_allclose(big[triangle].sum(), 8.25**2 / 2, atol=0.5)
    assert small[square][5, 5] == 1
    assert small[square][0, 0] == 0
    # The triangle stands on its base.
    assert big[triangle][8].sum() > 7 > 2 > big[triangle][1].sum()
    np.testing.assert_array_equal(covered, covered[..., ::-1])


def test_layouts_have_the_published_shares():
    shape, color = draw_layouts(5_000, np.random.default_rng(0))
    assert ((shape < 0) == (color < 0)).all()
    for column in (shape, color):
        shares = np.bincount(column.ravel() + 1) / column.size
        np.testing.assert_allclose(shares, [0.2, 0.8 / 3, 0.8 / 3, 0.8 / 3], atol=0.01)


def test_a_drawn_layout_is_seen_again():
    generator = np.random.default_rng(0)
    layouts = draw_layouts(50, generator)
    images = draw(layouts, generator)
    for seen, drawn in zip(layouts_seen(images), layouts, strict=True):
        np.testing.assert_array_equal(seen, drawn)
    # Primary colours up to a fifth, and black between.
    brightest = images.max(axis=-1)[images.max(axis=-1) > 0].max()
    assert brightest == 255
    assert images[:, 0].max() <= 255 * 0.2
    assert (images.min(axis=-1) <= 51).all()


def test_training_images_give_the_published_answers(folder):
    questions = read_shapes(folder, "train", seed=3)
    layouts = layouts_seen(questions.images)
    lines = (folder / "train.large.query").read_text().splitlines()
    for number, line in enumerate(lines):
        layout = Layouts(*(column[[number]] for column in layouts))
        answer = "yes" if is_so(parse(line, ""), layout)[0] else "no"
        assert questions.top_answers[number] == answer
        first = parse(line, "")[0]
        names = *SHAPES, *COLORS
        column, place = divmod(names.index(first), 3)
        assert (layout[column] == place).any()  # the first noun is there
    again = read_shapes(folder, "train", seed=3)
    other = read_shapes(folder, "train", seed=4)
    np.testing.assert_array_equal(questions.images, again.images)
    assert (questions.images != other.images).any(axis=(1, 2, 3)).all()


def test_matching_layouts_are_those_that_would_have_been_drawn():
    # Each shape is as frequent as among all layouts that have the answer.
    program = "red", "circle"
    layouts = matching_layouts(
        program, np.array([True] * 500), np.random.default_rng(0)
    )
    assert is_so(program, layouts).all()
    all_drawn = draw_layouts(20_000, np.random.default_rng(1))
    kept = is_so(program, all_drawn)
    np.testing.assert_allclose(
        np.bincount(layouts.shape.ravel() + 1) / layouts.shape.size,
        np.bincount(all_drawn.shape[kept].ravel() + 1) / (9 * kept.sum()),
        atol=0.03,
    )


def test_published_pictures_are_read_as_rgb(folder):
    for split, name in (("validation", "val"), ("test", "test")):
        questions = read_shapes(folder, split, seed=0)
        published = np.load(folder / f"{name}.input.npy")
        np.testing.assert_array_equal(questions.images, published[..., ::-1])
        assert questions.questions[0] == "is a red shape green"
        assert questions.groups[::6] == ["no relation", "one relation", "two relations"]
        layouts = layouts_seen(questions.images)
        outputs = (folder / f"{name}.output").read_text().split()
        for number, program in enumerate(PROGRAMS):
            rows = slice(6 * number, 6 * number + 6)
            seen = is_so(parse(program, ""), Layouts(*(x[rows] for x in layouts)))
            assert [str(x).lower() for x in seen] == outputs[rows]


def refusal(folder, split):
    with pytest.raises(InputError) as caught:
        read_shapes(folder, split, seed=0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_damaged_files_are_named(folder):
    (folder / "test.output").write_text("true\n" * 17)
    assert "has 18 lines, .query_str.txt 18 and .output 17" in refusal(folder, "test")
    (folder / "test.output").write_text("true\n" * 17 + "maybe\n")
    assert "test.output, line 18: 'maybe'" in refusal(folder, "test")
    (folder / "val.input.npy").unlink()
    assert "val.input.npy: missing" in refusal(folder, "validation")
    np.save(folder / "val.input.npy", np.zeros((18, 30, 30), np.uint8))
    assert "uint8 (18, 30, 30) instead of" in refusal(folder, "validation")
    whole = (folder / "val.input.npy").read_bytes()
    for odd in (
        b"PK\x03\x04" + whole,
        whole[:99],
        whole.replace(b"(18,", b"(9999999999,"),
    ):
        (folder / "val.input.npy").write_bytes(odd)
        assert "val.input.npy: missing or damaged" in refusal(folder, "validation")
    (folder / "val.query").unlink()
    assert "val.query: no such file" in refusal(folder, "validation")
    (folder / "train.large.output").write_text("true\n" * 18)
    assert "answer 'red green' with true" in refusal(folder, "train")


@pytest.mark.parametrize(
    "program", ["(is red)", "(is red (near blue))", "(is pink red)", "is a red shape"]
)
def test_an_unknown_program_is_refused(program):
    with pytest.raises(InputError, match=r"a\.query, line 3: .* is no program"):
        parse(program, "a.query, line 3")
