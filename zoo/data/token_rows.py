"""The ids of a text under a tokenizer: made once, kept in files, mapped into memory.

They lie in the cache. Each side of a text is two files: all ids in a row, and where
each sentence begins. The system keeps in memory what is asked for, one copy for all
processes, and can let go of it again.
"""

import hashlib
import itertools
import operator
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import SupportsIndex, overload

import numpy as np

from zoo.data.cache import entry
from zoo.data.text import ParallelText
from zoo.data.text_tokens import TextTokens

VERSION = 1  # of what is kept; another one is made anew
_AT_ONCE = 1_024  # sentences
_BLOCK = 2**20  # ids


class TokenRows(Sequence[list[int]]):
    """The ids of each sentence of one side, without start and end.

    It goes to another process as the place of its files.

    Args:
        folder: what `token_rows` has kept.
        side: "source" or "target".
        dtype: of the ids in the file.
    """

    def __init__(self, folder: Path, side: str, dtype: str):
        self._place = folder, side, dtype
        self._bounds = _mapped(folder / f"{side}.bounds", "int64")
        self._ids = _mapped(folder / f"{side}.ids", dtype)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @overload
    def __getitem__(self, index: SupportsIndex) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[int]]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> list[int] | list[list[int]]:
        places = range(len(self))
        if isinstance(index, slice):
            return [self[place] for place in places[index]]
        place = places[operator.index(index)]
        return self._ids[self._bounds[place] : self._bounds[place + 1]].tolist()

    def __reduce__(self):
        return TokenRows, self._place

    def lengths(self) -> np.ndarray:
        """Returns the number of ids of each sentence."""
        return np.diff(self._bounds)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields the ids of all sentences in a row, as int32, some at a time."""
        for first in range(0, len(self._ids), _BLOCK):
            yield self._ids[first : first + _BLOCK].astype(np.int32)


def token_rows(
    text: ParallelText, sha256: str, tokenizer: TextTokens
) -> tuple[TokenRows, TokenRows]:
    """Returns the ids of both sides of a text, from the cache if they are there.

    Args:
        sha256: of the text.

    Raises:
        InputError: the cache cannot be written, or a sentence cannot be encoded.
    """
    size = max(tokenizer.vocab_size, tokenizer.source_tokens.vocab_size)
    dtype = "uint16" if size <= 2**16 else "int32"
    made_from = f"{VERSION} {sha256} {_digest(tokenizer)}"
    key = f"tokens-{hashlib.sha256(made_from.encode()).hexdigest()[:32]}"

    def make(folder: Path) -> None:
        _write(folder / "source", dtype, text.source, tokenizer.encode)
        _write(folder / "target", dtype, text.target, tokenizer.encode_targets)

    folder = entry(key, make)
    return TokenRows(folder, "source", dtype), TokenRows(folder, "target", dtype)


def _write(
    path: Path,
    dtype: str,
    sentences: Sequence[str],
    encode: Callable[[Sequence[str]], list[list[int]]],
) -> None:
    last = 0
    with (
        path.with_suffix(".ids").open("wb") as ids,
        path.with_suffix(".bounds").open("wb") as bounds,
    ):
        bounds.write(np.zeros(1, np.int64).tobytes())
        for first in range(0, len(sentences), _AT_ONCE):
            rows = encode(sentences[first : first + _AT_ONCE])
            ends = last + np.cumsum([len(row) for row in rows], dtype=np.int64)
            bounds.write(ends.tobytes())
            ids.write(np.fromiter(itertools.chain(*rows), dtype).tobytes())
            last = int(ends[-1])


def _mapped(path: Path, dtype: str) -> np.ndarray:
    if not path.stat().st_size:  # which cannot be mapped
        return np.empty(0, dtype)
    return np.asarray(np.memmap(path, dtype, "r"))


def _digest(tokenizer: TextTokens) -> str:
    """Returns the SHA-256 of what a tokenizer saves, which is all that it knows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer")
        tokenizer.save(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()
