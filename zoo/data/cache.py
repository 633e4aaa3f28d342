"""What takes long to make from a text, kept in a folder: whole, or not at all.

An entry is a folder under a key that names all it was made from, so that none is ever
out of date. It is made beside its place and renamed when nothing is missing; a manifest
holds the size and SHA-256 of every file, and every opening compares both. Processes
that make one entry at the same time each make it, and the first one's stays. Whatever
lies here can be deleted while no run uses it.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from zoo.errors import InputError, read_limited

VARIABLE = "ATTENTION_ZOO_CACHE"
MANIFEST = "manifest.json"
PARTIAL = ".partial-"
MAX_BYTES = 2**20  # of a manifest
_LEFT_SECONDS = 86_400  # without a write, after which whoever wrote has been killed
_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Returns the folder that ATTENTION_ZOO_CACHE names, else the user's own."""
    if given := os.environ.get(VARIABLE):
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "attention-zoo"


def entry(key: str, make: Callable[[Path], None]) -> Path:
    """Returns the folder of an entry; makes it if it is not there or is damaged.

    Args:
        key: a name for a folder, another one for whatever has another content.
        make: writes the files of the entry into an empty folder.

    Raises:
        InputError: the cache cannot be written; and whatever `make` raises.
    """
    path = cache_folder() / key
    if path.exists():
        if _is_whole(path):
            return path
        _log.warning("%s: damaged; it is made anew", path)
    with writing():
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=path.parent) as name:
            made = Path(name, "made")
            made.mkdir()
            make(made)
            (made / MANIFEST).write_text(json.dumps(_manifest(made)))
            _put(made, path)
    return path


def scratch() -> io.FileIO:
    """Returns an empty file of the cache without a name, which ends when it is closed.

    Raises:
        InputError: the cache cannot be written.
    """
    with writing():
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(buffering=0, dir=folder)


def append(file: io.FileIO, data: bytes) -> None:
    """Writes all of the data to a file of the cache.

    Raises:
        InputError: it cannot be written.
    """
    left = memoryview(data)
    with writing():
        while left:
            left = left[file.write(left) :]


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Turns what the system says of a disk that takes no more into an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{cache_folder()}: the cache cannot be written ({error.strerror}); make "
            f"room, or name another folder in the variable {VARIABLE}"
        ) from error


def _put(made: Path, path: Path) -> None:
    """Renames what was made to its place, unless a whole entry is there by now."""
    with open(path.parent / ".lock", "w") as lock:
        # Where there are no locks, two repairs of one entry may end one of the runs.
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            if _is_whole(path):
                return
            path.rename(made.with_name("damaged"))
        made.rename(path)


def _is_whole(path: Path) -> bool:
    try:
        written = json.loads(read_limited(path / MANIFEST, MAX_BYTES))
        return written == _manifest(path)
    except (OSError, ValueError, RecursionError, InputError):
        return False


def _manifest(path: Path) -> dict[str, list[int | str]]:
    """Returns the size and the SHA-256 of each file of an entry."""
    manifest = {}
    for file in path.iterdir():
        if file.name != MANIFEST:
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            manifest[file.name] = [file.stat().st_size, digest]
    return manifest


def _remove_leftovers(folder: Path) -> None:
    """Removes what processes that were killed have left half-made."""
    for path in folder.glob(f"{PARTIAL}*"):
        with contextlib.suppress(OSError):
            newest = max(x.stat().st_mtime for x in (path, *path.rglob("*")))
            if newest < time.time() - _LEFT_SECONDS:
                shutil.rmtree(path)
