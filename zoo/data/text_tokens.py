"""What translation asks of a tokenizer, ours or that of an imported model."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from zoo.errors import InputError

Ids = Sequence[int] | np.ndarray


@runtime_checkable
class TextTokens(Protocol):
    """Text to ids and back; what is read and what is written may differ in tokens."""

    @property
    def vocab_size(self) -> int:
        """The number of ids: the rows that an embedding of them needs."""
        ...

    @property
    def eos_id(self) -> int:
        """The id that ends each side of a pair."""
        ...

    @property
    def unknown_id(self) -> int:
        """The id of what the vocabulary lacks."""
        ...

    @property
    def source_tokens(self) -> "TextTokens":
        """Texts and labels of what is read, if its ids have others; else itself."""
        ...

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of sentences to read, without start and end.

        The name of a language may come first, but an empty sentence has no ids.
        """
        ...

    def encode_targets(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of sentences that are written, without start and end.

        What every one begins with comes first, before an empty sentence too.
        """
        ...

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Returns the ids of words as they stand behind a space."""
        ...

    def decode(self, ids: Sequence[Ids] | np.ndarray) -> list[str]:
        """Returns the text before the first end of each row."""
        ...

    def texts(self) -> list[str]:
        """Returns what each token writes behind another, its space included."""
        ...

    def labels(self, ids: Sequence[int]) -> list[str]:
        """Returns one label for each id, as a person reads it."""
        ...

    def save(self, path: Any) -> None:
        """Writes all there is to one file, at once or not at all."""
        ...


def unicode(sentences: Sequence[str]) -> Sequence[str]:
    """Returns the sentences.

    Raises:
        InputError: one is no Unicode text.
    """
    for number, sentence in enumerate(sentences, start=1):
        try:
            sentence.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"sentence {number} is no Unicode text: {sentence!r}; give it as UTF-8"
            ) from error
    return sentences


def until_end(ids: Sequence[Ids] | np.ndarray, eos_id: int) -> list[list[int]]:
    """Returns the ids before the first end of each row.

    >>> until_end([[5, 6, 2, 7], [8]], eos_id=2)
    [[5, 6], [8]]
    """
    rows = [np.asarray(row, np.int64).tolist() for row in ids]
    return [row[: [*row, eos_id].index(eos_id)] for row in rows]
