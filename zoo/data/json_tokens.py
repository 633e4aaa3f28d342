"""The tokens of BART, mBART-50 and NLLB: a tokenizer.json, by the library `tokenizers`.

Beside the pieces of the text there is what stands before them: ``<s>`` in BART, and in
models of many languages the name of the language, as in ``fr_XX`` or ``fra_Latn``, on
both sides.
"""

import json
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.data.marian_tokens import read_archive, unicode, write_archive
from zoo.data.text_tokens import Ids
from zoo.data.tokenizer import label
from zoo.errors import InputError, unknown

FILE, FRAME = "tokenizer.json", "frame.json"
_LANGUAGE = re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z]{1,3}")


class JsonTokenizer:
    """Sentences to lists of ids and back.

    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> pieces = ["<pad>", "<s>", "</s>", "<unk>", "a", "house"]
    >>> table = {piece: number for number, piece in enumerate(pieces)}
    >>> words = Tokenizer(models.WordLevel(table, unk_token="<unk>"))
    >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
    >>> JsonTokenizer(words.to_str().encode(), vocab_size=6).encode(["a house"])
    [[4, 5]]

    Args:
        content: of a tokenizer.json.
        vocab_size: rows of the model's embedding.
        source_start: ids before the text that is read.
        target_start: ids before the text that is written; None where there are many
            languages and none is chosen.
        where: what an error calls the file.

    Raises:
        InputError: the file is damaged, or lacks what it must have.
    """

    def __init__(
        self,
        content: bytes,
        vocab_size: int,
        source_start: Sequence[int] = (),
        target_start: Sequence[int] | None = (),
        where: str = FILE,
    ):
        self._content, self._vocab_size, self._where = content, vocab_size, where
        self._tokenizer = _read(content, where)
        size = self._tokenizer.get_vocab_size()
        if size > vocab_size:
            raise InputError(
                f"{where}: has {size} tokens, but the model {vocab_size}; download the "
                "directory again"
            )
        self.pad_id, self.eos_id, self.unknown_id = (
            self._id(name) for name in ("<pad>", "</s>", "<unk>")
        )
        self._source_start = list(source_start)
        self._target_start = None if target_start is None else list(target_start)
        self.languages = {
            token.content: number
            for number, token in self._tokenizer.get_added_tokens_decoder().items()
            if _LANGUAGE.fullmatch(token.content)
        }

    @property
    def vocab_size(self) -> int:
        """The number of ids: the rows that an embedding of them needs."""
        return self._vocab_size

    def template(self) -> list[int]:
        """Returns the special ids that the file itself puts around a text."""
        return self._tokenizer.encode("").ids

    def between(self, source: str | None, target: str | None) -> "JsonTokenizer":
        """Returns the tokenizer for two languages; None leaves one as it is.

        Raises:
            InputError: it has no such language, or none to write is chosen.
        """
        for name in filter(None, (source, target)):
            if not self.languages:
                raise InputError(
                    f"{self._where}: has no languages to choose from; leave {name} out"
                )
            if name not in self.languages:
                raise unknown("language", name, self.languages)
        if target is None and self._target_start is None:
            raise InputError(
                f"{self._where}: {len(self.languages)} languages can be written, and "
                "none is chosen; give target_language, for example "
                f"{next(iter(self.languages))}"
            )
        return JsonTokenizer(
            self._content,
            self._vocab_size,
            [self.languages[source]] if source else self._source_start,
            [self.languages[target]] if target else self._target_start,
            self._where,
        )

    @property
    def source_tokens(self) -> "JsonTokenizer":
        """Itself: what is read has the same ids."""
        return self

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of sentences to read, without an end; none of an empty one.

        Raises:
            InputError: a sentence is no Unicode text.
        """
        return [
            [*self._source_start, *ids] if ids else []
            for ids in self._pieces(sentences)
        ]

    def encode_targets(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of sentences that are written, without their end.

        Raises:
            InputError: a sentence is no Unicode text.
        """
        start = self._target_start or []
        return [[*start, *ids] for ids in self._pieces(sentences)]

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Returns the ids of words as they stand behind a space."""
        anchor, *rows = self._pieces(["a", *(f"a {word}" for word in words)])
        return [row[len(anchor) :] for row in rows]

    def decode(self, ids: Sequence[Ids] | np.ndarray) -> list[str]:
        """Returns the text before the first end of each row, without special tokens."""
        rows = [np.asarray(row, np.int64).tolist() for row in ids]
        rows = [row[: [*row, self.eos_id].index(self.eos_id)] for row in rows]
        return [text.strip() for text in self._tokenizer.decode_batch(rows)]

    def texts(self) -> list[str]:
        """Returns what each token writes behind another, its space included.

        Special tokens write nothing, and a byte of a character writes U+FFFD.
        """
        alone = self._tokenizer.decode_batch([[x] for x in range(self.vocab_size)])
        first = next(place for place, text in enumerate(alone) if text.strip())
        rows = [[first, token] for token in range(self.vocab_size)]
        return [
            text.removeprefix(alone[first])
            for text in self._tokenizer.decode_batch(rows)
        ]

    def labels(self, ids: Sequence[int]) -> list[str]:
        """Returns one label for each id, as a person reads it."""
        labels = []
        for number in map(int, ids):
            text = self._tokenizer.decode([number]).replace(" ", "▁")
            labels.append(label(text or self._tokenizer.id_to_token(number) or "⁇"))
        return labels

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all there is into an archive, at once or not at all."""
        frame = {"source": self._source_start, "target": self._target_start}
        files = {FRAME: json.dumps(frame).encode(), FILE: self._content}
        write_archive(files, self.vocab_size, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "JsonTokenizer":
        """Returns the tokenizer that `save` wrote.

        Raises:
            InputError: the file is damaged.
        """
        files, size = read_archive(path, (FRAME, FILE))
        try:
            frame = json.loads(files[FRAME])
            starts = [_checked(frame[side], size) for side in ("source", "target")]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(f"{path}: damaged ({error}); restore the file") from None
        return cls(files[FILE], size, *starts, where=str(path))

    def _pieces(self, sentences: Sequence[str]) -> list[list[int]]:
        found = self._tokenizer.encode_batch(
            list(unicode(sentences)), add_special_tokens=False
        )
        return [encoding.ids for encoding in found]

    def _id(self, name: str) -> int:
        number = self._tokenizer.token_to_id(name)
        if number is None:
            raise InputError(f"{self._where}: lacks {name}; download it again")
        return number


def _read(content: bytes, where: str) -> Any:
    import tokenizers

    try:
        tokenizer = tokenizers.Tokenizer.from_str(content.decode())
    except Exception as error:  # the library raises no narrower one
        raise InputError(
            f"{where}: no tokenizer ({error}); download it again"
        ) from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _checked(ids: Any, size: int) -> list[int]:
    if not isinstance(ids, list) or not all(
        type(x) is int and 0 <= x < size for x in ids
    ):
        raise ValueError(f"{str(ids)[:80]} are no tokens")
    return ids
