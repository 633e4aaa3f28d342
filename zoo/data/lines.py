r"""Sentences that stay in a file, and are read from it when they are asked for.

What is kept of a corpus in memory is where its lines begin, 8 bytes a line: to find
them is one pass of numpy over the file, which has to be read for its UTF-8 anyway, so
that an index on the disk would save nothing. A line ends at ``\n`` or ``\r\n`` and
nowhere else, because corpora hold U+2028, U+0085 and their like inside sentences, where
``str.splitlines`` would shift one language against the other. Text that is packed, or
no file of lines, is first written to a file without a name in the cache.
"""

import contextlib
import gzip
import io
import itertools
import operator
import os
import weakref
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import SupportsIndex, overload

import numpy as np

from zoo.data.cache import append, scratch
from zoo.errors import InputError, file_size

_Path = str | os.PathLike[str]
MAX_BYTES = 2**31  # of a gzip file, unpacked; some twenty million sentences
MAX_LINE = 2**20  # bytes; what is longer is no sentence
_AT_ONCE = 1_024  # sentences
_END = b"\r\n"  # of what is stored, so that an end inside of a sentence is not taken
_MARK = b"\xef\xbb\xbf"  # of the byte order


class Lines(Sequence[str]):
    """The sentences of an open file; equal to a list of the same sentences.

    A file that is renamed or deleted is read on; one that is written to is refused,
    since nothing that was found out about its text need be true any more.

    Args:
        file: may be closed when this is made.
        bounds: where each sentence begins, and the last one ends, in bytes.
        name: what an error calls the file.
    """

    def __init__(self, file: io.FileIO, bounds: np.ndarray, name: _Path):
        self._file, self._bounds, self._name = os.dup(file.fileno()), bounds, name
        weakref.finalize(self, os.close, self._file)
        self._state = self._now()

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @overload
    def __getitem__(self, index: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> str | list[str]:
        if isinstance(index, slice):
            places = range(len(self))[index]
            if places.step == 1 and places:
                return self._read(places.start, places.stop)
            return [self[place] for place in places]
        place = range(len(self))[operator.index(index)]
        return self._read(place, place + 1)[0]

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _AT_ONCE):
            yield from self[first : first + _AT_ONCE]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None

    def __reduce__(self):
        raise TypeError("lines stay with the process that has opened their file")

    def _read(self, first: int, last: int) -> list[str]:
        """Returns the sentences from the first on and before the last."""
        begin, *ends = self._bounds[first : last + 1].tolist()
        try:
            data = os.pread(self._file, ends[-1] - begin, begin)
        except OSError as error:
            raise InputError(
                f"{self._name}: cannot be read ({error.strerror})"
            ) from error
        if self._now() != self._state:
            raise InputError(
                f"{self._name}: written to while it was in use; start the command again"
            )
        sentences, start = [], 0
        for end in ends:
            line = data[start : end - begin]
            sentences.append(line.removesuffix(b"\n").removesuffix(b"\r").decode())
            start = end - begin
        return sentences

    def _now(self) -> tuple[int, int]:
        found = os.fstat(self._file)
        return found.st_size, found.st_mtime_ns


def read_lines(path: _Path) -> Lines:
    """Returns the lines of a file, without their ends and without a byte order mark.

    Args:
        path: UTF-8; ``.gz`` is unpacked.

    Raises:
        InputError: the file cannot be read, is empty or no UTF-8, or has a line of more
            than a million bytes; or the cache has no room for what is packed.
    """
    with _opened(path) as file:
        return Lines(file, _bounds(path, file), path)


def stored(pairs: Iterable[Sequence[str]], names: Sequence[str]) -> tuple[Lines, Lines]:
    """Returns the columns of pairs, which are kept in files of the cache without names.

    Args:
        names: what an error calls the columns.

    Raises:
        InputError: the cache cannot be written.
    """
    with scratch() as source, scratch() as target:
        sides = [(source, array("q", [0])), (target, array("q", [0]))]
        pairs = iter(pairs)
        while some := list(itertools.islice(pairs, _AT_ONCE)):
            columns = zip(*some, strict=True)
            for (file, bounds), column in zip(sides, columns, strict=True):
                lines = [sentence.encode() + _END for sentence in column]
                lengths = map(len, lines)
                bounds.extend(itertools.accumulate(lengths, initial=bounds.pop()))
                append(file, b"".join(lines))
        stored_source, stored_target = (
            Lines(file, np.array(bounds), name)
            for (file, bounds), name in zip(sides, names, strict=True)
        )
    return stored_source, stored_target


def _opened(path: _Path) -> io.FileIO:
    """Returns the open file, of what is packed a file with what it holds."""
    try:
        file_size(path)
        if str(path).endswith(".gz"):
            return _unpacked(path)
        return open(path, "rb", buffering=0)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except EOFError as error:
        raise InputError(
            f"{path}: the gzip file ends too early; fetch or copy it again"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: damaged, or no gzip file ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _unpacked(path: _Path) -> io.FileIO:
    """Returns a file with what a gzip file holds, which is bounded."""
    with gzip.open(path) as packed, contextlib.ExitStack() as stack:
        file = stack.enter_context(scratch())
        while data := packed.read(MAX_LINE):
            if file.tell() + len(data) > MAX_BYTES:
                raise InputError(
                    f"{path}: more than {MAX_BYTES:,} bytes when it is unpacked"
                )
            append(file, data)
        stack.pop_all()
        return file


def _bounds(path: _Path, file: io.FileIO) -> np.ndarray:
    """Returns where each line of a file begins, and the last one ends."""
    descriptor = file.fileno()
    begin = len(_MARK) if os.pread(descriptor, len(_MARK), 0) == _MARK else 0
    found, number = [np.array([begin])], 0
    while data := os.pread(descriptor, MAX_LINE, begin):
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
        if len(data) < MAX_LINE and not data.endswith(b"\n"):
            ends = np.append(ends, len(data))  # the last line may lack its end
        if not len(ends):
            raise InputError(
                f"{path}, line {number + 1}: longer than {MAX_LINE:,} bytes; "
                "give a sentence a line"
            )
        _require_unicode(path, data[: ends[-1]], number)
        found.append(begin + ends)
        begin, number = int(begin + ends[-1]), number + len(ends)
    if not number:
        raise InputError(f"{path}: the file is empty")
    return np.concatenate(found)


def _require_unicode(path: _Path, data: bytes, number: int) -> None:
    """Raises InputError with the line unless data is UTF-8; so many lines precede."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = number + data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: no valid UTF-8; convert the file to UTF-8"
        ) from error
