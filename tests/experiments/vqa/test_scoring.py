"""What answers are worth: controls, looks, the sheet of mistakes, the loss."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.vqa.drawing import choose
from experiments.vqa.scoring import measure_looks
from experiments.vqa.task import _loss_of_words
from zoo.data.vqa.controls import tiled, with_blank_image, with_other_images
from zoo.data.vqa.sort_of_clevr import sort_of_clevr


def test_controls_take_the_picture_away():
    questions = sort_of_clevr("test", 5, 0)
    other = with_other_images(questions)
    assert (other.image_of != questions.image_of).all()
    assert len(set(zip(other.image_of, questions.image_of, strict=True))) == 5
    with pytest.raises(ValueError, match="no other one"):
        with_other_images(sort_of_clevr("test", 1, 0))
    blank = with_blank_image(questions)
    assert len(blank.images) == 1
    assert len(np.unique(blank.images[0].reshape(-1, 3), axis=0)) == 1
    assert abs(blank.images[0].mean() - questions.images.mean()) < 1


def test_tiled_images_keep_their_boxes_on_the_object():
    questions = sort_of_clevr("test", 5, 0)
    wide = tiled(questions, 8)
    assert wide.images.shape == (5, 80, 80, 3)
    np.testing.assert_array_equal(wide.images[:, 2:77, 2:77], questions.images)
    pixels = np.rint(wide.boxes * 80) - np.rint(questions.boxes * 75)
    np.testing.assert_array_equal(pixels, 2)
    assert tiled(wide, 8) is wide


class Oracle:
    """Looks at the middle of the named object; sees its shape if that is not hidden."""

    grid, cell_size = (10, 10), 8

    def looks(self, questions):
        weights = np.zeros((len(questions), 100), np.float32)
        weights[np.arange(len(questions)), self.cells(questions)] = 1
        return {"glimpse 1": weights}

    def predict(self, questions):
        cells = self.cells(questions)
        answers = []
        for image, cell, right in zip(
            questions.image_of, cells, questions.top_answers, strict=True
        ):
            row, column = 8 * (cell // 10), 8 * (cell % 10)
            pixels = questions.images[int(image)][row : row + 8, column : column + 8]
            answers.append(right if (pixels != 255).any() else "hidden")
        return answers, np.ones(len(answers))

    def cells(self, questions):
        boxes = questions.boxes
        rows = 10 * (boxes[:, 0] + boxes[:, 2]) / 2
        return 10 * rows.astype(int) + (10 * (boxes[:, 1] + boxes[:, 3]) / 2).astype(
            int
        )


def test_looks_are_measured_by_kind_and_hiding_takes_the_right_cell():
    questions = sort_of_clevr("test", 5, 0)
    found = measure_looks(Oracle(), questions)["glimpse 1"]
    assert found.all.pointing_accuracy == 1
    assert found.all.count == 100
    assert found.groups["non-relational"].count == 50
    assert found.groups["answer: number"].count == found.groups["count"].count
    assert found.groups["left"].attention_mass > 0.5 > found.all.uniform_pointing
    assert found.shown == 100
    assert found.hidden == 0
    assert found.hidden_random > 80


def test_a_sheet_shows_groups_in_turn_and_mistakes_at_the_end():
    questions = sort_of_clevr("test", 12, 0)
    scores = np.ones(len(questions))
    scores[[45, 170]] = 0
    chosen = choose(questions, scores, 8)
    assert chosen[6:] == [45, 170]
    assert len({questions.groups[n] for n in chosen[:6]}) == 6
    assert len({int(questions.image_of[n]) for n in chosen}) == 8
    # Without mistakes, and in a sheet of one row, what is right has the room.
    assert scores[choose(questions, np.ones(len(questions)), 8)].all()
    assert len(choose(questions, np.ones(len(questions)), 8)) == 8
    assert scores[choose(questions, scores, 1)].all()


class Uniform:
    """Writes every word with the same probability."""

    start_id, pad_id = 1, 0

    def apply(self, variables, *arguments, method, **options):
        if method == "output":
            return jnp.zeros((7, 2)), None
        _, inputs = arguments
        assert inputs.tolist() == [[1, 4, 5], [1, 6, 2], [1, 6, 2]]
        return jnp.zeros((*inputs.shape, 2))


def test_the_loss_of_written_answers_is_in_nats_an_answer():
    # Answers of three and two tokens, ends included; the third slot has no question.
    table = jnp.array([[4, 5, 2], [6, 2, 0]])
    batch = {
        "image": jnp.zeros((1, 8, 8, 3)),
        "questions": jnp.ones((1, 3, 4), jnp.int32),
        "labels": jnp.array([[0, 1, -1]]),
        "valid": jnp.array([[True, True, False]]),
    }
    loss = _loss_of_words(Uniform(), table, {}, batch, None, label_smoothing=0.0)
    assert float(loss.count) == 2
    assert float(loss.plain) == pytest.approx(5 * np.log(7), rel=1e-5)
