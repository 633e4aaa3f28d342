"""The one file of a tokenizer that has several: an archive, as small as they are."""

import io
import os
import pathlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence

from zoo.errors import InputError, read_limited

MAX_BYTES = 2**27  # of an archive, and of what it unpacks to


def write_archive(
    files: Mapping[str, bytes], vocab_size: int, path: str | os.PathLike[str]
) -> None:
    """Writes files and the size of a vocabulary, at once or not at all."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in {**files, "vocab_size": b"%d" % vocab_size}.items():
            # Without the time of day, so that equal tokenizers are equal files.
            archive.writestr(zipfile.ZipInfo(name), content)
    path = pathlib.Path(path)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(data.getvalue())
    os.replace(partial, path)


def read_archive(
    path: str | os.PathLike[str], names: Sequence[str], optional: Sequence[str] = ()
) -> tuple[dict[str, bytes], int]:
    """Returns the files and the size of the vocabulary that `write_archive` wrote.

    Args:
        optional: names of files that may be there too.

    Raises:
        InputError: the archive is damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(read_limited(path, MAX_BYTES))) as archive:
            sizes = [info.file_size for info in archive.infolist()]
            if sum(sizes) > MAX_BYTES:
                raise ValueError(f"unpacks to {sum(sizes):,} bytes")
            there = [name for name in optional if name in archive.namelist()]
            files = {name: archive.read(name) for name in (*names, *there)}
            return files, int(archive.read("vocab_size"))
    except (
        *(OSError, EOFError, ValueError, KeyError, RuntimeError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        raise InputError(
            f"{path}: damaged ({error}); restore the file or train again"
        ) from None
