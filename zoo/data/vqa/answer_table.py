"""Answers as classes, and what each is worth where annotators disagree."""

import collections
import json
import os
import pathlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from zoo.data.answers import normalise
from zoo.data.vqa.examples import VisualQuestions
from zoo.errors import InputError, read_limited

MAX_BYTES = 2**24  # of a table of answers


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

    Answers of several annotators are compared as the official evaluator compares them;
    the answer of a single one stays as it is.

    >>> table = AnswerTable(("yes", "no"))
    >>> table.answers[1]
    'no'
    """

    answers: tuple[str, ...]

    @classmethod
    def of(
        cls,
        questions: VisualQuestions,
        *,
        min_count: int = 0,
        max_size: int | None = None,
    ) -> "AnswerTable":
        """Returns the top answers of these questions, commonest first.

        Args:
            min_count: an answer must occur more often than this.
            max_size: at most so many; None for all.

        Raises:
            InputError: none occurs so often.
        """
        counts = collections.Counter(_top_answers(questions))
        common = [x for x, count in counts.most_common(max_size) if count > min_count]
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
        path = pathlib.Path(path)
        partial = path.with_name(f"{path.name}.partial")
        text = json.dumps(self.answers, ensure_ascii=False, indent=0)
        partial.write_text(text + "\n", encoding="utf-8")
        os.replace(partial, path)

    def __len__(self) -> int:
        return len(self.answers)

    def labels(self, questions: VisualQuestions) -> Int[np.ndarray, "N"]:
        """Returns the class of each top answer, -1 where the table lacks it."""
        class_of = self._classes()
        labels = [class_of.get(answer, -1) for answer in _top_answers(questions)]
        return np.array(labels, np.int32)

    def soft_scores(self, questions: VisualQuestions) -> SoftScores:
        """Returns what each answer would score in the official accuracy.

        That is min(0.3 n, 1) for an answer that n of ten annotators gave; an answer of
        a single annotator scores 1.
        """
        class_of = self._classes()
        most = max(map(len, questions.answers), default=1)
        classes = np.full((len(questions), most), -1, np.int32)
        scores = np.zeros((len(questions), most), np.float32)
        for row, answers in enumerate(questions.answers):
            worth = 0.3 if len(answers) > 1 else 1.0
            counts = collections.Counter(_comparable(answers))
            known = [(class_of[x], n) for x, n in counts.items() if x in class_of]
            for column, (number, count) in enumerate(known):
                classes[row, column] = number
                scores[row, column] = min(worth * count, 1.0)
        return SoftScores(classes, scores)

    def _classes(self) -> dict[str, int]:
        return {answer: number for number, answer in enumerate(self.answers)}


def _comparable(answers: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(normalise, answers)) if len(answers) > 1 else answers


def _top_answers(questions: VisualQuestions) -> list[str]:
    return [
        normalise(top) if len(answers) > 1 else top
        for top, answers in zip(questions.top_answers, questions.answers, strict=True)
    ]
