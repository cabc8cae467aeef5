"""Ctrl-C at any moment of a command ends the process with exit code 130; while a run trains, it is saved first.

No KeyboardInterrupt is raised: inside an import it leaves half a module, inside a callback it is lost, and inside XLA
it ends in a segmentation fault. Nothing is left to clean up, since files are replaced whole. A second thread is told
of the signal too, because Python calls no handler while XLA compiles. While a run trains, `training.StopRequest` takes
the first signal, which asks it to save and stop, and hands the second one on to here.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from typing import Any

INTERRUPTED = 130
GRACE = 1.0  # seconds after which the second thread ends what the first has not


class Interrupts:
    """While it is entered, Ctrl-C ends the process. Does nothing where SIGINT is ignored, or outside the main thread.

    It stays in place after a `with` block that is the last thing a process does (`for_good`).
    """

    def __init__(self, *, for_good: bool) -> None:
        self.for_good = for_good
        self._old: Any = None
        self._pipe: tuple[int, int] | None = None

    def __enter__(self) -> "Interrupts":
        ours = threading.current_thread() is threading.main_thread()
        if not ours or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            return self
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._old = signal.signal(signal.SIGINT, self._interrupt), signal.set_wakeup_fd(self._pipe[1])
        threading.Thread(target=self._watch, args=(self._pipe[0],), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._pipe is None or self.for_good:
            return
        handler, descriptor = self._old
        signal.set_wakeup_fd(descriptor)
        signal.signal(signal.SIGINT, handler)
        os.close(self._pipe[1])  # ends the thread, which closes the other end

    def _interrupt(self, number: int, frame: Any) -> None:
        with contextlib.suppress(Exception):  # it may be in the middle of a write
            sys.stdout.flush()
        end()

    def _watch(self, reader: int) -> None:
        asked = 0
        while received := os.read(reader, 64):
            asked += received.count(signal.SIGINT)
            if not asked:
                continue
            if asked == 1 and _would_lose_steps():
                _say("stopping once this step is done; press Ctrl-C again to stop at once")
                continue
            time.sleep(GRACE)
            end()
        os.close(reader)


def _would_lose_steps() -> bool:
    """Whether a run is being trained that has taken steps."""
    owner: Any = getattr(signal.getsignal(signal.SIGINT), "__self__", None)
    training = sys.modules.get("forethought.training")
    return training is not None and isinstance(owner, training.StopRequest) and owner.begun


def end() -> None:
    """Ends the process as interrupted, whatever it is doing."""
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h\n")  # shows the cursor, which a live line hides
    _say("interrupted")
    os._exit(INTERRUPTED)


def _say(text: str) -> None:
    os.write(2, f"forethought: {text}\n".encode())
