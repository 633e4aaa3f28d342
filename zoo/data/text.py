r"""Parallel text, and how it is read from two aligned files.

A line ends at ``\n`` or ``\r\n`` and nowhere else, because corpora hold U+2028,
U+0085 and their like inside sentences, where ``str.splitlines`` would shift one
language against the other. Whatever a file has wrong is said with its line.
"""

import dataclasses
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Sequence

from zoo.errors import InputError, read_limited

_Path = str | os.PathLike[str]
MAX_BYTES = 2**31  # of a file of text, unpacked; some twenty million sentences


@dataclasses.dataclass(frozen=True)
class ParallelText:
    """Aligned sentences: ``target[n]`` translates ``source[n]``.

    >>> text = ParallelText(["guten Tag"], ["good day"])
    >>> len(text)
    1

    Args:
        category: the kind of each pair, for scores by category; None if unknown.
        lines: where each pair stands in what it was read from, so that a fault can be
            named; None counts from 1.

    Raises:
        InputError: the columns have different lengths.
    """

    source: list[str]
    target: list[str]
    category: list[str] | None = None
    lines: Sequence[int] | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self):
        sizes = [len(self.source), len(self.target)]
        sizes += [] if self.category is None else [len(self.category)]
        if len(set(sizes)) > 1:
            raise InputError(
                "parallel text needs as many sources as targets and categories, "
                f"but has {', '.join(map(str, sizes))}"
            )

    def __len__(self) -> int:
        return len(self.source)

    def line(self, number: int) -> int:
        """Returns the line of the pair with this index."""
        return number + 1 if self.lines is None else self.lines[number]


def sha256(text: ParallelText) -> str:
    """Returns the fingerprint of the pairs, equal wherever they were read from.

    Every sentence is hashed behind its length in bytes, so that no other division
    of the same characters has the same fingerprint. Categories are labels of the
    pairs and are left out.
    """
    digest = hashlib.sha256()
    for pair in zip(text.source, text.target, strict=True):
        for sentence in pair:
            data = sentence.encode()
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def select(text: ParallelText, keep: Sequence[bool]) -> ParallelText:
    """Returns the pairs that are kept, with their categories and lines."""
    places = [place for place, kept in enumerate(keep) if kept]
    return ParallelText(
        [text.source[place] for place in places],
        [text.target[place] for place in places],
        text.category and [text.category[place] for place in places],
        [text.line(place) for place in places],
    )


def read_pair_of_files(source_path: _Path, target_path: _Path) -> ParallelText:
    """Returns the text of two files in which equal lines translate each other.

    Args:
        source_path, target_path: UTF-8, one sentence a line; ``.gz`` is unpacked.

    Raises:
        InputError: a file cannot be read, is empty or no UTF-8, has an empty line,
            or has another number of lines than the other one.
    """
    columns = []
    for path in (source_path, target_path):
        lines = read_lines(path)
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                raise InputError(
                    f"{path}, line {number}: empty; remove this line from both files"
                )
        columns.append(lines)
    source, target = columns
    if len(source) != len(target):
        raise InputError(
            f"{source_path} has {len(source)} lines, but {target_path} has "
            f"{len(target)}; line n of one must translate line n of the other"
        )
    return ParallelText(source, target)


def read_lines(path: _Path) -> list[str]:
    """Returns the lines of a file, without their ends and without a byte order mark.

    Args:
        path: UTF-8; ``.gz`` is unpacked.

    Raises:
        InputError: the file cannot be read, is empty or no UTF-8.
    """
    data = _read_bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: no valid UTF-8; convert the file to UTF-8"
        ) from error
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError(f"{path}: the file is empty")
    return [line.removesuffix("\r") for line in lines]


def _read_bytes(path: _Path) -> bytes:
    try:
        data = read_limited(path, MAX_BYTES)
        return _unpacked(path, data) if str(path).endswith(".gz") else data
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


def _unpacked(path: _Path, data: bytes) -> bytes:
    """Returns what a gzip file holds, but no more than fits into the memory."""
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise InputError(f"{path}: more than {MAX_BYTES:,} bytes when it is unpacked")
    return text
