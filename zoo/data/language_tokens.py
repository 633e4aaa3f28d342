"""What stands before every text: as a rule the name of its language, as a token.

It is there on both sides, in the text that is read and in the one that is written.
Where a model knows many languages, the two that it translates between are chosen once.
"""

import abc
import copy
import json
import os
from collections.abc import Mapping, Sequence

import numpy as np

from zoo.data.archives import read_archive, write_archive
from zoo.data.text_tokens import Ids, unicode, until_end
from zoo.errors import InputError, unknown

FRAME = "frame.json"
Start = Sequence[int] | None


class LanguageTokens(abc.ABC):
    """What tokenizers have in common whose texts begin with certain ids.

    Those below it say how a text is cut, `_cut`, and how ids are joined, `_join`.

    Args:
        files: all that the tokenizer is made of.
        vocab_size: rows of the model's embedding.
        languages: the id of each by its name, none where there is nothing to choose.
        source_start: ids before the text that is read; None where there are many
            languages and none is chosen.
        target_start: ids before the text that is written, likewise.
        where: what an error calls the files.

    Attributes:
        vocab_size: the number of ids.
        languages: the id of each by its name.
    """

    eos_id: int

    def __init__(
        self,
        files: Mapping[str, bytes],
        vocab_size: int,
        languages: Mapping[str, int],
        source_start: Start,
        target_start: Start,
        where: str,
    ):
        self._files, self._where = dict(files), where
        self.vocab_size, self.languages = vocab_size, dict(languages)
        self._starts = {"source": source_start, "target": target_start}

    def starting(self, source: Start, target: Start) -> "LanguageTokens":
        """Returns the tokenizer with other ids before the text on either side."""
        other = copy.copy(self)
        other._starts = {"source": source, "target": target}
        return other

    def between(self, source: str | None, target: str | None) -> "LanguageTokens":
        """Returns the tokenizer for two languages; None leaves one as it is.

        Raises:
            InputError: it has no such language, or none is chosen of many.
        """
        starts = dict(self._starts)
        for side, name in (("source", source), ("target", target)):
            if name is None:
                continue
            if not self.languages:
                raise InputError(
                    f"{self._where}: has no languages to choose from; leave {name} out"
                )
            if name not in self.languages:
                raise unknown("language", name, self.languages)
            starts[side] = [self.languages[name]]
        chosen = self.starting(**starts)
        for side in starts:
            chosen._start(side)
        return chosen

    @property
    def source_tokens(self) -> "LanguageTokens":
        """Itself: what is read has the same ids."""
        return self

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of sentences to read, without an end; none of an empty one.

        Raises:
            InputError: a sentence is no Unicode text, or no language is chosen.
        """
        start, rows = self._start("source"), self._cut(unicode(sentences))
        return [[*start, *ids] if ids else [] for ids in rows]

    def encode_targets(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of sentences that are written, without their end.

        Raises:
            InputError: a sentence is no Unicode text, or no language is chosen.
        """
        start = self._start("target")
        return [[*start, *ids] for ids in self._cut(unicode(sentences))]

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Returns the ids of words as they stand behind a space."""
        text = unicode(["a", *(f"a {word}" for word in words)])
        anchor, *rows = self._cut(text)
        return [row[len(anchor) :] for row in rows]

    def decode(self, ids: Sequence[Ids] | np.ndarray) -> list[str]:
        """Returns the text before the first end of each row, without special tokens."""
        return [text.strip() for text in self._join(until_end(ids, self.eos_id))]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all there is into an archive, at once or not at all."""
        frame = {side: start and list(start) for side, start in self._starts.items()}
        files = {FRAME: json.dumps(frame).encode(), **self._files}
        write_archive(files, self.vocab_size, path)

    @abc.abstractmethod
    def _cut(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of the texts alone."""

    @abc.abstractmethod
    def _join(self, rows: Sequence[list[int]]) -> list[str]:
        """Returns the text of ids, without special tokens."""

    def _start(self, side: str) -> Sequence[int]:
        """Returns the ids before a text; refuses to guess the language."""
        if (start := self._starts[side]) is not None:
            return start
        done = {"source": "read", "target": "written"}[side]
        name, number = next(iter(self.languages.items()), ("none", 0))
        raise InputError(
            f"{self._where}: {len(self.languages)} languages can be {done}, and none "
            f"is chosen; give {side}_language, for example {name}, or set src_lang in "
            "tokenizer_config.json and forced_bos_token_id in generation_config.json, "
            f"for example to {name} and its number, {number}"
        )


def read_frame(
    path: str | os.PathLike[str], names: Sequence[str]
) -> tuple[dict[str, bytes], int, tuple[Start, Start]]:
    """Returns files, size of the vocabulary and both starts of what `save` wrote.

    Raises:
        InputError: the archive is damaged.
    """
    files, size = read_archive(path, (FRAME, *names))
    try:
        frame = json.loads(files.pop(FRAME))
        source, target = (_checked(frame[side], size) for side in ("source", "target"))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path}: damaged ({error}); restore the file") from None
    return files, size, (source, target)


def _checked(ids: object, size: int) -> list[int] | None:
    if ids is None:
        return None
    if not isinstance(ids, list) or not all(
        type(x) is int and 0 <= x < size for x in ids
    ):
        raise ValueError(f"{str(ids)[:80]} are no tokens")
    return ids
