import numpy as np
import pytest

from zoo.data.vqa.answer_table import AnswerTable
from zoo.data.vqa.examples import VisualQuestions
from zoo.errors import InputError
from zoo.vqa_metrics import official_score


def asked(answers, tops=None):
    """Questions about one image with these answers."""
    count = len(answers)
    return VisualQuestions(
        images=np.zeros((1, 1, 1, 3), np.uint8),
        image_ids=["image"],
        image_of=np.zeros(count, int),
        question_ids=np.arange(count),
        questions=["what?"] * count,
        answers=answers,
        top_answers=tops or [of_one[0] for of_one in answers],
        question_types=["what"] * count,
        answer_types=["other"] * count,
        groups=["all"] * count,
    )


SINGLE = asked([("red",), ("blue",), ("red",), ("A Cat.",), ("blue",), ("red",)])
TEN = asked(
    [
        ("Two",) * 4 + ("2",) * 3 + ("three", "the dog", "dog"),
        ("dog",) * 10,
        ("two",) * 9 + ("bird",),
        ("cow",) * 9 + ("fox",),
    ]
)


def test_answers_are_classes_commonest_first():
    table = AnswerTable.of(SINGLE)
    assert table.answers == ("red", "blue", "A Cat.")
    assert len(table) == 3
    assert table.labels(SINGLE).tolist() == [0, 1, 0, 2, 1, 0]


def test_an_answer_must_occur_more_often_than_the_count():
    table = AnswerTable.of(SINGLE, min_count=1)
    assert table.answers == ("red", "blue")
    assert table.labels(SINGLE).tolist() == [0, 1, 0, -1, 1, 0]
    assert AnswerTable.of(SINGLE, min_count=2).answers == ("red",)
    with pytest.raises(InputError, match="no answer occurs more than 3 times"):
        AnswerTable.of(SINGLE, min_count=3)


def test_a_single_answer_is_certain_and_stays_as_it_is():
    table = AnswerTable.of(SINGLE)
    soft = table.soft_scores(SINGLE)
    dense = soft.dense(np.arange(6), len(table))
    np.testing.assert_array_equal(dense, np.eye(3)[[0, 1, 0, 2, 1, 0]])


def test_answers_of_ten_are_normalised_and_scored_by_hand():
    table = AnswerTable(("2", "dog"))
    assert AnswerTable.of(TEN).answers == ("2", "dog", "cow")
    assert table.labels(TEN).tolist() == [0, 1, 0, -1]
    dense = table.soft_scores(TEN).dense(np.arange(4), 2)
    # Seven for 2; two for dog; nobody for a class of the table.
    expected = [[1, 0.6], [0, 1], [1, 0], [0, 0]]
    np.testing.assert_allclose(dense, expected, atol=1e-6)


def test_unanimous_answers_are_paid_letter_for_letter():
    questions = asked([("two",) * 10, ("2",) * 10, ("two",) * 8 + ("2", "a dog")])
    table = AnswerTable.of(questions)
    assert table.answers == ("2", "two")
    assert table.labels(questions).tolist() == [1, 0, 0]
    dense = table.soft_scores(questions).dense(np.arange(3), 2)
    # Where the annotators disagree, both spellings are one answer.
    assert dense.tolist() == [[0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize("annotators", [4, 7, 10])
def test_a_class_is_worth_what_the_metric_pays(annotators):
    spellings = ["two", "2", "Two ", "a dog", "dog", "dog.", "none", "0", "cat"]
    draws = np.random.default_rng(0)
    answers = [
        tuple(draws.choice(draws.choice(spellings, 1 + row % 5), annotators).tolist())
        for row in range(60)
    ]
    table = AnswerTable.of(asked(answers))
    dense = table.soft_scores(asked(answers)).dense(np.arange(60), len(table))
    paid = [[official_score(x, given) for x in table.answers] for given in answers]
    np.testing.assert_allclose(dense, paid, atol=1e-6)


def test_of_few_annotators_the_answer_that_counts_is_paid():
    questions = asked([("two", "2", "two"), ("The dog",) * 3, ("red",)])
    table = AnswerTable.of(questions)
    assert table.answers == ("two", "The dog", "red")
    dense = table.soft_scores(questions).dense(np.arange(3), 3)
    np.testing.assert_array_equal(dense, np.eye(3))


def test_scores_are_laid_out_by_place():
    table = AnswerTable.of(SINGLE)
    dense = table.soft_scores(SINGLE).dense(np.array([[3, -1], [1, 0]]), 3)
    assert dense.dtype == np.float32
    assert dense.tolist() == [[[0, 0, 1], [0, 0, 0]], [[0, 1, 0], [1, 0, 0]]]


def test_a_table_comes_back_from_its_file(tmp_path):
    path = tmp_path / "answers.json"
    table = AnswerTable(("café", 'a "b"', "\u2028"))
    table.save(path)
    assert AnswerTable.load(path) == table
    assert [entry.name for entry in tmp_path.iterdir()] == ["answers.json"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '["a", 1]', '["a", "a"]', "[["])
def test_a_damaged_file_is_refused(tmp_path, text):
    path = tmp_path / "answers.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"answers\.json: no .*restore the file"):
        AnswerTable.load(path)
    with pytest.raises(InputError, match=r"missing\.json"):
        AnswerTable.load(tmp_path / "missing.json")
