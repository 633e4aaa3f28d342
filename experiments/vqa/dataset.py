"""The questions of an experiment, as text and as a model sees them."""

import hashlib
from dataclasses import dataclass

from experiments.vqa.config import Config
from zoo.data.tokenizer import Tokenizer
from zoo.data.vqa.answer_table import AnswerTable
from zoo.data.vqa.batching import EncodedQuestions
from zoo.data.vqa.examples import VisualQuestions, sha256
from zoo.data.vqa.words import encode_questions, train_words


@dataclass(frozen=True)
class Dataset:
    """What a run trains and validates on; its test set is read when it is over."""

    train: VisualQuestions
    validation: VisualQuestions
    tokenizer: Tokenizer
    answers: AnswerTable

    def fingerprint(self) -> str:
        """Returns one of all that is trained and validated on."""
        parts = [sha256(self.train), sha256(self.validation), *self.answers.answers]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def prepare(config: Config) -> Dataset:
    """Reads the questions, and makes the tables of their words and answers.

    Writes nothing, so that a fault in the data leaves no run behind.

    Raises:
        InputError: a file is missing or damaged, or a question is too long.
    """
    train = config.data.read("train", config.seed)
    answers = AnswerTable.of(train, min_count=config.data.min_count)
    writes = not hasattr(config.model, "num_answers")
    return Dataset(
        train,
        config.data.read("validation", config.seed),
        train_words(train.questions, answers=answers.answers if writes else ()),
        answers,
    )


def encode(
    config: Config, dataset: Dataset, questions: VisualQuestions
) -> EncodedQuestions:
    """Returns questions as words, and their answers as classes.

    Raises:
        InputError: a question is empty or too long.
    """
    soft = config.training.loss == "sigmoid"
    return EncodedQuestions(
        images=questions.images,
        image_of=questions.image_of,
        words=encode_questions(
            dataset.tokenizer, questions.questions, config.data.max_words
        ),
        labels=dataset.answers.labels(questions),
        num_answers=len(dataset.answers),
        soft_scores=dataset.answers.soft_scores(questions) if soft else None,
    )
