"""What every command does around its work: presets, errors in one line, exit statuses.

Nothing here loads jax, so that `--help` answers at once.
"""

import errno
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from zoo.errors import InputError, unknown

if TYPE_CHECKING:
    from rich.console import Console

    from zoo.training.config import HostsConfig

Config = TypeVar("Config")

MAX_LINE = 1_000
LOST = 134  # as JAX itself ends a process that hears no more of another one
# What JAX and its coordinator say of a host that is gone.
_LOST = re.compile("UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED|heartbeat")
# A disk that is full, a quota that is used up, a folder that is read-only.
STORAGE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
)


def plain_console(*, stderr: bool = False, quiet: bool = False) -> "Console":
    """Returns a terminal on which brackets and colons are what they are.

    Lines are not broken, so that a path in them can be copied and searched for.

    Args:
        quiet: shows nothing.
    """
    from rich.console import Console

    return Console(
        stderr=stderr,
        quiet=quiet,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=True,
    )


def printable(text: str) -> str:
    r"""Returns text of foreign names on one line, with nothing that acts on a terminal.

    >>> print(printable("bell\a and colour\x1b[31m"))
    bell\x07 and colour\x1b[31m
    """
    line = " ".join(text.split())[:MAX_LINE]
    return "".join(
        letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line
    )


def run(main: Callable[[list[str]], None]) -> None:
    """Runs a command; exits with 2 and one line if the user can mend what is wrong."""
    if main.__module__ == "__main__":
        take_huge_pages()
    # Pillow's, of odd metadata and of pictures so large that we refuse them anyway.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        main(sys.argv[1:])
    except BrokenPipeError:
        # Whoever read the output has gone; nothing more may be written to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (InputError, OSError, KeyboardInterrupt) as error:
        status = _tell(error)
        if status is None:
            raise
        sys.exit(status)


def take_huge_pages() -> None:
    """Begins the program anew with memory in pages of 2 MB, where Linux grants them.

    XLA gives its memory back after each step; on a CPU a large part of a step goes by
    with taking it again in pages of 4 KB. The C library reads what is set here when a
    program begins, and only then. Whoever sets GLIBC_TUNABLES is left alone.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        with suppress(OSError):
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _tell(error: BaseException) -> int | None:
    """Says in one line what was wrong; returns the exit status, None for a defect."""
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return 130
    line = str(error)
    if isinstance(error, OSError):
        if error.errno not in STORAGE:
            return None
        line = f"{error.filename or 'a file'}: {error.strerror}"
    elif not isinstance(error, InputError):
        return None
    # One line, whatever the name of a file or the text of a library has in it.
    print(f"error: {printable(line)}", file=sys.stderr)
    return 2


def is_lost(error: BaseException) -> bool:
    """Returns whether an error says that another host does not answer.

    Other errors of JAX, memory that is used up for one, would come again.

    >>> is_lost(TimeoutError("Orbax has waited for the other hosts"))
    True
    """
    from jax.errors import JaxRuntimeError

    if isinstance(error, JaxRuntimeError) and _LOST.search(str(error)):
        return True
    return isinstance(error, TimeoutError) or "Gloo" in str(error)


@contextmanager
def on_hosts(hosts: "HostsConfig") -> Iterator[None]:
    """Joins the hosts of a run, if there are several, for as long as it lasts.

    Whatever goes wrong on one of them ends its process at once: others may wait for
    it in the middle of an update, and would be waited for at the end of a process.

    Raises:
        InputError: the hosts cannot be joined.
    """
    from zoo.training.joining import join

    if not join(hosts):
        yield
        return
    try:
        yield
    except SystemExit:
        raise  # all of them stop together
    except BaseException as error:
        status = _tell(error)
        if status is None and is_lost(error):
            first = printable(str(error).partition("\n")[0])
            print(
                f"another host was lost ({first}); start the same command on all hosts",
                file=sys.stderr,
            )
            status = LOST
        elif status is None:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def choose(
    presets: Mapping[str, tuple[str, Config]],
    default: str,
    arguments: list[str],
    *,
    prog: str,
    description: str,
) -> Config:
    """Returns the preset that a command line names, changed as it says.

    Raises:
        InputError: there is no such preset.
    """
    import tyro

    first = arguments[0] if arguments else ""
    if first and not first.startswith("-") and first not in presets:
        raise unknown("preset", first, presets)
    if first not in (*presets, "-h", "--help"):
        arguments = [default, *arguments]
    return tyro.extras.overridable_config_cli(
        dict(presets), prog=prog, description=description, args=arguments
    )
