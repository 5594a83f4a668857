"""How the programs of this folder end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from semiseg.errors import SemisegError

GOES_ON = "interrupted; the same command goes on"
"""What a program says on Ctrl-C, of which nothing that is finished is lost."""


def run_program(main: Callable[[], int], interrupted: str | None = None) -> NoReturn:
    """Run a program, a signal to end as good as Ctrl-C; its own errors are said without a traceback.

    Args:
        main: returns the exit code.
        interrupted: what to say on Ctrl-C; None: the program does it itself.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except SemisegError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        if interrupted is None:
            raise
        sys.exit(interrupted)
