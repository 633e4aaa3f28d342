"""Pictures and questions in, answers out: a trained visual model with all around it.

Behind this stand words, classes of answers, batches of few shapes and the compiled
model, so that one question about a user's own picture and a whole test set take the
same path.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from zoo.catalogue import build, config_from_json
from zoo.data.tokenizer import Tokenizer
from zoo.data.vqa.answer_table import AnswerTable
from zoo.data.vqa.batching import EncodedQuestions, evaluation_batches
from zoo.data.vqa.examples import VisualQuestions
from zoo.data.vqa.wordpieces import WordPieces
from zoo.data.vqa.words import QuestionWords
from zoo.decoding import beam_search
from zoo.errors import InputError
from zoo.models.contract import Seq2Seq
from zoo.models.visual_contract import initialize, looks, region_grid
from zoo.pretrained.vilt import Processor
from zoo.runs import read_config, read_params, read_section, read_size
from zoo.spreading import by_rows, mesh_of, on_all_devices
from zoo.visual.images import OneShape, Resized, Sight

Reader = QuestionWords | WordPieces
BEAM_SIZE = 4  # answers that a model which writes them tells apart
_LARGEST = 8_192  # side of an image in pixels, or features of a region
_MOST = 10  # answers that are told, the likeliest first
_IMAGES, _QUESTIONS = 64, 10  # of a batch, and of an image in it


@dataclass(frozen=True)
class Answer:
    """What a model answers, and how likely it finds that, from 0 to 1."""

    text: str
    probability: float


class VisualAnswerer:
    """Answers questions about pictures with a trained model.

    >>> import zoo
    >>> from zoo.data.vqa.words import train_words
    >>> words = train_words(["is it red?"])
    >>> sizes = {"vocab_size": words.vocab_size, "num_answers": 2}
    >>> model = zoo.create_model("stacked-attention-tiny", **sizes)
    >>> params = jax.eval_shape(partial(initialize, model), jax.random.key(0))
    >>> reader, answers = QuestionWords(words, 12), AnswerTable(("yes", "no"))
    >>> VisualAnswerer(model, params, reader, OneShape((64, 64, 3)), answers).grid
    (8, 8)

    Args:
        model: under the contract of `zoo.models.visual_contract`.
        reader: makes ids of questions.
        sight: makes images of pictures.
        answers: what the model may answer; one that writes answers has learned these.
        independent: whether answers were learned each for itself, with a sigmoid, and
            not against each other.
    """

    def __init__(
        self,
        model: Any,
        params: Any,
        reader: Reader,
        sight: Sight,
        answers: AnswerTable,
        *,
        independent: bool = False,
    ):
        self.model = model
        self.params = params
        self.reader = reader
        self.sight = sight
        self.answers = answers
        self._rank = _ranker(model, reader, answers, independent)

    @classmethod
    def from_run(
        cls, workdir: str | Path, *, average: int | None = None
    ) -> "VisualAnswerer":
        """Returns the answerer of a run's best finished checkpoint, or of several.

        Args:
            average: as `zoo.load` has it.

        Raises:
            InputError: the folder holds no run, or too few checkpoints.
        """
        config = config_from_json(read_section(workdir, "model"))
        max_words = read_size(workdir, "data", "max_words")
        loss = read_section(workdir, "training").get("loss")
        shape = _image_shape(workdir)
        tokenizer = Tokenizer.load(Path(workdir) / "tokenizer.model")
        answers = AnswerTable.load(Path(workdir) / "answers.json")
        model = build(sized(config, tokenizer, answers))
        params = read_params(workdir, partial(initialize, model), average=average)
        return cls(
            model,
            params,
            QuestionWords(tokenizer, max_words),
            OneShape(shape),
            answers,
            independent=loss == "sigmoid",
        )

    @classmethod
    def from_pretrained(
        cls, path: str | Path, *, revision: str | None = None
    ) -> "VisualAnswerer":
        """Returns the answerer of weights that others have trained, such as ViLT's.

        Args:
            path: as `zoo.from_pretrained` has it.

        Raises:
            InputError: there is none, it is damaged, or it answers no questions.
        """
        from zoo.pretrained.loading import from_pretrained

        model, params, processor = from_pretrained(path, revision=revision)
        if not isinstance(processor, Processor):
            raise InputError(
                f"{path}: a {type(model).__name__}, which answers no questions about "
                "images; give a ViLT, or a run of experiments.vqa.train"
            )
        # As its authors trained it, each answer for itself.
        return cls(
            model,
            params,
            processor.reader,
            Resized(processor.resize),
            processor.answers,
            independent=True,
        )

    def with_params(self, params: Any) -> "VisualAnswerer":
        """Returns the same with other parameters; what is compiled is shared."""
        other = copy.copy(self)
        other.params = params
        return other

    def on_all_devices(self) -> "VisualAnswerer":
        """Returns the same with its parameters on every device, of every host.

        They then share the questions of a data set; of several hosts all must make the
        same calls.
        """
        return self.with_params(on_all_devices(self.params))

    def answer(self, image: Any, question: str, *, top: int = 5) -> list[Answer]:
        """Returns the likeliest answers to a question, the best first.

        A model that writes its answers tells at most four apart.

        Args:
            image: the path of a PNG, JPEG or WebP; or RGB pixels, or for a model of
                region features those of one image.
            top: how many, at most 10.

        Raises:
            InputError: the picture cannot be read, or the question is empty, too long,
                or has a word that no training question had.
        """
        if not 1 <= top <= _MOST:
            raise InputError(f"top is {top}, but must be from 1 to {_MOST}")
        words = self._read(question)
        texts, probabilities = self._rank(self.params, (self._see(image), words))
        pairs = zip(texts[0][0], probabilities[0][0].tolist(), strict=True)
        return [Answer(*pair) for pair in pairs][:top]

    def look(self, image: Any, question: str) -> dict[str, Float[np.ndarray, "R"]]:
        """Returns where the model looks: a distribution over the regions by its name.

        Args:
            image: as for `answer`.
        """
        found = self._look_at((self._see(image), self._read(question)))
        return {name: np.asarray(weights)[0, 0] for name, weights in found.items()}

    @property
    def grid(self) -> tuple[int, int] | None:
        """The rows and columns of the regions of every picture.

        None where they are no grid, or not the same for every picture.
        """
        shape = self.sight.image_shape
        return None if shape is None else region_grid(self.model, shape)

    def grid_of(self, image: Any) -> tuple[int, int] | None:
        """Returns the rows and columns of the regions of a picture.

        Args:
            image: as for `answer`.
        """
        return region_grid(self.model, self.sight.see(image).shape)

    @property
    def cell_size(self) -> int:
        """How many pixels wide a region of a grid is."""
        return self.model.image_encoder.cell_size

    def predict(
        self, questions: VisualQuestions
    ) -> tuple[list[str], Float[np.ndarray, "N"]]:
        """Returns the likeliest answer to every question, and its probability."""
        texts = np.full(len(questions), "", object)
        probabilities = np.zeros(len(questions))
        for places, batch in self._batches(questions):
            rows = batch["image"], batch["questions"]
            answers, likely = self._rank(self.params, rows)
            for row, slot in np.argwhere(places >= 0):
                texts[places[row, slot]] = answers[row][slot][0]
                probabilities[places[row, slot]] = likely[row, slot, 0]
        return texts.tolist(), probabilities

    def looks(self, questions: VisualQuestions) -> dict[str, Float[np.ndarray, "N R"]]:
        """Returns where the model looks at every question."""
        found: dict[str, np.ndarray] = {}
        for places, batch in self._batches(questions):
            maps = self._look_at((batch["image"], batch["questions"]))
            real = places >= 0
            for name, weights in maps.items():
                weights = np.asarray(weights)
                rows = found.setdefault(
                    name, np.zeros((len(questions), weights.shape[-1]), np.float32)
                )
                rows[places[real]] = weights[real]
        return found

    def _look_at(self, rows: Any) -> dict[str, Any]:
        return _look(self.model, mesh_of(self.params))(self.params, rows)

    def _batches(self, questions: VisualQuestions) -> Iterator[Any]:
        encoded = EncodedQuestions(
            images=self.sight.see_all(questions.images),
            image_of=questions.image_of,
            words=self.reader.encode(questions.questions),
            labels=np.full(len(questions), -1, np.int32),
            num_answers=len(self.answers),
        )
        alone = np.bincount(questions.image_of).max() == 1
        # Few shapes, each of which is compiled once.
        return evaluation_batches(
            encoded,
            images_per_batch=_IMAGES,
            questions_per_image=1 if alone else _QUESTIONS,
        )

    def _see(self, image: Any) -> np.ndarray:
        return self.sight.see(image)[None]

    def _read(self, question: str) -> Int[np.ndarray, "1 1 S"]:
        self.reader.check(question)
        return self.reader.encode([question])[None]


def _image_shape(workdir: str | Path) -> tuple[int, ...]:
    """Returns the shape of the images of a run, as its config says."""
    shape = read_config(workdir).get("image_shape")
    if (
        not isinstance(shape, list)
        or len(shape) not in (2, 3)
        or not all(type(size) is int and 1 <= size <= _LARGEST for size in shape)
    ):
        raise InputError(
            f"{Path(workdir) / 'config.json'}: image_shape is {repr(shape)[:100]}, but "
            f"must be two or three whole numbers from 1 to {_LARGEST:,}"
        )
    return tuple(shape)


def sized(config: Any, tokenizer: Tokenizer, answers: AnswerTable) -> Any:
    """Returns a model's config for these words, and for these answers if it chooses."""
    config = replace(config, vocab_size=tokenizer.vocab_size)
    if hasattr(config, "num_answers"):
        return replace(config, num_answers=len(answers))
    return config


