"""Tokens shared by both languages: subwords, or whole words, or characters.

Subwords are byte-pair encoding (Sennrich et al. 2016, "Neural Machine Translation of
Rare Words with Subword Units") as built by Kudo and Richardson (2018), "SentencePiece".
A character that the vocabulary lacks is spelled as its UTF-8 bytes, so that nothing is
unknown, and digits stay single, so that numbers are read and written place by place.
Byte pairs rather than a unigram model: on short phrases they train several times faster
and keep whole words, where the unigram model falls back to letters.
"""

import collections
import hashlib
import io
import os
import pathlib
import random
from collections.abc import Iterable, Sequence

import numpy as np

from zoo.data.text_tokens import Ids, unicode, until_end
from zoo.data.token_table import Tokens, TokenTable, train_table
from zoo.errors import InputError, read_limited

MAX_BYTES = 2**26  # a model of 32,000 subwords has 800,000
_REMEDY = "restore the file or train again in a new folder"
_SAMPLE_SIZE = 500_000  # sentences; about 5 s of training
_SPACE = "\u2581"  # stands for a space inside a piece
# Digits are single; without these the space before a number would be a token alone.
_FIRST_DIGITS = [f"{_SPACE}{digit}" for digit in range(10)]
_NUM_RESERVED = 4 + 256 + 10  # pad, start, eos, unknown; the bytes; first digits
# The digest is field 200, the first that sentencepiece's protobuf leaves to others.
_DIGEST_TAG = bytes([0xC2, 0x0C, hashlib.sha256().digest_size])


