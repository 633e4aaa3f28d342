"""The tokens of Marian's models as Hugging Face keeps them: two sentencepiece models.

One cuts what is read and one what is written; a common table, vocab.json, numbers the
pieces of both, unless target_vocab.json numbers those that are written. Models of
several target languages are told which one by a token like ``>>fra<<`` before the text.
"""

import os
import re
from collections.abc import Mapping, Sequence

import numpy as np

from zoo.data.archives import read_archive, write_archive
from zoo.data.pieces import Pieces, read_numbers
from zoo.data.text_tokens import Ids, unicode, until_end
from zoo.data.tokenizer import label
from zoo.errors import InputError, unknown

FILES = ("source.spm", "target.spm", "vocab.json")
TARGET_TABLE = "target_vocab.json"
_SPECIAL = ("<pad>", "</s>", "<unk>")
_LANGUAGE = re.compile(r">>[^<>]*<<")


class MarianTokenizer:
    """Sentences to read or written to lists of ids, and ids that are written to text.

    >>> import json
    >>> from zoo.data.tokenizer import Tokenizer
    >>> own = Tokenizer.train(["a red house", "ein rotes Haus"], 300)
    >>> vocab = {piece: number for number, piece in enumerate(own.piece_table())}
    >>> contents = [own.sentencepiece()] * 2 + [json.dumps(vocab).encode()]
    >>> tokenizer = MarianTokenizer(dict(zip(FILES, contents)))
    >>> tokenizer.decode(tokenizer.encode(["a red house"]))
    ['a red house']

    Args:
        files: the content of the three FILES, and of TARGET_TABLE if there is one.
        vocab_size: rows of the table of what is written; None for as many as are
            numbered.
        where: what an error calls the files.

    Raises:
        InputError: a file is damaged, or lacks what it must have.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        vocab_size: int | None = None,
        where: str = "tokenizer",
    ):
        self.files = dict(files)
        name = TARGET_TABLE if TARGET_TABLE in files else FILES[2]
        self._number = read_numbers(files[name], _SPECIAL, f"{where}/{name}")
        self._source, self._target = (
            Pieces(files[name], self._number, _SPECIAL, f"{where}/{name}")
            for name in FILES[:2]
        )
        self._vocab_size = max(self._number.values()) + 1
        if vocab_size is not None:
            if vocab_size < self._vocab_size:
                raise InputError(
                    f"{where}/{name}: numbers up to {self._vocab_size - 1}, but "
                    f"the model has {vocab_size} tokens; download the directory again"
                )
            self._vocab_size = vocab_size
        self.pad_id, self.eos_id, self.unknown_id = (
            self._number[token] for token in _SPECIAL
        )
        self._languages = sorted(filter(_LANGUAGE.fullmatch, self._number))
        self.source_tokens = self
        if TARGET_TABLE in files:
            self.source_tokens = self._of_source(where)

    def _of_source(self, where: str) -> "MarianTokenizer":
        """Returns the tokens of what is read, where they have a table of their own."""
        files = {FILES[0]: self.files[FILES[0]], FILES[1]: self.files[FILES[0]]}
        source = MarianTokenizer({**files, FILES[2]: self.files[FILES[2]]}, None, where)
        for token in _SPECIAL:
            if source._number[token] != self._number[token]:
                raise InputError(
                    f"{where}: {token} has another number in {TARGET_TABLE} than in "
                    f"{FILES[2]}, which no model of ours can read; use another "
                    "directory"
                )
        return source

    @property
    def vocab_size(self) -> int:
        """The number of ids: the rows that an embedding of them needs."""
        return self._vocab_size

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of sentences to read, without an end.

        Where the model knows several languages, a sentence may begin with ``>>code<<``.

        Raises:
            InputError: the model does not know the language, or a sentence is no
                Unicode text.
        """
        source = self.source_tokens
        return [source._encode_source(sentence) for sentence in unicode(sentences)]

    def encode_targets(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of sentences that are written, without start and end.

        Raises:
            InputError: a sentence is no Unicode text.
        """
        return [self._target.encode(sentence) for sentence in unicode(sentences)]

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Returns the ids of words as they stand behind a space, so also as text."""
        return self.encode_targets(words)

    def decode(self, ids: Sequence[Ids] | np.ndarray) -> list[str]:
        """Returns the text before the first end of each row, without special tokens."""
        return [self._target.decode(row) for row in until_end(ids, self.eos_id)]

    def texts(self) -> list[str]:
        """Returns what each token writes behind another, its space included.

        Special tokens write nothing, and a byte of a character writes U+FFFD.
        """
        return [self._target.text(number) for number in range(self.vocab_size)]

    def piece_table(self) -> list[str]:
        """Returns every piece in the order of the ids; what has no name is numbered."""
        return [
            self._target.piece(number) or f"<unused{number}>"
            for number in range(self.vocab_size)
        ]

    def labels(self, ids: Sequence[int]) -> list[str]:
        """Returns one label for each id, as a person reads it."""
        return [label(self._target.piece(number)) for number in ids]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the three files into one archive, at once or not at all."""
        write_archive(self.files, self.vocab_size, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "MarianTokenizer":
        """Returns the tokenizer that `save` wrote.

        Raises:
            InputError: the file is damaged.
        """
        return cls(*read_archive(path, FILES, (TARGET_TABLE,)), str(path))

    def _encode_source(self, sentence: str) -> list[int]:
        if not self._languages or not (code := _LANGUAGE.match(sentence)):
            return self._source.encode(sentence)
        if code[0] not in self._number:
            raise unknown("language", code[0], self._languages)
        rest = self._source.encode(sentence[code.end() :])
        return [self._number[code[0]], *rest]
