"""Translation sets of TensorFlow Datasets, read without TensorFlow.

What TFDS has prepared as array_record or Parquet files can be read by place, in plain
Python; TensorFlow's own tfrecord files cannot. Only the files are asked: no code of the
data set runs, and nothing is downloaded.
"""

import contextlib
import functools
import logging
import os
import pathlib
from array import array
from collections.abc import Callable, Iterator
from typing import Any

from zoo.data.lines import stored
from zoo.data.text import ParallelText
from zoo.errors import InputError, unknown

_AT_ONCE = 1_000  # examples; one by one they take 6 times as long
_log = logging.getLogger(__name__)


def read_tfds(
    name: str, data_dir: str | os.PathLike[str], split: str, source: str, target: str
) -> ParallelText:
    """Returns the text of one split of a prepared data set, in the order of its files.

    An example whose source or target is empty is left out on purpose, and a log message
    says how many there were: files of TFDS are not for mending.

    Args:
        name: data set and, if it has some, config: ``ted_hrlr_translate/pt_to_en``.
        data_dir: the folder that TFDS prepares its data sets in; ``~`` is expanded.
        split: as the data set calls it.
        source, target: features of the data set; for translations, its languages.

    Raises:
        InputError: TFDS is not installed, no such data set is prepared there, or not
            in a format that can be read; it lacks the split, or text of that name.
    """
    try:
        import tensorflow_datasets as tfds
    except ModuleNotFoundError as error:
        raise InputError(
            f"{name}: {error.name} is not installed; pip install 'attention-zoo[tfds]'"
        ) from error
    folder = newest_version(name, data_dir)
    remedy = f"remove the folder and {preparation(name, data_dir)}"
    damage_told = functools.partial(_damage_told, folder, remedy)
    with damage_told():
        builder = tfds.builder_from_directory(folder)
        features = builder.info.features
        texts = [
            key for key in features if isinstance(features[key], tfds.features.Text)
        ]
        for side in (source, target):
            _require(f"text feature of {name}", side, texts or list(features))
        _require(f"split of {name}", split, list(builder.info.splits))
        data: Any = builder.as_data_source(split=split)
    pairs = _pairs(data, source, target, damage_told)
    return _text(f"{name}, {split}", pairs, source, target)


def _require(what: str, given: str, known: list[str]) -> None:
    if given not in known:
        raise unknown(what, given, known)


@contextlib.contextmanager
def _damage_told(folder: pathlib.Path, remedy: str) -> Iterator[None]:
    """Turns what TFDS says of files that it cannot read into an InputError."""
    from google.protobuf.json_format import ParseError

    try:
        yield
    except NotImplementedError as error:
        raise InputError(
            f"{folder}: not in a format that can be read without TensorFlow; {remedy}"
        ) from error
    except (OSError, ValueError, RuntimeError, ParseError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{folder}: damaged ({reason}); {remedy}") from error


def _pairs(
    data: Any,
    source: str,
    target: str,
    damage_told: Callable[[], contextlib.AbstractContextManager],
) -> Iterator[tuple[bytes, bytes]]:
    """Yields two features of every example, read some at a time."""
    for first in range(0, len(data), _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, len(data)))
        with damage_told():
            examples = data.__getitems__(list(numbers))
            pairs = [(example[source], example[target]) for example in examples]
            for number, pair in enumerate(pairs, start=first + 1):
                if None in pair:  # so TFDS reads damage
                    raise ValueError(f"example {number} cannot be read")
        yield from pairs


def _text(
    where: str, pairs: Iterator[tuple[bytes, bytes]], source: str, target: str
) -> ParallelText:
    """Returns the text of pairs, but for those that lack a side."""
    lines, left_out = array("q"), array("q")

    def whole() -> Iterator[tuple[str, str]]:
        for number, (one, other) in enumerate(pairs, start=1):
            try:
                pair = one.decode(), other.decode()
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{where}, example {number}: no valid UTF-8; prepare the set again"
                ) from error
            if all(map(str.strip, pair)):
                lines.append(number)
                yield pair
            else:
                left_out.append(number)

    columns = stored(whole(), [f"{where}, {source}", f"{where}, {target}"])
    if left_out:
        _log.warning(
            "%s: left out: %d examples without %s or %s; the first is number %d",
            *(where, len(left_out), source, target, left_out[0]),
        )
    if not lines:
        raise InputError(f"{where}: no examples, so the corpus is empty")
    return ParallelText(*columns, lines=lines)


def newest_version(name: str, data_dir: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the folder of a data set's files, DATA_DIR/NAME/VERSION."""
    folder = pathlib.Path(data_dir).expanduser() / name
    versions = [path.parent for path in folder.glob("*.*.*/dataset_info.json")]
    if not versions:
        raise InputError(
            f"{folder}: no prepared data set, which would be in a folder such as "
            f"1.0.0; {preparation(name, data_dir)}"
        )
    return max(versions, key=lambda path: [*map(int, path.name.split("."))])


def preparation(name: str, data_dir: str | os.PathLike[str]) -> str:
    """Returns what to do so that a data set lies there."""
    folder = pathlib.Path(data_dir).expanduser()
    return (
        "prepare it with: python -c 'import tensorflow_datasets as tfds; "
        f'tfds.builder("{name}", data_dir="{folder}", file_format="array_record")'
        ".download_and_prepare()'"
    )
