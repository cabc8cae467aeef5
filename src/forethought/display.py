"""What a user sees while a run goes on: a live line in a terminal or notebook, plain lines elsewhere."""

import importlib
import math
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, TextIO

from .text import percent

LINE_EVERY = 10.0  # seconds between lines where nothing can be redrawn
SILENT = 2.0  # seconds that work may take before a line says what it is


class Display:
    """Progress of one run. `mode` is chosen from where the output goes: terminal, notebook, lines, or quiet."""

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None):
        self.stream = sys.stderr if stream is None else stream
        self.mode = "quiet" if quiet else _mode(self.stream)
        self.values: dict[str, str] = {}
        self.began = self.printed = time.monotonic()
        self.steps = self.total = self.random_steps = 0
        self.apart = 0.0  # seconds that evaluations and pages will take yet
        self._ends: float | None = None  # when all will be done, as far as is known
        self._bar: Any = None
        self._yields = 0  # since actions are chosen by the agent
        self._from: tuple[float, int] | None = None  # time and step that the speed is measured from
        self._evaluating_since: float | None = None
        self._estimated = False
        self._printed_step = -1
        self._work, self._share = "", 0.0  # what is being done, and how much of it is
        self._since, self._told = self.began, True  # since when, and whether a line has said so
        self._known: set[str] = set()
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._watch: threading.Thread | None = None

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def doing(self, work: str) -> None:
        """From now on this is done; where it takes longer than SILENT, that is said without being asked for."""
        with self._lock:
            if work != self._work:  # known work, which comes again and again, needs no line of its own
                self._since, self._told = time.monotonic(), work in self._known
                self._known.add(work)
            self._work, self._share = work, 0.0
        if self.mode != "quiet" and self._watch is None:
            self._open()
            self._over.clear()
            self._watch = threading.Thread(target=self._watching, daemon=True)
            self._watch.start()

    def part(self, share: float) -> None:
        """So much of what is being done is done, in (0, 1)."""
        with self._lock:
            self._share = share
        self._draw()

    def watched(self, parts: Iterator[Any], work: str) -> Any:
        """The last of `parts`, those before it being the share that is done."""
        self.doing(work)
        for part in parts:
            if not isinstance(part, float):
                return part
            self.part(part)
        raise ValueError("nothing but parts came")

    def start(self, setup: Any, progress: Any) -> None:
        """Begins to count steps."""
        self.random_steps = setup.agent.schedule.random_steps

    def line(self, text: str) -> None:
        """One line that stays."""
        if self.mode == "quiet":
            return
        with self._lock:
            self.printed = time.monotonic()
            if self.mode == "terminal" and self._bar is not None:
                self._bar.console.print(text, highlight=False, markup=False)
            else:
                self.stream.write(text + "\n")
                self.stream.flush()

    def note(self, text: str) -> None:
        """Something the user should know."""
        self.line(f"note: {text}")

    def episode(self, total: float) -> None:
        """A training episode has ended with this return."""
        self.values["return"] = f"{total:.1f}"

    def metrics(self, values: dict[str, float]) -> None:
        """The model has been fitted."""
        if "model/loss" in values:
            self.values["model loss"] = f"{values['model/loss']:.3f}"

    def evaluated(self, mean_return: float) -> None:
        """An evaluation has ended."""
        self.values["eval"] = f"{mean_return:.1f}"
        if self._from is not None and self._evaluating_since is not None:
            self._from = (self._from[0] + time.monotonic() - self._evaluating_since, self._from[1])
        self._evaluating_since = None

    def evaluating(self, part: float) -> None:
        """An evaluation is under way."""
        if self._evaluating_since is None:
            self._evaluating_since = time.monotonic()
        self.part(part)

    def update(self, steps: int, total: int) -> None:
        """So many environment steps are done."""
        now = time.monotonic()
        self.steps, self.total = steps, total
        if steps > self.random_steps or self.random_steps >= total:
            self._yields += 1
            if self._yields == 2:  # the first one holds the compilation
                self._from = (now, steps)
        left = self._left(total - steps)
        self._ends = None if left is None else now + left + self.apart
        self.values["left"] = "?" if left is None else clock(left + self.apart)
        if left is not None and self._from is not None and not self._estimated and now - self._from[0] > 5:
            self._estimated = True
            self.line(f"estimated time left: {clock(left + self.apart)}, evaluations and report included")
        self._draw()

    def last(self, seconds: float) -> None:
        """Training is over, even if fewer steps were taken than planned: `seconds` are left for what follows."""
        if self._ends is not None:
            self._ends = time.monotonic() + seconds

    def _left(self, left: int) -> float | None:
        """Seconds for the steps that are `left`, at the speed so far, fits included; None before it is known."""
        if self._from is None or self.steps == self._from[1]:
            return None
        return left * (time.monotonic() - self._from[0]) / (self.steps - self._from[1])

    def _text(self) -> str:
        now, parts = time.monotonic(), []
        if self.total:
            if self._ends is not None:
                self.values["left"] = clock(self._ends - now) if self._ends > now else "?"
            parts = [f"step {self.steps:,}/{self.total:,}", *(f"{k} {v}" for k, v in self.values.items())]
            parts.append(f"elapsed {clock(now - self.began)}")
        if self._work:
            taken = now - self._since
            left = taken * (1 - self._share) / self._share if self._share > 0 else math.nan
            done = f" {percent(self._share)}, {clock(left)} left" if self._share > 0 else ""
            parts.append(f"{self._work}{done}" + (f" ({clock(taken)})" if taken >= SILENT else ""))
        return "  ".join(parts)

    def _watching(self) -> None:
        """Says what is being done where nothing else says anything: while a program is compiled, for instance."""
        while not self._over.wait(0.5):
            with self._lock:
                now = time.monotonic()
                late = now - self._since > SILENT if not self._told else now - self.printed > LINE_EVERY
                if self.mode == "lines" and self._work and late:
                    self._told = True
                    self.line(self._text())
                elif self.mode == "notebook":
                    self._redraw()

    def _draw(self) -> None:
        """Where nothing is redrawn, a line from time to time, and one at the last step."""
        if self.mode == "lines":
            due = time.monotonic() - self.printed > LINE_EVERY
            if due or (self.total and self.steps >= self.total > self._printed_step):
                self._printed_step, self._told = self.steps, True
                self.line(self._text())
        elif self.mode == "notebook":
            self._redraw()

    def _open(self) -> None:
        """Begins the live line."""
        if self.mode == "terminal" and self._bar is None:
            from rich.console import Console
            from rich.live import Live

            console = Console(file=self.stream)
            self._bar = Live(console=console, get_renderable=self._drawn, refresh_per_second=4, transient=True)
            self._bar.start()
        elif self.mode == "notebook" and self._bar is None:
            display = importlib.import_module("IPython.display").display
            self._bar = display({"text/plain": ""}, raw=True, display_id=True)

    def _drawn(self) -> Any:
        from rich.text import Text

        if not self.total:
            return Text(self._text())
        filled = round(30 * min(self.steps / self.total, 1.0))
        bar = Text("━" * filled, style="cyan") + Text("━" * (30 - filled), style="bright_black")
        return bar + Text("  " + self._text())

    def _redraw(self) -> None:
        if self._bar is not None:
            filled = round(30 * min(self.steps / self.total, 1.0)) if self.total else 0
            bar = "█" * filled + "░" * (30 - filled) + "  " if self.total else ""
            self._bar.update({"text/plain": bar + self._text()}, raw=True)

    def stop(self) -> None:
        """Ends the live line."""
        self._over.set()
        if self._watch is not None:
            self._watch.join()
            self._watch = None
        self._work, self._told = "", True
        if self.mode == "terminal" and self._bar is not None:
            self._bar.stop()
            self._bar = None


def _mode(stream: TextIO) -> str:
    if "ipykernel" in sys.modules:
        return "notebook"
    return "terminal" if stream.isatty() else "lines"


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    seconds = max(round(seconds), 0)
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
