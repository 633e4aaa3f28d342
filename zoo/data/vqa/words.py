"""Questions as words, and words as ids of one fixed length."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from zoo.data.tokenizer import Tokenizer
from zoo.errors import InputError

# Letters, digits and underscores, and what an apostrophe joins to them.
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_MANY = 1_000_000  # words of a vocabulary: all that there are


def words(text: str) -> list[str]:
    """Returns the words of a text in lower case, without punctuation.

    >>> words("What's left of the T-shirt?")
    ["what's", 'left', 'of', 'the', 't', 'shirt']
    """
    return _WORD.findall(text.lower())


def train_words(questions: Sequence[str], *, answers: Sequence[str] = ()) -> Tokenizer:
    """Returns the table of all words of these questions.

    So no training question has an unknown word, and what stands for one is never
    learned.

    Args:
        answers: whose words are in the table too, for a model that writes them; what
            stands between two spaces is a word of an answer.

    Raises:
        InputError: the questions hold no words.
    """
    texts = [*map(_joined, questions), *answers]
    return Tokenizer.train(texts, _MANY, tokens="words")


def encode_questions(
    tokenizer: Tokenizer, questions: Sequence[str], max_words: int
) -> Int[np.ndarray, "N S"]:
    """Returns the ids of the words of each question, then padding up to `max_words`.

    A word that the table lacks is left out, as nothing was learned about it, unless the
    question has no other.

    Raises:
        InputError: a question has no word, or more than `max_words`.
    """
    place = {question: row for row, question in enumerate(dict.fromkeys(questions))}
    unknown = tokenizer.unknown_id
    ids = [
        [word for word in row if word != unknown] or row
        for row in tokenizer.encode([*map(_joined, place)])
    ]
    rows = np.full((len(place), max_words), Tokenizer.pad_id, np.int32)
    for question, row in place.items():
        if not ids[row]:
            raise InputError(
                f"{question!r} is no question: it has no word; ask in words"
            )
        if len(ids[row]) > max_words:
            raise InputError(
                f"{question!r} has {len(ids[row])} words, more than the limit of "
                f"{max_words}; shorten it, or train with more --data.max-words"
            )
        rows[row, : len(ids[row])] = ids[row]
    return rows[[place[question] for question in questions]]


def unseen_words(tokenizer: Tokenizer, question: str) -> list[str]:
    """Returns the words of a question that the table lacks, each once.

    It has those of the questions to train on; of a model that writes, those of the
    answers too.
    """
    (ids,) = tokenizer.encode([_joined(question)])
    pairs = zip(words(question), ids, strict=True)
    return list(
        dict.fromkeys(x for x, number in pairs if number == Tokenizer.unknown_id)
    )


@dataclass(frozen=True)
class QuestionWords:
    """Turns questions into ids with the words that a model has learned.

    >>> QuestionWords(train_words(["is it red?"]), max_words=4).encode(["Is it red"])
    array([[4, 5, 6, 0]], dtype=int32)

    Attributes:
        max_words: longest question.
    """

    tokenizer: Tokenizer
    max_words: int

    def encode(self, questions: Sequence[str]) -> Int[np.ndarray, "N S"]:
        """Returns the ids of the words of each question; see `encode_questions`."""
        return encode_questions(self.tokenizer, questions, self.max_words)

    def check(self, question: str) -> None:
        """Raises InputError, with words that are known, if a word of it is not."""
        for word in unseen_words(self.tokenizer, question):
            first = self.tokenizer.unknown_id + 1
            ids = [[word_id] for word_id in range(first, self.tokenizer.vocab_size)]
            known = self.tokenizer.decode(ids)  # the commonest first
            near = difflib.get_close_matches(word, known) or known[:5]
            raise InputError(
                f"{word!r} is a word that no training question had; ask with words "
                f"such as {', '.join(near)}"
            )


def _joined(question: str) -> str:
    return " ".join(words(question))
