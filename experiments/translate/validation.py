"""What a model in training is worth: its loss, and how well it translates a little.

All devices that train share the work.
"""

import math
from functools import partial

import jax

from experiments.translate.config import Config, DecodingConfig
from experiments.translate.corpus import Corpora
from experiments.translate.scoring import score, translate_all
from zoo.data.batching import SpecialIds, evaluation_batches
from zoo.data.text import ParallelText
from zoo.losses import sequence_loss
from zoo.models.contract import Seq2Seq
from zoo.spreading import divide
from zoo.training.step import TrainState
from zoo.translation.translator import Translator

WATCHED = 200  # validation sentences that are translated at each evaluation


def special_ids(model: Seq2Seq) -> SpecialIds:
    """Returns the ids that stand for no text, as the model has them."""
    return SpecialIds(model.pad_id, model.start_id, model.eos_id)


class Validation:
    """Measures a state: loss on all, scores of greedy translations of some."""

    def __init__(self, config: Config, corpora: Corpora, model: Seq2Seq):
        self._model, self._tokenizer = model, corpora.tokenizer
        self._data = config.data
        text = corpora.validation
        self._watched = ParallelText(text.source[:WATCHED], text.target[:WATCHED])
        self._batches = evaluation_batches(
            *corpora.validation_ids,
            tokens_per_batch=config.training.tokens_per_batch,
            num_buckets=1,
            rows_multiple=math.lcm(8, jax.device_count()),
            special=special_ids(model),
        )
        self._loss = jax.jit(partial(sequence_loss, model, key=None))

    def __call__(self, state: TrainState) -> dict[str, float]:
        """Returns the loss in nats a token, and scores from 0 to 100."""
        params = state.eval_params
        total = count = 0.0
        for _, batch in self._batches:
            loss = self._loss(params, divide(params, batch))
            total, count = total + float(loss.plain), count + float(loss.count)
        translator = Translator(
            self._model, params, self._tokenizer, self._data.max_length
        )
        translations = translate_all(translator, self._watched.source, DecodingConfig())
        scores = score(
            self._watched,
            translations,
            lowercase=self._data.lowercase,
            tokenize=self._data.bleu_tokenize,
        )
        return {
            "loss": total / count,
            "bleu": scores.bleu,
            "exact_match": scores.exact_match,
        }
