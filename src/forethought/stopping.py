"""Signals that ask a run to stop."""

import signal
import threading
from typing import Any


class StopRequest:
    """Set by Ctrl-C or SIGTERM while it is entered; a second signal interrupts at once."""

    def __init__(self) -> None:
        self.by: str | None = None
        self.begun = False  # whether there are steps that are worth saving
        self._old: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: Any) -> None:
        if self.by is not None:
            if callable(before := self._old.get(number)):  # the command line's ends the process
                before(number, frame)
            raise KeyboardInterrupt
        self.by = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