def answer_tokens(tokenizer: Tokenizer, answers: AnswerTable) -> Int[np.ndarray, "A T"]:
    """Returns the words of each answer and its end, padded, for models that write."""
    rows = [[*ids, tokenizer.eos_id] for ids in tokenizer.encode(answers.answers)]
    table = np.full((len(rows), max(map(len, rows))), tokenizer.pad_id, np.int32)
    for row, ids in zip(table, rows, strict=True):
        row[: len(ids)] = ids
    return table


def _ranker(
    model: Any, reader: Reader, answers: AnswerTable, independent: bool
) -> Callable[..., tuple[Any, Float[np.ndarray, "B G N"]]]:
    """Returns what gives answers, best first, and how likely each is."""
    if isinstance(model, Seq2Seq) and isinstance(reader, QuestionWords):
        return _writer(model, reader.tokenizer, answers)
    count = min(_MOST, len(answers))

    def choose(params, rows):
        rank = _rank(model, count, independent, mesh_of(params))
        likely, places = jax.device_get(rank(params, rows))
        return np.array(answers.answers, object)[places], likely

    return choose


def _writer(model: Any, tokenizer: Tokenizer, answers: AnswerTable):
    longest = answer_tokens(tokenizer, answers).shape[1]

    def write(params, rows):
        search = _search(model, longest, mesh_of(params))
        tokens, scores = jax.device_get(search(params, rows))
        texts = np.empty(scores.shape, object)
        for place in np.ndindex(scores.shape[:2]):
            texts[place] = tokenizer.decode(tokens[place].tolist())
        return texts, np.exp(scores)

    return write


# Cached, so that all answerers of a model share what jax has compiled for it.


@lru_cache(maxsize=16)
def _rank(model: Any, count: int, independent: bool, mesh: Mesh | None) -> Any:
    squash = jax.nn.sigmoid if independent else jax.nn.softmax

    def rank(params, rows):
        logits = model.apply({"params": params}, *rows)
        return jax.lax.top_k(squash(logits.astype(jnp.float32)), count)

    return by_rows(rank, mesh)


@lru_cache(maxsize=16)
def _search(model: Any, longest: int, mesh: Mesh | None) -> Any:
    def search(params, rows):
        found = beam_search(
            model,
            params,
            rows,
            longest,
            num_hypotheses=BEAM_SIZE,
            length_penalty=0.0,
        )
        # As many of each image as there are questions about it.
        shape = rows[1].shape[:2]
        return tuple(leaf.reshape(*shape, *leaf.shape[1:]) for leaf in found)

    return by_rows(search, mesh)


@lru_cache(maxsize=16)
def _look(model: Any, mesh: Mesh | None) -> Any:
    return by_rows(lambda params, rows: looks(model, params, *rows), mesh)
