import json
import os
from pathlib import Path

import numpy as np
import pytest

from zoo import vqa_metrics
from zoo.errors import InputError

GOLDEN = Path(__file__).parent / "golden"
RESULTS = GOLDEN / "v2_OpenEnded_mscoco_sample_results.json"


def golden(name):
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def annotations():
    return golden("v2_mscoco_sample_annotations.json")["annotations"]


@pytest.fixture(scope="module")
def scores(annotations):
    ids = np.array([x["question_id"] for x in annotations])
    answers = [tuple(y["answer"] for y in x["answers"]) for x in annotations]
    predictions = vqa_metrics.read_results(RESULTS, ids)
    return vqa_metrics.official_scores(predictions, answers)


def test_the_golden_set_has_its_official_accuracy(annotations, scores):
    expected = golden("expected.json")["accuracy"]
    assert round(vqa_metrics.accuracy(scores).value, 2) == expected["overall"] == 71.5
    for kind, official in [
        ("question_type", "perQuestionType"),
        ("answer_type", "perAnswerType"),
    ]:
        types = np.array([x[kind] for x in annotations])
        for name, value in expected[official].items():
            found = vqa_metrics.accuracy(scores[types == name])
            assert round(found.value, 2) == value


def test_every_golden_question_has_its_official_accuracy(annotations, scores):
    per_question = golden("expected.json")["evalQA_percent"]
    for annotation, score in zip(annotations, scores, strict=True):
        assert round(100 * score, 2) == per_question[str(annotation["question_id"])]


@pytest.mark.parametrize("agreeing", range(11))
def test_n_of_ten_annotators_give_three_tenths_of_n_at_most_one(agreeing):
    answers = ["red"] * agreeing + [f"blue {n}" for n in range(10 - agreeing)]
    score = vqa_metrics.official_score("red", answers)
    assert score == pytest.approx(min(0.3 * agreeing, 1))


def test_answers_are_normalised_only_where_annotators_disagree():
    assert vqa_metrics.official_score("The cat.", ["cat"] * 10) == 0
    assert vqa_metrics.official_score("The cat.", ["cat"] * 9 + ["dog"]) == 1
    # White space at the ends is no disagreement.
    assert vqa_metrics.official_score("cat\n", ["cat"] * 9 + [" cat\t"]) == 1
    assert vqa_metrics.official_score("The cat", ["cat"] * 9 + [" cat"]) == 0


def test_too_few_annotators_are_refused():
    with pytest.raises(ValueError, match="at least 4"):
        vqa_metrics.official_score("red", ["red"])


def test_exact_match_by_hand():
    scores = vqa_metrics.exact_scores(["a", "b", "c", "d"], ["a", "b", "x", "D"])
    assert scores.tolist() == [1, 1, 0, 0]
    assert vqa_metrics.accuracy(scores).value == 50


def test_the_interval_is_wilsons():
    # Newcombe (1998), table I: 81 of 263 and 15 of 148.
    assert vqa_metrics.wilson(81 / 263, 263) == pytest.approx(
        (0.2553, 0.3662), abs=5e-5
    )
    assert vqa_metrics.wilson(15 / 148, 148) == pytest.approx(
        (0.0624, 0.1605), abs=5e-5
    )
    assert vqa_metrics.wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    scores = np.array([1.0] * 81 + [0.0] * 182)
    assert vqa_metrics.accuracy(scores).interval == pytest.approx(
        (25.53, 36.62), abs=0.01
    )


def test_nothing_to_score_is_refused():
    with pytest.raises(InputError, match="at least one question"):
        vqa_metrics.accuracy(np.zeros(0))


def test_as_many_predictions_and_answers_are_wanted():
    with pytest.raises(ValueError, match=r"longer|shorter"):
        vqa_metrics.exact_scores(["a", "b"], ["a"])
    with pytest.raises(ValueError, match=r"longer|shorter"):
        vqa_metrics.official_scores(["a", "b"], [["a"] * 10])


def test_question_only_says_what_training_says_most_often():
    questions = ["what?", "what?", "what?", "is it?", "where?", "where?"]
    answers = ["red", "blue", "blue", "yes", "left", "right"]
    asked = ["is it?", "what?", "where?", "who?"]
    found = vqa_metrics.question_only(questions, answers, asked)
    # "left" came before "right"; blue is the commonest of all.
    assert found == ["yes", "blue", "left", "blue"]


def test_results_come_back_in_the_order_of_the_questions(tmp_path):
    path = tmp_path / "results.json"
    vqa_metrics.write_results(path, np.array([3, 1, 2]), ["three", "eins", "둘"])
    assert vqa_metrics.read_results(path, np.array([1, 2, 3])) == [
        "eins",
        "둘",
        "three",
    ]
    official = json.loads(path.read_text(encoding="utf-8"))
    assert official[0] == {"question_id": 3, "answer": "three"}


@pytest.mark.parametrize(
    ("results", "claim"),
    [
        ([(1, "a"), (2, "b")], "1 of 3 questions have no answer, the first is"),
        ([], "3 of 3 questions have no answer, the first is question_id 1;"),
        ([(1, "a"), (9, "b")], "result 2: question_id 9 is none of the 3 questions"),
        ([(1, "a"), (2, "b"), (1, "c")], "result 3: question_id 1 is there twice"),
        ([("1", "a")], 'result 1: {"question_id": "1", "answer": "a"}: a results file'),
        ([(1, 2)], "result 1: "),
        ([(1, None)], "result 1: "),
        ([(True, "a")], "result 1: "),
    ],
)
def test_a_results_file_with_other_questions_is_refused(tmp_path, results, claim):
    path = tmp_path / "results.json"
    rows = [{"question_id": number, "answer": answer} for number, answer in results]
    path.write_text(json.dumps(rows))
    assert claim in refusal(path)


@pytest.mark.parametrize(
    ("text", "claim"),
    [("{}", "no list"), ("[1]", "result 1: 1: "), ("[", "no JSON"), ("[" * 9**6, "no")],
)
def test_a_file_that_is_no_results_file_is_refused(tmp_path, text, claim):
    path = tmp_path / "results.json"
    path.write_text(text)
    assert claim in refusal(path)


def test_a_results_file_that_cannot_be_read_or_written_is_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.json")
    assert "no regular file" in refusal(tmp_path)
    path = tmp_path / "none" / "results.json"
    with pytest.raises(InputError, match="cannot be written: No such file"):
        vqa_metrics.write_results(path, np.array([1]), ["a"])


def test_a_results_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("[]")
    with pytest.raises(UnicodeEncodeError):
        vqa_metrics.write_results(path, np.array([1]), ["\ud800"])
    assert path.read_text() == "[]"
    assert [*tmp_path.iterdir()] == [path]


def test_a_pipe_is_no_results_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in refusal(tmp_path / "pipe")


def refusal(path):
    with pytest.raises(InputError) as caught:
        vqa_metrics.read_results(path, np.array([1, 2, 3]))
    message = str(caught.value)
    assert message.startswith(f"{path}")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 200
    return message
