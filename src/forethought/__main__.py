"""The command line: `python -m forethought`, and what the command `forethought` calls."""

import os
import signal
import sys


def _interrupted(number: int, frame: object) -> None:
    os.write(2, b"forethought: interrupted\n")
    os._exit(130)


# Before all other imports: an interrupt inside one of them would be a traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _interrupted)

from .cli.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
