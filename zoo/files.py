"""Files that are, at any moment, either the old one or the new one."""

import contextlib
import os
from pathlib import Path

from zoo.errors import InputError


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file beside its place, onto the disk, and renames it into its place.

    Raises:
        InputError: it cannot be written; the old one is still there.
    """
    path = Path(path)
    partial = beside(path)
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            # Else a machine that loses its power may keep the name and not the content.
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be written: {reason}") from error


def beside(path: Path) -> Path:
    """Returns where a file is written; one is left there if the process is killed."""
    return path.with_name(f"{path.name}.tmp")