class Tokenizer:
    """Sentences to lists of ids and back.

    ``decode(encode(s)) == s``, controls and spaces included: with subwords for every
    text, but that U+2581, by which sentencepiece writes the space, comes back as a
    space; with words or characters for every text whose tokens are in the vocabulary,
    while any other token comes back as U+2047 (⁇). A tokenizer trained with
    ``lowercase`` returns the text in lower case instead, and with subwords in Unicode's
    compatibility form (NFKC).

    >>> tokenizer = Tokenizer.train(["3 March 2021", "4 March 2021"], vocab_size=300)
    >>> tokenizer.decode(tokenizer.encode(["2 March"]))
    ['2 March']

    Args:
        model: a serialized sentencepiece model whose special ids are the ones below,
            or a table of tokens.
    """

    pad_id, start_id, eos_id, unknown_id = 0, 1, 2, 3

    def __init__(self, model: bytes):
        self._model = model
        self._processor = (
            TokenTable(model) if model.startswith(b"{") else _subwords(model)
        )

    @classmethod
    def train(
        cls,
        sentences: Iterable[str],
        vocab_size: int,
        *,
        tokens: Tokens = "subwords",
        lowercase: bool = False,
    ) -> "Tokenizer":
        """Returns a tokenizer of these sentences, equal for equal sentences.

        Args:
            sentences: of both languages; subwords are learned from a fixed random
                sample of 500,000 if there are more.
            vocab_size: a bound, special ids included, and for subwords the 256 bytes.
                A small corpus has fewer tokens: ask the tokenizer for its own size.
                Of words or characters the commonest are kept; rarer ones are unknown.
            tokens: words are what stands between spaces, for text that is cut already.
            lowercase: fold case, and for subwords compatibility forms (NFKC), inside
                the model.

        Raises:
            InputError: no sentences, or too small a vocabulary for them.
        """
        if tokens != "subwords":
            return cls(train_table(sentences, vocab_size, tokens, lowercase))
        sample = _sample(sentences, _SAMPLE_SIZE)
        if not any(map(str.strip, sample)):
            raise InputError("no text to train a tokenizer on: the corpus is empty")
        return cls(_train_byte_pairs(sample, vocab_size, lowercase))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Tokenizer":
        """Returns the tokenizer that `save` wrote.

        Raises:
            InputError: the file is missing, damaged or from elsewhere.
        """
        try:
            data = read_limited(path, MAX_BYTES)
        except OSError as error:
            raise InputError(f"{path}: no tokenizer ({error.strerror})") from error
        model = data[: -len(_signature(b""))]
        if data != model + _signature(model):
            raise InputError(
                f"{path}: damaged, or not written by Tokenizer.save; {_REMEDY}"
            )
        # The digest keeps faults of disks away, but whoever changes a file can sign it.
        try:
            tokenizer = cls(model)
        except (RuntimeError, ValueError, TypeError, KeyError, RecursionError):
            raise InputError(f"{path}: no tokenizer of ours; {_REMEDY}") from None
        if tokenizer.vocab_size <= cls.unknown_id:
            raise InputError(f"{path}: a tokenizer without tokens; {_REMEDY}")
        return tokenizer

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model with its digest, at once or not at all.

        sentencepiece itself can read a file of subwords too.
        """
        path = pathlib.Path(path)
        partial = path.with_name(f"{path.name}.partial")
        partial.write_bytes(self._model + _signature(self._model))
        os.replace(partial, path)

    @property
    def vocab_size(self) -> int:
        """The number of ids: the rows that an embedding of them needs."""
        return self._processor.vocab_size()

    @property
    def source_tokens(self) -> "Tokenizer":
        """Itself: what is read has the same ids."""
        return self

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of each sentence, without start and end.

        Text that looks like a control symbol, say ``</s>``, is text.

        Raises:
            InputError: a sentence is no Unicode text.
        """
        return self._processor.encode(list(unicode(sentences)))

    def encode_targets(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of what is written, which are those of what is read."""
        return self.encode(sentences)

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Returns the ids of words as they stand behind a space, so also as text."""
        return self.encode_targets(words)

    def decode(self, ids: Sequence[Ids] | np.ndarray) -> list[str]:
        """Returns the text before the first end of each row; skips pad and start."""
        # sentencepiece leaves out control symbols, but would go on after the end.
        texts = until_end(ids, self.eos_id)
        return self._processor.decode(texts) if texts else []

    def texts(self) -> list[str]:
        """Returns what each token writes behind another, its space included.

        Special tokens write nothing, and a byte of a character writes U+FFFD.
        """
        rows = [[self.unknown_id, token] for token in range(self.vocab_size)]
        first, *texts = self.decode([[self.unknown_id], *rows])
        return [text.removeprefix(first) for text in texts]

    def sentencepiece(self) -> bytes | None:
        """Returns the model of sentencepiece, None if tokens are no subwords."""
        return None if isinstance(self._processor, TokenTable) else self._model

    def piece_table(self) -> list[str]:
        """Returns every piece in the order of the ids."""
        return self._processor.id_to_piece([*range(self.vocab_size)])

    def labels(self, ids: Sequence[int]) -> list[str]:
        """Returns one label for each id, as a person reads it.

        Spaces are dropped, but for a piece of nothing else, which becomes ``_``. One
        byte of a character that the vocabulary lacks reads ``<0xE2>``.
        """
        pieces = self._processor.id_to_piece([*ids])
        return [label(piece) for piece in pieces]


def label(piece: str) -> str:
    """Returns a piece without the sign for spaces; one of spaces alone becomes ``_``.

    >>> label("\u2581March"), label("\u2581")
    ('March', '_')
    """
    return piece.strip(_SPACE) or "_" * len(piece)


def _subwords(model: bytes):
    """Returns the processor of a sentencepiece model."""
    import sentencepiece  # 50 ms, which `--help` need not wait for

    return sentencepiece.SentencePieceProcessor(model_proto=model)


def _train_byte_pairs(sample: list[str], vocab_size: int, lowercase: bool) -> bytes:
    import sentencepiece

    counts = collections.Counter()
    for sentence in sample:
        counts.update(sentence)
    model = io.BytesIO()
    try:
        # The whole sample: what sentencepiece samples differs between processes.
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sample),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            pad_id=Tokenizer.pad_id,
            bos_id=Tokenizer.start_id,
            eos_id=Tokenizer.eos_id,
            unk_id=Tokenizer.unknown_id,
            byte_fallback=True,
            character_coverage=_character_coverage(counts, vocab_size),
            split_digits=True,
            user_defined_symbols=_FIRST_DIGITS,
            normalization_rule_name="nmt_nfkc_cf" if lowercase else "identity",
            remove_extra_whitespaces=lowercase,
            max_sentence_length=1 << 30,
            num_threads=1,
            minloglevel=4,  # quiet; what is wrong comes as an exception
        )
    except RuntimeError as error:
        enough = _NUM_RESERVED + len(counts) + 1
        if vocab_size >= enough:
            raise
        raise InputError(
            f"a vocabulary of {vocab_size} is too small for the characters of this "
            f"corpus; {enough} is enough, some thousands are usual"
        ) from error
    return model.getvalue()


def _character_coverage(counts: collections.Counter[str], vocab_size: int) -> float:
    """Returns the share of the text whose characters get an id of their own.

    These are the commonest ones, up to half of the vocabulary and at least 98 % of
    the text (sentencepiece accepts no less), so that the thousands of rare characters
    of a large corpus do not fill the vocabulary.
    """
    common = counts.most_common(max(1, (vocab_size - _NUM_RESERVED) // 2))
    return max(0.98, sum(count for _, count in common) / counts.total())


def _sample(sentences: Iterable[str], size: int) -> list[str]:
    """Returns `size` sentences, each as likely as any other, the same each time.

    Vitter (1985), "Random Sampling with a Reservoir", algorithm R.
    """
    random_number = random.Random(0).random
    kept = []
    for number, sentence in enumerate(sentences, start=1):
        if number <= size:
            kept.append(sentence)
        elif (place := int(random_number() * number)) < size:
            kept[place] = sentence
    return kept


def _signature(model: bytes) -> bytes:
    """Returns a protobuf field to append: sentencepiece checks no damage by itself."""
    return _DIGEST_TAG + hashlib.sha256(model).digest()
