"""The tokens of T5: one sentencepiece model for all that is read and written."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zoo.data.archives import read_archive, write_archive
from zoo.data.pieces import read_subwords
from zoo.data.text_tokens import Ids, unicode, until_end
from zoo.data.tokenizer import label
from zoo.errors import InputError

FILE = "spiece.model"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


class T5Tokenizer:
    """Sentences to lists of ids and back.

    Ids beyond the sentencepiece model are T5's sentinels, which stand for no text.

    >>> from zoo.data.tokenizer import Tokenizer
    >>> own = Tokenizer.train(["a red house", "ein rotes Haus"], 300)
    >>> tokenizer = T5Tokenizer(own.sentencepiece(), own.vocab_size)
    >>> tokenizer.decode(tokenizer.encode(["a red house"]))
    ['a red house']

    Args:
        model: the serialized sentencepiece model.
        vocab_size: rows of the model's embedding.
        where: what an error calls the model.

    Raises:
        InputError: the model is damaged, or has no end of sentence.
    """

    def __init__(self, model: bytes, vocab_size: int, where: str = FILE):
        self._model, self._vocab_size = model, vocab_size
        self._processor = read_subwords(model, where)
        self._size = min(self._processor.vocab_size(), vocab_size)
        self.eos_id, self.unknown_id = (
            self._processor.eos_id(),
            self._processor.unk_id(),
        )
        if not 0 <= self.eos_id < self._size:
            raise InputError(f"{where}: has no end of sentence; download it again")
        pad_id = self._processor.pad_id()
        self.pad_id = None if pad_id < 0 else pad_id

    @property
    def vocab_size(self) -> int:
        """The number of ids: the rows that an embedding of them needs."""
        return self._vocab_size

    @property
    def source_tokens(self) -> "T5Tokenizer":
        """Itself: what is read has the same ids."""
        return self

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of sentences, without start and end.

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
        """Returns the text before the first end of each row, without unknown tokens."""
        texts = [
            [x for x in row if x < self._size and x != self.unknown_id]
            for row in until_end(ids, self.eos_id)
        ]
        return self._processor.decode(texts) if texts else []

    def texts(self) -> list[str]:
        """Returns what each token writes behind another, its space included."""
        processor = self._processor
        texts = [
            ""
            if processor.is_control(number) or processor.is_unknown(number)
            else _BYTE.sub("\ufffd", processor.id_to_piece(number)).replace("▁", " ")
            for number in range(self._size)
        ]
        return texts + [""] * (self.vocab_size - self._size)

    def labels(self, ids: Sequence[int]) -> list[str]:
        """Returns one label for each id, as a person reads it."""
        return [
            label(self._processor.id_to_piece(int(x))) if x < self._size else "⁇"
            for x in ids
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model into an archive, at once or not at all."""
        write_archive({FILE: self._model}, self.vocab_size, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "T5Tokenizer":
        """Returns the tokenizer that `save` wrote.

        Raises:
            InputError: the file is damaged.
        """
        files, size = read_archive(path, (FILE,))
        return cls(files[FILE], size, str(Path(path)))
