"""Answers as classes, and what each is worth where annotators disagree."""

import collections
import json
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from zoo.data.answers import MIN_ANNOTATORS, comparison, normalise, stripped
from zoo.data.vqa.examples import VisualQuestions
from zoo.errors import InputError, read_limited
from zoo.files import write_whole

MAX_BYTES = 2**24  # of a table of answers
Form = Callable[[str], str]


@dataclass(frozen=True)
class SoftScores:
    """What the classes that annotators named are worth, for each question.

    There are at most as many as annotators, among thousands of classes.

    Attributes:
        classes: -1 where there are no more.
        scores: 0 there, else 0 to 1.
    """

    classes: Int[np.ndarray, "N M"]
    scores: Float[np.ndarray, "N M"]

    def dense(self, places: Int[np.ndarray, "..."], num_answers: int) -> np.ndarray:
        """Returns [..., A], the score of each class for the questions at `places`.

        A place of -1 is no question and has no score.
        """
        # One class more than there are takes what is to be left out.
        scores = np.zeros((*places.shape, num_answers + 1), np.float32)
        classes = np.where(places[..., None] < 0, -1, self.classes[places])
        np.put_along_axis(scores, classes % (num_answers + 1), self.scores[places], -1)
        return scores[..., :-1]


@dataclass(frozen=True)
class AnswerTable:
    """Which class stands for which answer.

    What a class is worth is what the metric will pay for its answer. Where there are
    enough annotators that is the official accuracy, which compares answers letter for
    letter if all gave the same one, and normalised if not; so "two" and "2" may both be
    classes. Else it is whether the answer is the one that counts as right.

    >>> table = AnswerTable(("yes", "no"))
    >>> table.answers[1]
    'no'
    """

    answers: tuple[str, ...]

    @classmethod
    def of(cls, questions: VisualQuestions, *, min_count: int = 0) -> "AnswerTable":
        """Returns the top answers of these questions, commonest first.

        Args:
            min_count: an answer must occur more often than this.

        Raises:
            InputError: none occurs so often.
        """
        counts = collections.Counter(_top_answers(questions))
        common = [x for x, count in counts.most_common() if count > min_count]
        if not common:
            raise InputError(
                f"no answer occurs more than {min_count} times in {len(questions)} "
                "questions; lower --data.min-count or give more questions"
            )
        return cls(tuple(common))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "AnswerTable":
        """Returns the table that `save` wrote.

        Raises:
            InputError: the file is missing or damaged.
        """
        try:
            answers = json.loads(read_limited(path, MAX_BYTES).decode())
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(
                f"{path}: no answers, or damaged; restore the file or train again in a "
                "new folder"
            ) from error
        is_list = isinstance(answers, list) and {*map(type, answers)} == {str}
        if not is_list or len(set(answers)) < len(answers):
            raise InputError(
                f"{path}: no list of different answers; restore the file or train "
                "again in a new folder"
            )
        return cls(tuple(answers))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the answers in the order of their classes, at once or not at all."""
        text = json.dumps(self.answers, ensure_ascii=False, indent=0)
        write_whole(path, f"{text}\n".encode())

    def __len__(self) -> int:
        return len(self.answers)

    def labels(self, questions: VisualQuestions) -> Int[np.ndarray, "N"]:
        """Returns the class of each top answer, -1 where the table lacks it."""
        class_of = self._classes()
        labels = [class_of.get(answer, -1) for answer in _top_answers(questions)]
        return np.array(labels, np.int32)

    def soft_scores(self, questions: VisualQuestions) -> SoftScores:
        """Returns what each class would score: `worth_of` that many annotators."""
        official = has_annotators(questions)
        forms: list[Form] = [normalise, stripped]
        classes_of = {form: self._classes_by(form) for form in forms}
        exact = self._classes()
        rows: list[list[tuple[int, float]]] = []
        for top, answers in zip(questions.top_answers, questions.answers, strict=True):
            if not official:
                rows.append([(exact[top], 1.0)] if top in exact else [])
                continue
            compared = comparison(answers)
            counts = collections.Counter(map(compared, answers))
            rows.append(
                [
                    (number, worth_of(count, len(answers)))
                    for answer, count in counts.items()
                    for number in classes_of[compared].get(answer, ())
                ]
            )
        most = max(map(len, rows), default=0)
        classes = np.full((len(rows), most), -1, np.int32)
        scores = np.zeros((len(rows), most), np.float32)
        for row, worth in enumerate(rows):
            for column, (number, score) in enumerate(worth):
                classes[row, column], scores[row, column] = number, score
        return SoftScores(classes, scores)

    def _classes(self) -> dict[str, int]:
        return {answer: number for number, answer in enumerate(self.answers)}

    def _classes_by(self, form: Form) -> dict[str, list[int]]:
        """Returns the classes whose answers have the same form, by that form."""
        found = collections.defaultdict(list)
        for number, answer in enumerate(self.answers):
            found[form(answer)].append(number)
        return dict(found)


def has_annotators(questions: VisualQuestions) -> bool:
    """Returns whether there are enough of them for the official accuracy."""
    return min(map(len, questions.answers), default=0) >= MIN_ANNOTATORS


def worth_of(agreeing: int, annotators: int) -> float:
    """Returns the official accuracy of an answer that so many of them gave.

    >>> [round(worth_of(number, 10), 2) for number in range(5)]
    [0.0, 0.3, 0.6, 0.9, 1.0]
    """
    among_others = min(1.0, agreeing / 3), min(1.0, (agreeing - 1) / 3)
    return (
        (annotators - agreeing) * among_others[0] + agreeing * among_others[1]
    ) / annotators


def _top_answers(questions: VisualQuestions) -> list[str]:
    """Returns the answers that count as right, as they are compared."""
    if not has_annotators(questions):
        return questions.top_answers
    pairs = zip(questions.top_answers, questions.answers, strict=True)
    return [comparison(answers)(top) for top, answers in pairs]
