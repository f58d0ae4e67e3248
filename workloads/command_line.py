"""How a command ends: data on stdout, one sentence on stderr when something is wrong, and never a traceback for it."""

import sys
from collections.abc import Callable
from typing import NoReturn

from workloads.errors import ClibdError


def run_command(app: Callable[[], None]) -> NoReturn:
    """Run a typer application; our own errors become a sentence and an exit code (2 for misuse)."""
    try:
        app()
    except ClibdError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:  # a disk or network that fails, which no record is to blame for
        print(f"error: {error}. Start the same command again when this is mended.", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; start the same command again to go on from here", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)
