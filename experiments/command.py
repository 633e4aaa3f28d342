"""What every command does around its work: presets, errors in one line, exit statuses.

Nothing here loads jax, so that `--help` answers at once.
"""

import errno
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import tyro

from zoo.errors import InputError, unknown

if TYPE_CHECKING:
    from rich.console import Console

Config = TypeVar("Config")

MAX_LINE = 1_000
# A disk that is full, a quota that is used up, a folder that is read-only.
STORAGE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
)


def plain_console(*, stderr: bool = False) -> "Console":
    """Returns a terminal on which brackets and colons are what they are.

    Lines are not broken, so that a path in them can be copied and searched for.
    """
    from rich.console import Console

    return Console(
        stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True
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
    try:
        main(sys.argv[1:])
    except InputError as error:
        # One line, whatever the name of a file or the text of a library has in it.
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read the output has gone; nothing more may be written to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno not in STORAGE:
            raise
        line = printable(f"{error.filename or 'a file'}: {error.strerror}")
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)


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
    first = arguments[0] if arguments else ""
    if first and not first.startswith("-") and first not in presets:
        raise unknown("preset", first, presets)
    if first not in (*presets, "-h", "--help"):
        arguments = [default, *arguments]
    return tyro.extras.overridable_config_cli(
        dict(presets), prog=prog, description=description, args=arguments
    )
