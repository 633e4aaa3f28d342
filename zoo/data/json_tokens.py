"""The tokens of BART, mBART-50 and NLLB: a tokenizer.json, by the library `tokenizers`.

Beside the pieces of the text there is what stands before them: ``<s>`` in BART, and in
models of many languages the name of the language, as in ``fr_XX`` or ``fra_Latn``, on
both sides.
"""

import copy
import json
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from zoo.data.marian_tokens import read_archive, unicode, write_archive
from zoo.data.text_tokens import Ids
from zoo.data.tokenizer import label
from zoo.errors import InputError, unknown

FILE, FRAME = "tokenizer.json", "frame.json"
_LANGUAGE = re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z]{1,3}")
# No vocabulary has the second character, so that it shows what becomes of one unknown.
_PROBE = "a \U0010fffd"


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
        source_start: ids before the text that is read; None where there are many
            languages and none is chosen.
        target_start: ids before the text that is written, likewise.
        where: what an error calls the file.

    Raises:
        InputError: the file is damaged, or lacks what it must have.
    """

    def __init__(
        self,
        content: bytes,
        vocab_size: int,
        source_start: Sequence[int] | None = (),
        target_start: Sequence[int] | None = (),
        where: str = FILE,
    ):
        self._content, self._vocab_size, self._where = content, vocab_size, where
        self._tokenizer = _read(content, where)
        numbers = self._ask("get_vocab", with_added_tokens=True).values()
        highest = max([*numbers, *self.template()], default=0)
        if highest >= vocab_size:
            raise InputError(
                f"{where}: numbers up to {highest}, but the model has {vocab_size} "
                "tokens; download the directory again"
            )
        self.pad_id, self.eos_id, self.unknown_id = (
            self._id(name) for name in ("<pad>", "</s>", "<unk>")
        )
        self._source_start, self._target_start = (
            None if start is None else list(start)
            for start in (source_start, target_start)
        )
        self.languages = {
            token.content: number
            for number, token in self._ask("get_added_tokens_decoder").items()
            if _LANGUAGE.fullmatch(token.content)
        }
        # What cannot cut any text is refused here, and not at the first sentence.
        self._ask("decode_batch", self._pieces([_PROBE]))

    @property
    def vocab_size(self) -> int:
        """The number of ids: the rows that an embedding of them needs."""
        return self._vocab_size

    def template(self) -> list[int]:
        """Returns the special ids that the file itself puts around a text."""
        return self._ask("encode", "").ids

    def starting(
        self, source: Sequence[int] | None, target: Sequence[int] | None
    ) -> "JsonTokenizer":
        """Returns the tokenizer with other ids before the text on either side."""
        other = copy.copy(self)
        other._source_start, other._target_start = (
            None if start is None else list(start) for start in (source, target)
        )
        return other

    def between(self, source: str | None, target: str | None) -> "JsonTokenizer":
        """Returns the tokenizer for two languages; None leaves one as it is.

        Raises:
            InputError: it has no such language, or none is chosen of many.
        """
        for name in filter(None, (source, target)):
            if not self.languages:
                raise InputError(
                    f"{self._where}: has no languages to choose from; leave {name} out"
                )
            if name not in self.languages:
                raise unknown("language", name, self.languages)
        chosen = self.starting(
            [self.languages[source]] if source else self._source_start,
            [self.languages[target]] if target else self._target_start,
        )
        for side in ("source", "target"):
            chosen._start(side)
        return chosen

    @property
    def source_tokens(self) -> "JsonTokenizer":
        """Itself: what is read has the same ids."""
        return self

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of sentences to read, without an end; none of an empty one.

        Raises:
            InputError: a sentence is no Unicode text, or no language is chosen.
        """
        start = self._start("source")
        return [[*start, *ids] if ids else [] for ids in self._pieces(sentences)]

    def encode_targets(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of sentences that are written, without their end.

        Raises:
            InputError: a sentence is no Unicode text, or no language is chosen.
        """
        start = self._start("target")
        return [[*start, *ids] for ids in self._pieces(sentences)]

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Returns the ids of words as they stand behind a space."""
        anchor, *rows = self._pieces(["a", *(f"a {word}" for word in words)])
        return [row[len(anchor) :] for row in rows]

    def decode(self, ids: Sequence[Ids] | np.ndarray) -> list[str]:
        """Returns the text before the first end of each row, without special tokens."""
        rows = [np.asarray(row, np.int64).tolist() for row in ids]
        rows = [row[: [*row, self.eos_id].index(self.eos_id)] for row in rows]
        return [text.strip() for text in self._ask("decode_batch", rows)]

    def texts(self) -> list[str]:
        """Returns what each token writes behind another, its space included.

        Special tokens write nothing, and a byte of a character writes U+FFFD.

        Raises:
            InputError: no token writes anything.
        """
        alone = self._ask("decode_batch", [[x] for x in range(self.vocab_size)])
        first = next((place for place, text in enumerate(alone) if text.strip()), None)
        if first is None:
            raise InputError(f"{self._where}: no token has a text; download it again")
        rows = [[first, token] for token in range(self.vocab_size)]
        found = self._ask("decode_batch", rows)
        return [text.removeprefix(alone[first]) for text in found]

    def labels(self, ids: Sequence[int]) -> list[str]:
        """Returns one label for each id, as a person reads it."""
        labels = []
        for number in map(int, ids):
            text = self._ask("decode", [number]).replace(" ", "▁")
            labels.append(label(text or self._ask("id_to_token", number) or "⁇"))
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
        text = list(unicode(sentences))
        found = self._ask("encode_batch", text, add_special_tokens=False)
        return [encoding.ids for encoding in found]

    def _start(self, side: str) -> list[int]:
        """Returns the ids before a text; refuses to guess the language."""
        start, done = self._source_start, "read"
        if side == "target":
            start, done = self._target_start, "written"
        if start is not None:
            return start
        name, number = next(iter(self.languages.items()), ("none", 0))
        raise InputError(
            f"{self._where}: {len(self.languages)} languages can be {done}, and none "
            f"is chosen; give {side}_language, for example {name}, or set src_lang in "
            "tokenizer_config.json and forced_bos_token_id in generation_config.json, "
            f"for example to {name} and its number, {number}"
        )

    def _ask(self, method: str, *given: Any, **options: Any) -> Any:
        return _sound(self._where, getattr(self._tokenizer, method), *given, **options)

    def _id(self, name: str) -> int:
        number = self._ask("token_to_id", name)
        if number is None:
            raise InputError(f"{self._where}: lacks {name}; download it again")
        return number


def _read(content: bytes, where: str) -> Any:
    import tokenizers

    tokenizer = _sound(where, lambda: tokenizers.Tokenizer.from_str(content.decode()))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if hasattr(tokenizer.model, "dropout"):
        tokenizer.model.dropout = None  # training cut words at random, we never do
    return tokenizer


def _sound(where: str, call: Callable, *given: Any, **options: Any) -> Any:
    """Returns what a call of the library returns, whose panics are no Exception."""
    try:
        return call(*given, **options)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{where}: no sound tokenizer ({reason}); download it again"
        ) from None


def _checked(ids: Any, size: int) -> list[int] | None:
    if ids is None:
        return None
    if not isinstance(ids, list) or not all(
        type(x) is int and 0 <= x < size for x in ids
    ):
        raise ValueError(f"{str(ids)[:80]} are no tokens")
    return ids
