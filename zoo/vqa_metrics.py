"""Accuracies of answers about images, and what a results file must be.

The official VQA accuracy is Agrawal et al. (2015), "VQA: Visual Question Answering", as
``vqaEval.py`` of GT-Vision-Lab/VQA counts it; exact match is for sets with one true
answer. Both give a score from 0 to 1 for each question, of which everything else is a
mean: over all questions, or over those of a type, a group or a kind of answer.
"""

import collections
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from zoo.data.answers import MIN_ANNOTATORS, comparison
from zoo.errors import InputError, read_limited
from zoo.files import write_whole

_Z = 1.959963984540054  # 95 % of a normal distribution lie within as many deviations
_MAX_BYTES = 2**32
_REMEDY = "a results file is a list of question_id and answer, one for each question"


@dataclass(frozen=True)
class Accuracy:
    """The mean score of some questions, in percent.

    Attributes:
        interval: between which the accuracy on more such questions lies, at 95 %, if
            each had an image of its own; questions of one image share its errors, so
            that with many of them it is too narrow.
        count: the number of questions.
    """

    value: float
    interval: tuple[float, float]
    count: int


def official_score(prediction: str, answers: Sequence[str]) -> float:
    """Returns the official accuracy of a prediction, from 0 to 1.

    For each annotator, a third for each other annotator who agrees, at most 1; and the
    mean of that. Of ten answers, n equal ones give min(0.3 n, 1). Unanimous answers are
    compared letter for letter, all others normalised.

    >>> official_score("two", ["2", "2", "2"] + ["3"] * 7)
    0.9

    Args:
        answers: of all annotators; VQA has ten.

    Raises:
        ValueError: for fewer than four answers, of which none can score 1.
    """
    if len(answers) < MIN_ANNOTATORS:
        raise ValueError(
            f"{len(answers)} answers: the official accuracy wants at least "
            f"{MIN_ANNOTATORS}, and VQA has 10; take exact_scores where there is one "
            "true answer"
        )
    compared = comparison(answers)
    prediction, answers = compared(prediction), [*map(compared, answers)]
    agreeing = answers.count(prediction)
    # Those who agree have one other less who does.
    scores = [min(1.0, (agreeing - (x == prediction)) / 3) for x in answers]
    return sum(scores) / len(scores)


def official_scores(
    predictions: Sequence[str], answers: Sequence[Sequence[str]]
) -> Float[np.ndarray, "N"]:
    """Returns the official accuracy of each prediction, from 0 to 1."""
    pairs = zip(predictions, answers, strict=True)
    return np.array([official_score(x, y) for x, y in pairs])


def exact_scores(
    predictions: Sequence[str], answers: Sequence[str]
) -> Float[np.ndarray, "N"]:
    """Returns 1 for each prediction that equals its answer letter for letter, else 0.

    >>> exact_scores(["red", "Red"], ["red", "red"]).tolist()
    [1.0, 0.0]
    """
    pairs = zip(predictions, answers, strict=True)
    return np.array([float(x == y) for x, y in pairs])


def wilson(mean: float, count: int) -> tuple[float, float]:
    """Returns the interval of 95 % for a mean of 0s and 1s; Wilson (1927).

    Unlike the mean plus and minus its standard errors it stays within 0 and 1, and has
    a width where all answers are right. Where scores between 0 and 1 occur it is too
    wide; where questions share images, and so their errors, too narrow.

    >>> low, high = wilson(1.0, 100)
    >>> round(low, 3), high
    (0.963, 1.0)
    """
    shift = _Z**2 / count
    centre = mean + shift / 2
    half = _Z * (mean * (1 - mean) / count + shift / (4 * count)) ** 0.5
    low, high = (centre - half) / (1 + shift), (centre + half) / (1 + shift)
    return (0.0 if mean == 0 else low), (1.0 if mean == 1 else high)


def accuracy(scores: Float[np.ndarray, "N"]) -> Accuracy:
    """Returns the mean of some scores.

    >>> accuracy(np.array([1.0, 0.3, 0.6, 1.0])).value
    72.5

    Raises:
        InputError: there is none.
    """
    if not len(scores):
        raise InputError("no answers to score: give at least one question")
    total = sum(scores.tolist())  # in this order, as the official evaluator adds
    low, high = wilson(total / len(scores), len(scores))
    return Accuracy(100 * total / len(scores), (100 * low, 100 * high), len(scores))


def question_only(
    train_questions: Sequence[str],
    train_answers: Sequence[str],
    questions: Sequence[str],
) -> list[str]:
    """Returns the commonest training answer to each text, whatever the image shows.

    To a text that training lacks, the commonest answer of all; among equals, that which
    came first.

    >>> question_only(["what?", "who?", "who?"], ["a", "b", "b"], ["what?", "why?"])
    ['a', 'b']
    """
    counts = collections.defaultdict(collections.Counter)
    for question, answer in zip(train_questions, train_answers, strict=True):
        counts[question][answer] += 1
    commonest = {text: count.most_common(1)[0][0] for text, count in counts.items()}
    ((fallback, _),) = collections.Counter(train_answers).most_common(1)
    return [commonest.get(question, fallback) for question in questions]


def write_results(
    path: str | os.PathLike[str],
    question_ids: Int[np.ndarray, "N"],
    predictions: Sequence[str],
) -> None:
    """Writes a results file as the official evaluator reads it.

    Raises:
        InputError: it cannot be written.
    """
    pairs = zip(question_ids.tolist(), predictions, strict=True)
    results = [{"question_id": number, "answer": text} for number, text in pairs]
    write_whole(path, json.dumps(results, ensure_ascii=False).encode())


def read_results(
    path: str | os.PathLike[str], question_ids: Int[np.ndarray, "N"]
) -> list[str]:
    """Returns the answers of a results file, in the order of these questions.

    Raises:
        InputError: it is no results file, or lacks a question, has an unknown one, or
            one twice.
    """
    answers: dict[int, str] = {}
    known = set(question_ids.tolist())
    for place, result in enumerate(_list_of(path), start=1):
        match result:
            case {"question_id": number, "answer": str(answer)} if type(number) is int:
                pass
            case _:
                raise InputError(
                    f"{path}, result {place}: {json.dumps(result)[:60]}: {_REMEDY}"
                )
        if number in answers:
            raise InputError(
                f"{path}, result {place}: question_id {number} is there twice; "
                "keep one of the two"
            )
        if number not in known:
            raise InputError(
                f"{path}, result {place}: question_id {number} is none of the "
                f"{len(known)} questions; take the questions that were answered"
            )
        answers[number] = answer
    missing = [number for number in question_ids.tolist() if number not in answers]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {len(known)} questions have no answer, the "
            f"first is question_id {missing[0]}; answer all"
        )
    return [answers[number] for number in question_ids.tolist()]


def _list_of(path: str | os.PathLike[str]) -> list[Any]:
    try:
        results = json.loads(read_limited(path, _MAX_BYTES))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: no JSON ({error}); {_REMEDY}") from error
    if not isinstance(results, list):
        raise InputError(f"{path}: no list; {_REMEDY}")
    return results
