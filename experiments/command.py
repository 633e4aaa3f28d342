"""What every command does around its work: errors in one line, and exit statuses."""

import os
import sys
from collections.abc import Callable

from zoo.errors import InputError


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
