"""Parallel text, and how it is read from two aligned files.

Its columns are lists, or stay in their files as `zoo.data.lines.Lines`. Whatever a file
has wrong is said with its line.
"""

import dataclasses
import hashlib
import os
from collections.abc import Sequence

from zoo.data.lines import read_lines
from zoo.errors import InputError

_Path = str | os.PathLike[str]


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

    source: Sequence[str]
    target: Sequence[str]
    category: Sequence[str] | None = None
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
        InputError: as for `read_lines`; or a line is empty, or a file has another
            number of lines than the other one.
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
