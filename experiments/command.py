"""What every command does around its work: presets, errors in one line, exit statuses.

Nothing here loads jax, so that `--help` answers at once.
"""

import os
import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

import tyro

from zoo.errors import InputError, unknown

Config = TypeVar("Config")


def run(main: Callable[[list[str]], None]) -> None:
    """Runs a command; exits with 2 and one line if the user can mend what is wrong."""
    try:
        main(sys.argv[1:])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read the output has gone; nothing more may be written to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


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
