"""How long the rest of a run will take, and when it must stop for its final evaluation and pages to be in time."""

import time

from .core import AbstractAgent
from .presets.run import RunConfig
from .run.progress import Progress

PAGES_S = 15.0  # figures, the doctor's look, a film: until they have been made, a guess
UNKNOWN = 0.1  # share of the time allowed that a final evaluation is given before there was any evaluation


class Pace:
    """The time that a run was given, and what its parts have taken so far."""

    def __init__(self, run: RunConfig, *, side_by_side: bool, begun: float | None = None) -> None:
        """`begun` is when the time began, by `time.monotonic`; None: now."""
        self.run, self.side_by_side, self.seen = run, side_by_side, time.monotonic()
        self.begun = self.seen if begun is None else begun
        self.limit = None if run.max_minutes is None else 60 * run.max_minutes
        self.evaluation_s: float | None = None  # seconds of the latest evaluation, or of one of its episodes
        self.slowest_s = 0.0  # the longest that the driver went on for without a pause, compiling apart
        self._pauses = 0

    def paused(self) -> None:
        """The driver has come back from work that began at the last `working`."""
        self._pauses += 1
        if self._pauses > 4:  # those before hold compilation
            self.slowest_s = max(0.8 * self.slowest_s, time.monotonic() - self.seen)

    def working(self) -> None:
        """The driver goes on."""
        self.seen = time.monotonic()

    def evaluated(self, seconds: float, episodes: int) -> None:
        """An evaluation took so long; episodes may be side by side."""
        self.evaluation_s = seconds if self.side_by_side else seconds / max(episodes, 1)

    @property
    def final_s(self) -> float:
        """Seconds that the final evaluation will take, as far as is known."""
        if self.evaluation_s is None:
            return UNKNOWN * (self.limit or 0.0)
        return self.evaluation_s * (1 if self.side_by_side else self.run.final_episodes)

    def apart_s(self, steps: int, total: int, eval_every: int) -> float:
        """Seconds that evaluations and pages will take from here on, where evaluations are `eval_every` steps apart."""
        count = max((total - 1) // eval_every - steps // eval_every, 0) if eval_every else 0
        each = (self.evaluation_s or 0.0) * (1 if self.side_by_side else self.run.eval_episodes)
        return count * each + self.final_s + PAGES_S

    def said(self) -> str:
        """Why training, or what comes after it, was cut short."""
        minutes = "1 minute is" if self.run.max_minutes == 1 else f"{self.run.max_minutes:g} minutes are"
        return f"{minutes} over" + ("" if self.left_s < 1 else " but for the final evaluation and the report")

    @property
    def left_s(self) -> float:
        """Seconds that are left; infinite without a limit, below 0 once they are over."""
        return float("inf") if self.limit is None else self.limit - (time.monotonic() - self.begun)

    @property
    def must_end(self) -> bool:
        """Whether training must stop now for evaluation and pages to be in time; half of the time is training's own."""
        if self.limit is None:
            return False
        return self.left_s < self.slowest_s + min(self.final_s + self.pages_s, 0.5 * self.limit)

    @property
    def pages_s(self) -> float:
        """Seconds that the pages are given of a limited time."""
        return PAGES_S if self.limit is None else min(PAGES_S, 0.2 * self.limit)

    def evaluated_enough(self) -> bool:
        """Whether the rest is needed for the pages."""
        return self.left_s < self.pages_s

    @property
    def over(self) -> bool:
        """Whether less time is left than half of what the pages are given: too little for a look at the model."""
        return self.left_s < 0.5 * self.pages_s


def next_work(agent: AbstractAgent, progress: Progress) -> str:
    """What a driver does until it pauses again; what it does for the first time is compiled first."""
    steps, updates = int(progress.env_steps), int(progress.updates)
    schedule = agent.schedule
    if any(count > 0 and not each.inline for each, count in zip(schedule.rounds, schedule.due(progress.clock))):
        return "learning" if updates else "compiling and learning for the first time"
    if steps < schedule.random_steps:
        return "taking random steps"
    return "acting" if updates > 1 or steps > schedule.random_steps else "compiling and acting for the first time"
