"""Examples with images that TensorFlow Datasets has prepared, without TensorFlow.

Pictures come encoded, as they are in the files: TFDS itself would want TensorFlow or
OpenCV to decode them.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo.errors import InputError, unknown

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_CHUNK = 512  # examples that are read at once, which is quicker than one by one


@contextlib.contextmanager
def prepared(name: str, data_dir: str | os.PathLike[str], remedy: str) -> Iterator[Any]:
    """Gives the TFDS builder of a prepared set; what fails within is damage.

    Args:
        data_dir: the folder with NAME/VERSION; ``~`` is expanded.
        remedy: how to prepare the set.

    Raises:
        InputError: TFDS is not installed, no such set is prepared there, it is not in a
            format that can be read, or damaged.
    """
    try:
        import tensorflow_datasets as tfds
        from google.protobuf.json_format import ParseError
    except ModuleNotFoundError as error:
        raise InputError(
            f"{name}: {error.name} is not installed; pip install 'attention-zoo[tfds]'"
        ) from error
    folder = Path(data_dir).expanduser() / name
    found = folder.glob("*.*.*/dataset_info.json")
    versions = [x.parent for x in found if _VERSION.fullmatch(x.parent.name)]
    if not versions:
        raise InputError(f"{folder}: no prepared data set; {remedy}")
    folder = max(versions, key=lambda path: [*map(int, path.name.split("."))])
    try:
        yield tfds.builder_from_directory(folder)
    except NotImplementedError as error:
        raise InputError(
            f"{folder}: not in a format that can be read without TensorFlow; remove "
            f"the folder and {remedy}"
        ) from error
    except (ValueError, RuntimeError, ParseError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(
            f"{folder}: damaged ({reason}); remove the folder and {remedy}"
        ) from error


def records(builder: Any, split: str) -> Any:
    """Returns the examples of a split by place, with pictures still encoded.

    Args:
        split: by the set's name for it, with or without a slice: ``train[:95%]``.

    Raises:
        InputError: the set has no such split, or no image.
    """
    import tensorflow_datasets as tfds

    name = split.partition("[")[0]
    if name not in builder.info.splits:
        raise unknown(f"split of {builder.name}", name, list(builder.info.splits))
    if "image" not in builder.info.features:
        raise unknown(f"feature of {builder.name}", "image", [*builder.info.features])
    decoders = {"image": tfds.decode.SkipDecoding()}
    return builder.as_data_source(split=split, decoders=decoders)


def in_order(examples: Any) -> Iterator[dict[str, Any]]:
    """Yields the examples of a TFDS data source, from the first to the last.

    Raises:
        ValueError: an example is damaged.
    """
    for start in range(0, len(examples), _CHUNK):
        places = list(range(start, min(start + _CHUNK, len(examples))))
        for place, example in zip(places, examples.__getitems__(places), strict=True):
            if any(value is None for value in example.values()):  # so TFDS reads damage
                raise ValueError(f"example {place + 1}")
            yield example
