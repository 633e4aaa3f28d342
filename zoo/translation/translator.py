"""The translator that a run leaves behind: text in, text out, and where it looked.

It owns the tokenizer and the jitted functions, so that a command, a notebook and a test
translate alike. The first sentence of a shape waits for a compilation; see `search`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax

from zoo.catalogue import build, config_from_json
from zoo.data.saved_tokens import load_tokenizer
from zoo.data.text_tokens import TextTokens
from zoo.decoding import IMPOSSIBLE, Decodable, Ensemble
from zoo.errors import InputError
from zoo.models.contract import initialize
from zoo.models.visual_configs import VISUAL_FAMILIES
from zoo.pretrained.generation import search_defaults, without_padding
from zoo.pretrained.loading import family_of, find, load_translator
from zoo.runs import read_params, read_search, read_section, read_size
from zoo.translation.alignment import align_words
from zoo.translation.attention_maps import AttentionMaps, look
from zoo.translation.options import (
    Constraints,
    Defaults,
    Sampling,
    check_range,
    defaults_from_json,
)
from zoo.translation.plans import plan_of, require_penalty
from zoo.translation.requests import encode, read_banned, read_requests, token_texts
from zoo.translation.scoring import score_targets
from zoo.translation.search import Shape, chunks, compiled, draw, given, shape_of

ANYTHING = Constraints()
OURS = Defaults()


@dataclass(frozen=True)
class Hypothesis:
    """A translation.

    Attributes:
        score: log-probability in nats, over length^α; higher is better.
        tokens: that the model wrote, end of sentence included unless it was cut. The
            text alone may be read as others.
    """

    text: str
    score: float
    tokens: tuple[int, ...] = field(default=(), repr=False)


class Translator:
    """A sequence-to-sequence model with its parameters and its tokenizer.

    >>> from zoo.data.tokenizer import Tokenizer
    >>> import zoo
    >>> tokenizer = Tokenizer.train(["a b c"], 30, tokens="words")
    >>> size = tokenizer.vocab_size
    >>> model = zoo.create_model("rnn-gru", vocab_size=size, model_dim=8)
    >>> shapes = jax.eval_shape(partial(initialize, model), jax.random.key(0))
    >>> Translator(model, shapes, tokenizer, max_length=16).translate([""])
    [[Hypothesis(text='', score=0.0)]]

    Args:
        model: under the contract of `zoo.models.contract`, or an ensemble of such.
        max_length: longest sentence in subwords, end of sentence included; on the
            source side a longer one is refused, on the target side it is cut.
        defaults: how to search.
    """

    def __init__(
        self,
        model: Decodable,
        params: Any,
        tokenizer: TextTokens,
        max_length: int,
        defaults: Defaults = OURS,
    ):
        self.model = model
        self.params = params
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.defaults = defaults

    @classmethod
    def from_run(
        cls, workdir: str | Path, *, average: int | None = None
    ) -> "Translator":
        """Returns the translator of a run's best finished checkpoint, or of several.

        Args:
            average: takes the mean of the parameters of the last so many checkpoints
                that were evaluated; 1 takes the best one. None does as the run's own
                test does.

        Raises:
            InputError: the folder holds no run, or too few checkpoints.
        """
        model = read_section(workdir, "model")
        if str(model.get("family")) in VISUAL_FAMILIES:
            raise InputError(
                f"{workdir}: a run on questions about images, and no translator; ask "
                "it with experiments.vqa.answer"
            )
        model_config = config_from_json(model)
        max_length = read_size(workdir, "data", "max_length")
        tokenizer = load_tokenizer(Path(workdir) / "tokenizer.model")
        model = build(replace(model_config, vocab_size=tokenizer.vocab_size))
        params = read_params(workdir, partial(initialize, model), average=average)
        defaults = OURS
        if (values := read_search(workdir)) is not None:
            defaults = defaults_from_json(values, str(workdir))
            params = without_padding(params, model.pad_id)
        return cls(model, params, tokenizer, max_length, defaults)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        revision: str | None = None,
        source_language: str | None = None,
        target_language: str | None = None,
    ) -> "Translator":
        """Returns the translator of weights that others have trained.

        Args:
            path: as `zoo.from_pretrained` has it.
            source_language: what a model of many reads; None leaves it as the directory
                says.
            target_language: what it writes, likewise.

        Raises:
            InputError: there is none, it is damaged, it does not translate, or not
                between these languages.
        """
        directory = find(path, revision=revision)
        model, params, tokenizer = load_translator(
            directory, source_language, target_language
        )
        params = without_padding(params, model.pad_id)
        longest, defaults = family_of(directory).longest, search_defaults(directory)
        return cls(model, params, tokenizer, longest(directory), defaults)

    @classmethod
    def from_runs(
        cls, workdirs: Sequence[str | Path], *, average: int | None = None
    ) -> "Translator":
        """Returns the ensemble of several runs: the mean of their probabilities.

        Args:
            average: of each, as in `from_run`.

        Raises:
            InputError: as in `from_run`, or the runs have different tokenizers.
        """
        members = [cls.from_run(workdir, average=average) for workdir in workdirs]
        files = [
            (Path(workdir) / "tokenizer.model").read_bytes() for workdir in workdirs
        ]
        for workdir, file in zip(workdirs, files, strict=True):
            if file != files[0]:
                raise InputError(
                    f"{workdir} and {workdirs[0]} have different tokenizers, so that "
                    "they are no ensemble; train both on the same text"
                )
        if len(members) == 1:
            return members[0]
        return cls(
            Ensemble(tuple(member.model for member in members)),
            tuple(member.params for member in members),
            members[0].tokenizer,
            min(member.max_length for member in members),
        )

    def translate(
        self,
        sentences: Sequence[str],
        *,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        num_best: int = 1,
        max_length: int | None = None,
        prefixes: Sequence[str] | None = None,
        required: Sequence[Sequence[str]] | None = None,
        constraints: Constraints = ANYTHING,
        sampling: Sampling | None = None,
    ) -> list[list[Hypothesis]]:
        """Returns the best translations of every sentence, in the order given.

        An empty sentence has one translation, the empty one.

        Args:
            beam_size: hypotheses kept at each step; 1 is greedy. None takes the
                model's own, 4 for those trained here, and no fewer than `num_best`.
            length_penalty: α; scores are log-probabilities over length^α. None takes
                the model's own, 1 for those trained here.
            num_best: translations of each sentence, at most `beam_size`.
            max_length: of a translation in subwords, end of sentence and prefix
                included; None takes the model's own or leaves it to the source's.
            prefixes: what each translation begins with, in whole words; it does not
                count for the score.
            required: the words, or several with spaces between, that each translation
                holds where a word begins. What follows them, an ending or a particle,
                is the model's; a tokenizer of characters holds them anywhere. Let the
                beam be wider than the number of their subwords.
            constraints: what no translation may break.
            sampling: draws `num_best` translations of each sentence, the best scored
                first, instead of a search; `beam_size` then has no effect.

        Raises:
            InputError: a sentence is too long, a number is out of its range, or no
                translation keeps what was asked for.
        """
        plan = plan_of(
            self.defaults,
            self.max_length,
            beam_size=beam_size,
            length_penalty=length_penalty,
            num_best=num_best,
            max_length=max_length,
            constraints=constraints,
            sampling=sampling,
        )
        sources = encode(self.tokenizer, sentences, self.max_length)
        requests = read_requests(self.tokenizer, sources, prefixes, required)
        if sampling and any(request.required for request in requests):
            raise InputError("required words need a search; leave sampling out")
        banned = read_banned(self.tokenizer, constraints.banned, requests)
        shapes = self._shapes(requests, max_length, plan.min_length)
        results = [[Hypothesis("", 0.0)] for _ in requests]
        for shape, numbers in chunks(shapes):
            seeds = draw(sampling, numbers) if sampling else None
            asked = given(
                [requests[n] for n in numbers], shape, banned, seeds, self.model.pad_id
            )
            for number, hypotheses in zip(
                numbers, self._find(plan, shape, asked), strict=True
            ):
                results[number] = hypotheses[:num_best]
        for number, hypotheses in enumerate(results, start=1):
            if not hypotheses:
                raise InputError(
                    f"sentence {number} has no translation that keeps what was asked "
                    "for; ask for less, or for a higher max_length"
                )
        return results

    def score(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        *,
        length_penalty: float = 1.0,
    ) -> list[float]:
        """Returns the score of each target as a translation of its source.

        Its log-probability in nats, end of sentence counted, over length^α: what
        `translate` gives a translation that ended.

        Args:
            length_penalty: α; 0 gives the log-probability itself, 1 that of a token.

        Raises:
            InputError: a sentence is too long, or the penalty out of its range.
        """
        require_penalty(length_penalty)
        return score_targets(
            self.model,
            self.params,
            self.tokenizer,
            sources,
            targets,
            self.max_length,
            length_penalty,
        )

    def attention(self, source: str, target: str | Sequence[int]) -> AttentionMaps:
        """Returns where every attention of the model looks, given both sentences.

        A target that is longer than the model can write is cut.

        Args:
            target: a text, or the tokens of a hypothesis.

        Raises:
            InputError: a sentence is empty, or the source is too long.
        """
        if isinstance(self.model, Ensemble):
            raise InputError(
                f"attention is of one model, but here are {len(self.model.models)}; "
                "load one run alone"
            )
        return look(
            self.model, self.params, self.tokenizer, source, target, self.max_length
        )

    def align(
        self, source: str, target: str, *, layer: int | None = None
    ) -> list[tuple[int, int]]:
        """Returns (source word, target word) for each target word, counted from 0.

        The source word is the one that the model looks at most while it writes the
        target word, by the mean over the heads; see `zoo.translation.alignment`. Words
        stand between spaces, in the text as the tokenizer reads it.

        Args:
            layer: of the decoder, from 1; None takes the last.

        Raises:
            InputError: the model has no attention, or no such layer, or the source is
                too long.
        """
        (source_ids,) = self.tokenizer.encode([source])
        (target_ids,) = self.tokenizer.encode_targets([target])
        if not source_ids or not target_ids:
            return []
        layers = list(self.attention(source, target).between().values())
        if not layers:
            raise InputError(
                f"{type(self.model).__name__} has no attention to align words by; "
                "choose a model with attention"
            )
        layer = len(layers) if layer is None else layer
        check_range("layer", layer, 1, len(layers))
        weights = layers[layer - 1].mean(axis=0)
        read = token_texts(self.tokenizer.source_tokens)
        written = token_texts(self.tokenizer)
        return align_words(
            weights,
            [read[token] for token in source_ids],
            [written[token] for token in target_ids[: len(weights)]],
        )

    def _shapes(self, requests, max_length, min_length) -> list[Shape | None]:
        """Returns the shape of each request, None where there is nothing to read."""
        shapes = [
            shape_of(request, self.max_length, max_length, min_length)
            if len(request.source) > 1
            else None
            for request in requests
        ]
        if max_length is None and (most := self.defaults.max_length):
            shapes = [
                shape and shape._replace(max_length=min(shape.max_length, most))
                for shape in shapes
            ]
        for number, (request, shape) in enumerate(zip(requests, shapes, strict=True)):
            if shape is not None:
                request.check_room(number + 1, shape.max_length)
        return shapes

    def _find(self, plan, shape, asked) -> list[list[Hypothesis]]:
        """Returns the hypotheses of every row."""
        search = compiled(self.model, self.tokenizer.vocab_size, plan, shape.max_length)
        found = jax.device_get(search(self.params, asked))
        return [
            [
                Hypothesis(text, float(score), _to_end(row, self.model.eos_id))
                for text, score, row in zip(
                    self.tokenizer.decode(tokens), scores, tokens.tolist(), strict=True
                )
                if score > IMPOSSIBLE
            ]
            for tokens, scores in zip(*found, strict=True)
        ]


def _to_end(tokens: list[int], eos_id: int) -> tuple[int, ...]:
    """Returns the tokens up to the end of sentence, or all where there is none."""
    ends = tokens.index(eos_id) + 1 if eos_id in tokens else None
    return tuple(tokens[:ends])
