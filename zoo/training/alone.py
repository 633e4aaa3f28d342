"""One run at a time in a folder.

The lock belongs to the process: the system takes it back however the process ends, so
that a killed run leaves nothing behind. It holds among the processes of one machine. On
a network file system other hosts may not see it; where it has no locks at all, a line
of the log says so.
"""

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from zoo.errors import InputError

_log = logging.getLogger(__name__)
_TAKEN = (errno.EWOULDBLOCK, errno.EACCES)


@contextmanager
def alone(workdir: Path) -> Iterator[None]:
    """Holds the folder of a run, and makes it first; no other process can meanwhile.

    Of the hosts of one run the first one holds it for all.

    Raises:
        InputError: another process holds it, or there can be no such folder.
    """
    if jax.process_index() > 0:
        yield
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        # The folder itself is locked, so that no file has to be there first.
        folder = os.open(workdir, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise InputError(
            f"{workdir} cannot hold a run: {error.strerror}; choose another --workdir"
        ) from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            os.close(folder)
            raise InputError(
                f"{workdir} is in use by another run; wait for its end, or choose "
                "another --workdir"
            ) from None
        _log.warning(
            "%s cannot be locked (%s): start no second run there",
            workdir,
            error.strerror,
        )
    try:
        yield
    finally:
        os.close(folder)
