"""The text of an experiment, from whichever of its sources, as words and as tokens."""

import hashlib
import itertools
import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from experiments.translate.config import Config
from zoo.data.batching import check_lengths, lengths_with_end
from zoo.data.saved_tokens import load_tokenizer
from zoo.data.sources import Data
from zoo.data.splits import SPLITS, Split
from zoo.data.text import ParallelText, sha256
from zoo.data.text_tokens import TextTokens
from zoo.data.token_rows import TokenRows, token_rows
from zoo.data.tokenizer import Tokenizer

Ids = tuple[TokenRows, TokenRows]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Corpora:
    """The texts of a run, its tokenizer, and what training needs as tokens.

    Attributes:
        train_ids: of both sides, without start and end.
        validation_ids: of both sides, without start and end.
        sha256: the fingerprint of every text, by its split.
    """

    train: ParallelText
    validation: ParallelText
    test: ParallelText
    tokenizer: TextTokens
    train_ids: Ids
    validation_ids: Ids
    sha256: dict[str, str]

    def fingerprint(self) -> str:
        """Returns one of all texts and of what they are as tokens."""
        digest = hashlib.sha256("".join(self.sha256.values()).encode())
        for side in (*self.train_ids, *self.validation_ids):
            digest.update(lengths_with_end(side).tobytes())
            for block in side.blocks():
                digest.update(block.tobytes())
        return digest.hexdigest()


def prepare(config: Config, tokenizer: TextTokens | None = None) -> Corpora:
    """Reads the texts; trains the tokenizer on the first, or finds it in the folder.

    Writes nothing but the tokens, into the cache, so that a fault in the text leaves no
    run behind.

    Args:
        tokenizer: of the model that training begins with, if it begins with one.

    Raises:
        InputError: a locale is unknown, a file is missing or damaged, a sentence of any
            text is too long, or the cache cannot be written.
    """
    texts = {split: load(config.data, split, config.seed) for split in SPLITS}
    path = config.workdir / "tokenizer.model"
    if path.exists():
        tokenizer = load_tokenizer(path)
    elif tokenizer is None:
        text = texts["train"]
        tokenizer = Tokenizer.train(
            itertools.chain(text.source, text.target),
            config.model.vocab_size,
            tokens=config.data.tokens,
            lowercase=config.data.lowercase,
        )
    digests = {split: sha256(text) for split, text in texts.items()}
    ids = {
        split: _encode(config.data, split, text, digests[split], tokenizer)
        for split, text in texts.items()
    }
    if config.training.packed_length:
        _check_rows(config, texts["train"], map(lengths_with_end, ids["train"]))
    _tell_unknown(ids["train"], tokenizer)
    return Corpora(
        **texts,
        tokenizer=tokenizer,
        train_ids=ids["train"],
        validation_ids=ids["validation"],
        sha256=digests,
    )


def load(data: Data, split: Split, seed: int) -> ParallelText:
    """Returns the pairs of one split.

    Raises:
        InputError: a locale is unknown, or a file is missing or damaged.
    """
    return data.read(split, seed)


def _check_rows(
    config: Config, text: ParallelText, lengths: Iterable[np.ndarray]
) -> None:
    """Refuses a sentence that is longer than a row which several pairs share."""
    limit = config.training.packed_length
    remedy = "remove or split it, or raise --training.packed-length"
    for side, where in zip(lengths, config.data.where("train"), strict=True):
        check_lengths(side, limit, where, remedy, text.line)


def _encode(
    data: Data, split: Split, text: ParallelText, digest: str, tokenizer: TextTokens
) -> Ids:
    """Returns the tokens of both sides; refuses a sentence that is too long."""
    ids = token_rows(text, digest, tokenizer)
    remedy = "remove or split it, or raise --data.max-length"
    for side, where in zip(ids, data.where(split), strict=True):
        check_lengths(lengths_with_end(side), data.max_length, where, remedy, text.line)
    return ids


def _tell_unknown(ids: Ids, tokenizer: TextTokens) -> None:
    """Says how much of the training text a vocabulary of words has no room for."""
    unknown = total = 0
    for block in itertools.chain.from_iterable(side.blocks() for side in ids):
        unknown += np.count_nonzero(block == tokenizer.unknown_id)
        total += block.size
    if unknown:
        _log.warning(
            "%.2f %% of the training text are unknown to a vocabulary of %d; "
            "raise --model.vocab-size to know them",
            *(100 * unknown / total, tokenizer.vocab_size),
        )
