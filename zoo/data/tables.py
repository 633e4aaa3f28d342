"""Parallel text from tables: two columns, with a column of groups, or a list of words.

Cells are separated by tabs and hold no quoting: a quotation mark is a character like
any other. The first line of a table names its columns.
"""

import itertools
import os
from collections.abc import Iterator

from zoo.data.lines import read_lines, stored
from zoo.data.text import ParallelText
from zoo.errors import InputError

_Path = str | os.PathLike[str]


def read_tsv(path: _Path, source_column: str, target_column: str) -> ParallelText:
    """Returns the text of two columns.

    Args:
        path: UTF-8; ``.gz`` is unpacked.

    Raises:
        InputError: the file cannot be read or is no UTF-8, lacks a column, has no
            rows, a row with another number of columns, or an empty sentence.
    """
    columns = source_column, target_column
    names = [f"{path}, column {name}" for name in columns]
    source, target = stored(_full_rows(path, *columns), names)
    return ParallelText(source, target, lines=range(2, len(source) + 2))


def read_grouped_tsv(
    path: _Path, source_column: str, target_column: str, group_column: str
) -> ParallelText:
    """Returns the text of two columns, with the group of each pair as its category.

    An empty sentence is left to the caller: editions of one book do not have all
    verses in common.

    Raises:
        InputError: as `read_tsv`, but for empty sentences; or a row has no group.
    """
    sources, targets, groups, lines = [], [], [], []
    for line, (source, target, group) in _rows(
        path, source_column, target_column, group_column
    ):
        if not group.strip():
            raise _empty(path, line, group_column)
        sources.append(source)
        targets.append(target)
        groups.append(group)
        lines.append(line)
    return ParallelText(sources, targets, groups, lines)


def read_word_list(path: _Path) -> ParallelText:
    """Returns the different pairs of a list of words and their forms.

    A line holds a word, a tab and one of its forms; a word with several forms has
    several lines. A line that begins with ``#`` is a comment. A pair that comes again
    is left out.

    Raises:
        InputError: the file cannot be read or is no UTF-8, or a line is no pair.
    """
    pairs: dict[tuple[str, str], int] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if line.startswith("#"):
            continue
        cells = line.split("\t")
        if len(cells) != 2 or not all(map(str.strip, cells)):
            raise InputError(
                f"{path}, line {number}: {line!r} is no word, tab and form; "
                "mend or remove the line"
            )
        pairs.setdefault((cells[0], cells[1]), number)
    if not pairs:
        raise InputError(f"{path}: nothing but comments, so the corpus is empty")
    words, forms = zip(*pairs, strict=True)
    return ParallelText(list(words), list(forms), lines=list(pairs.values()))


def _full_rows(path: _Path, *columns: str) -> Iterator[list[str]]:
    """Yields the cells of each row below the header, none of which is empty."""
    for line, cells in _rows(path, *columns):
        for name, cell in zip(columns, cells, strict=True):
            if not cell.strip():
                raise _empty(path, line, name)
        yield cells


def _rows(path: _Path, *columns: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the line of each row below the header, and its cells of these columns."""
    rows = read_lines(path)
    names = rows[0].split("\t")
    places = [_column(path, names, name) for name in columns]
    if len(rows) == 1:
        raise InputError(f"{path}: no lines below the header, so the corpus is empty")
    for line, row in enumerate(itertools.islice(rows, 1, None), start=2):
        cells = row.split("\t")
        if len(cells) != len(names):
            raise InputError(
                f"{path}, line {line}: {len(cells)} columns, "
                f"but the header has {len(names)}"
            )
        yield line, [cells[place] for place in places]


def _column(path: _Path, names: list[str], name: str) -> int:
    if names.count(name) != 1:
        fault = "two columns" if name in names else "no column"
        raise InputError(
            f"{path}, line 1: {fault} {name!r}; the columns are {', '.join(names)}"
        )
    return names.index(name)


def _empty(path: _Path, line: int, column: str) -> InputError:
    return InputError(
        f"{path}, line {line}: column {column!r} is empty; mend or remove the line"
    )
