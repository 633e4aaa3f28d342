"""Questions as BERT's word pieces, for models whose words others have learned."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from zoo.errors import InputError


class WordPieces:
    """Turns questions into ids, from [CLS] to [SEP], with the library `tokenizers`.

    >>> import tokenizers
    >>> pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "is", "it", "red"]
    >>> vocabulary = {piece: number for number, piece in enumerate(pieces)}
    >>> tokenizer = tokenizers.BertWordPieceTokenizer(vocabulary)
    >>> WordPieces(tokenizer, max_words=8).encode(["Is it red"])
    array([[2, 4, 5, 6, 3, 0, 0, 0]], dtype=int32)

    Attributes:
        max_words: longest question in pieces, the two special ones included.
        pad_id: what fills the rows.
    """

    def __init__(self, tokenizer: Any, max_words: int):
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self.max_words = max_words
        self.pad_id = tokenizer.token_to_id("[PAD]") or 0

    @classmethod
    def load(cls, path: str | os.PathLike[str], max_words: int) -> "WordPieces":
        """Returns the word pieces of a tokenizer.json.

        Raises:
            InputError: the file is damaged.
        """
        import tokenizers

        try:
            return cls(tokenizers.Tokenizer.from_file(str(path)), max_words)
        except Exception as error:  # the library raises no narrower one
            raise InputError(
                f"{path}: no tokenizer ({error}); download it again"
            ) from None

    @classmethod
    def of_vocabulary(
        cls, path: str | os.PathLike[str], max_words: int, *, lowercase: bool
    ) -> "WordPieces":
        """Returns the word pieces of a vocab.txt, one a line, as BERT splits them.

        Raises:
            InputError: the file is damaged, or lacks a special piece.
        """
        import tokenizers

        try:
            pieces = Path(path).read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path}: cannot be read ({error}); download it again"
            ) from None
        vocabulary = {piece: number for number, piece in enumerate(pieces) if piece}
        for special in ("[PAD]", "[UNK]", "[CLS]", "[SEP]"):
            if special not in vocabulary:
                raise InputError(f"{path}: no piece {special}; download it again")
        return cls(
            tokenizers.BertWordPieceTokenizer(vocabulary, lowercase=lowercase),
            max_words,
        )

    @property
    def vocab_size(self) -> int:
        """Returns the number of pieces."""
        return self._tokenizer.get_vocab_size()

    def encode(self, questions: Sequence[str]) -> Int[np.ndarray, "N S"]:
        """Returns the ids of the pieces of each question, then padding.

        Raises:
            InputError: a question has no word, or is too long.
        """
        rows = np.full((len(questions), self.max_words), self.pad_id, np.int32)
        for row, question in zip(rows, questions, strict=True):
            ids = self._tokenizer.encode(question).ids
            if len(ids) < 3:
                raise InputError(
                    f"{question!r} is no question: it has no word; ask in words"
                )
            if len(ids) > self.max_words:
                raise InputError(
                    f"{question!r} has {len(ids)} word pieces, more than the limit of "
                    f"{self.max_words}; shorten it"
                )
            row[: len(ids)] = ids
        return rows

    def check(self, question: str) -> None:
        """Does nothing: of pieces, any word can be made."""
