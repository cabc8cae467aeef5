"""What a user sees while a run goes on: a live line in a terminal or notebook, plain lines elsewhere."""

import importlib
import sys
import time
from typing import Any, TextIO

from .text import percent

LINE_EVERY = 10.0  # seconds between lines where nothing can be redrawn


class Display:
    """Progress of one run. `mode` is chosen from where the output goes: terminal, notebook, lines, or quiet."""

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None):
        self.stream = sys.stderr if stream is None else stream
        self.mode = "quiet" if quiet else _mode(self.stream)
        self.values: dict[str, str] = {}
        self.began = self.printed = 0.0
        self._bar: Any = None
        self._yields = 0  # since actions are chosen by the agent
        self._from: tuple[float, int] | None = None  # time and step that the speed is measured from
        self._evaluating_since: float | None = None
        self._estimated = False
        self.steps = self.total = self.random_steps = 0
        self._printed_step = -1

    def start(self, setup: Any, progress: Any) -> None:
        """Shows the plan and begins to count time."""
        from .outlook import plan_lines

        for line in plan_lines(setup, progress):
            self.line(line)
        self.began = time.monotonic()
        self.random_steps = setup.agent.random_steps
        if self.mode == "terminal":
            from rich.console import Console
            from rich.live import Live

            self._bar = Live(console=Console(file=self.stream), refresh_per_second=4, transient=True)
            self._bar.start()
        elif self.mode == "notebook":
            display = importlib.import_module("IPython.display").display
            self._bar = display({"text/plain": ""}, raw=True, display_id=True)

    def line(self, text: str) -> None:
        """One line that stays."""
        if self.mode == "quiet":
            return
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
        self.values.pop("evaluating", None)
        if self._from is not None and self._evaluating_since is not None:
            self._from = (self._from[0] + time.monotonic() - self._evaluating_since, self._from[1])
        self._evaluating_since = None

    def evaluating(self, part: float) -> None:
        """An evaluation is under way."""
        if self._evaluating_since is None:
            self._evaluating_since = time.monotonic()
        self.values["evaluating"] = percent(part)
        self._draw(self.steps, self.total)

    def update(self, steps: int, total: int) -> None:
        """So many environment steps are done."""
        now = time.monotonic()
        self.steps, self.total = steps, total
        self.values.pop("evaluating", None)
        if steps > self.random_steps:
            self._yields += 1
            if self._yields == 2:  # the first one holds the compilation
                self._from = (now, steps)
        left = self._left(total - steps)
        self.values["left"] = "?" if left is None else clock(left)
        if left is not None and self._from is not None and not self._estimated and now - self._from[0] > 5:
            self._estimated = True
            self.line(f"estimated time for the steps that are left: {clock(left)}, evaluations apart")
        self._draw(steps, total)

    def _left(self, left: int) -> float | None:
        """Seconds for the steps that are `left`, at the speed so far, fits included; None before it is known."""
        if self._from is None or self.steps == self._from[1]:
            return None
        return left * (time.monotonic() - self._from[0]) / (self.steps - self._from[1])

    def _draw(self, steps: int, total: int) -> None:
        if self.mode == "quiet":
            return
        text = f"step {steps:,}/{total:,}  " + "  ".join(f"{k} {v}" for k, v in self.values.items())
        text += f"  elapsed {clock(time.monotonic() - self.began)}"
        if self.mode == "lines":
            if time.monotonic() - self.printed > LINE_EVERY or steps >= total > self._printed_step:
                self.printed = time.monotonic()
                self._printed_step = steps
                self.line(text)
            return
        filled = round(30 * steps / total)
        if self.mode == "terminal":
            from rich.text import Text

            bar = Text("━" * filled, style="cyan") + Text("━" * (30 - filled), style="bright_black")
            self._bar.update(bar + Text("  " + text))
        else:
            self._bar.update({"text/plain": "█" * filled + "░" * (30 - filled) + "  " + text}, raw=True)

    def stop(self) -> None:
        """Ends the live line."""
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
