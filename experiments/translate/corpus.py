"""The text of an experiment, from whichever of its sources."""

from pathlib import Path
from typing import Literal

from experiments.translate.config import FilesData, PhrasesData, TsvData
from zoo.data.text import ParallelText, read_pair_of_files, read_tsv
from zoo.errors import InputError

Split = Literal["train", "validation", "test"]


def load(
    data: PhrasesData | FilesData | TsvData, split: Split, seed: int
) -> ParallelText:
    """Returns the pairs of one split.

    Raises:
        InputError: a locale is unknown, or a file is missing or damaged.
    """
    if isinstance(data, PhrasesData):
        from zoo.data.phrases import phrases

        count = {
            "train": data.num_train,
            "validation": data.num_validation,
            "test": data.num_test,
        }[split]
        return phrases(data.source_locale, data.target_locale, split, count, seed)
    if isinstance(data, TsvData):
        return read_tsv(getattr(data, split), data.source, data.target)
    return read_pair_of_files(*files(data, split))


def files(data: FilesData, split: Split) -> tuple[Path, Path]:
    """Returns the source and the target file of a split."""
    name = getattr(data, split)
    return _file(data, f"{name}.{data.source}"), _file(data, f"{name}.{data.target}")


def where(data: PhrasesData | FilesData | TsvData, split: Split) -> tuple[str, str]:
    """Returns what to call the source and the target side in an error."""
    if isinstance(data, FilesData):
        source, target = files(data, split)
        return str(source), str(target)
    if isinstance(data, TsvData):
        path = getattr(data, split)
        return f"{path}, column {data.source}", f"{path}, column {data.target}"
    return f"phrases in {data.source_locale}", f"phrases in {data.target_locale}"


def _file(data: FilesData, name: str) -> Path:
    for path in (data.folder / name, data.folder / f"{name}.gz"):
        if path.exists():
            return path
    raise InputError(
        f"{data.folder / name}: no such file, nor {name}.gz; give --data.folder, and "
        "--data.source, --data.target and the names of the splits if they differ"
    )
