"""One training run from start or checkpoint to its end: the loop that users watch, stop and resume."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from . import baseline
from .core import AbstractHostReplay, Round
from .display import Display
from .envs.given import check_given
from .errors import StorageFault, UserError, internal
from .outlook import plan_lines
from .pace import Pace, next_work
from .run.evaluate import Evaluation
from .run.film import Film
from .run.interface import AbstractDriver
from .run.progress import Progress
from .run.seeds import of_seed
from .setup import Setup
from .stopping import StopRequest
from .storage.records import counters_check
from .storage.run_folder import RunFolder
from .storage.sinks import TensorBoardSink

CHECKED_ROWS = 200  # first transitions that given functions are held against
MOST_INLINE_ROWS = 1000  # of metrics of a round that learns after every few steps


@dataclasses.dataclass
class Counters:
    """What a run must remember besides its progress; kept in the checkpoint's meta data."""

    wall_s: float = 0.0  # of earlier processes too
    logged: list[int] = dataclasses.field(default_factory=list)  # episodes logged, per seed
    evaluated_at: int = 0  # environment steps of the latest evaluation
    best_return: float | None = None  # None before the first evaluation
    given_checked: bool = False


@dataclasses.dataclass
class Outcome:
    """How a run ended."""

    status: str  # finished | interrupted | failed
    message: str
    progress: Progress
    counters: Counters
    evaluations: list[Evaluation]  # the final one, per seed; empty unless finished
    error: UserError | None = None
    pace: Pace | None = None
    films: list[Film] = dataclasses.field(default_factory=list)  # of the final evaluation, stepped from Python


def train(
    setup: Setup, folder: RunFolder, display: Display, stop: StopRequest | None = None, *, initial_state: Any = None
) -> Outcome:
    """Trains a new run from its first step. `initial_state` replaces the agent's fresh state (fine-tuning).

    `stop` is one that is already listening for signals; None: listen while it trains.
    """
    with folder.locked(), _closed_record(folder), contextlib.ExitStack() as stack:
        stop = stop or stack.enter_context(StopRequest())
        pace = Pace(setup.run, side_by_side=setup.side_by_side, begun=display.began)
        driver = setup.driver()
        display.doing("compiling the first state")
        progress = driver.start(setup.data(folder.replay), seed=setup.run.seed)
        if initial_state is not None:
            progress = dataclasses.replace(progress, agent_state=initial_state)
        counters = Counters(logged=[0] * setup.run.num_seeds)
        return _run(setup, driver, folder, display, stop, progress, counters, pace=pace)


def resume(setup: Setup, folder: RunFolder, display: Display, stop: StopRequest | None = None) -> Outcome:
    """Goes on from the newest whole checkpoint, or from the first step if there is none yet.

    Raises UserError, before anything is touched, if another process trains into the run.
    """
    with folder.locked(), _closed_record(folder), contextlib.ExitStack() as stack:
        stop = stop or stack.enter_context(StopRequest())
        pace = Pace(setup.run, side_by_side=setup.side_by_side, begun=display.began)
        driver = setup.driver()
        display.doing("compiling the first state")
        fresh = driver.start(setup.data(folder.replay), seed=setup.run.seed)
        counters = Counters(logged=[0] * setup.run.num_seeds)
        if not folder.checkpoints():
            folder.truncate_metrics(-1)
            display.note("no checkpoint had been written yet; starting from the first step")
            return _run(setup, driver, folder, display, stop, fresh, counters, pace=pace)
        display.doing("loading the checkpoint")
        loaded = folder.load_checkpoint(fresh, check=counters_check(Counters, setup.run.num_seeds))
        progress, notes = loaded.tree, list(loaded.notes)
        if isinstance(met := progress.data["env"], AbstractHostReplay):
            met, note = met.resumed()
            progress = dataclasses.replace(progress, data={**progress.data, "env": met})
            notes += [] if note is None else [note]
        counters = Counters(**loaded.meta["counters"])
        metrics_bytes = loaded.meta.get("metrics_bytes")
        notes += [note for note in [folder.metrics_lost(metrics_bytes)] if note]
        folder.truncate_metrics(loaded.meta["env_steps"], metrics_bytes)
        return _run(setup, driver, folder, display, stop, progress, counters, pace=pace, resumed=True, notes=notes)


def _run(
    setup: Setup,
    driver: AbstractDriver,
    folder: RunFolder,
    display: Display,
    stop: StopRequest,
    progress: Progress,
    counters: Counters,
    *,
    pace: Pace,
    resumed: bool = False,
    notes: list[str] | None = None,
) -> Outcome:
    steps = int(progress.env_steps)
    with TensorBoardSink(folder.tensorboard, resumed_at=steps if resumed else None) as board:
        loop = _Loop(setup, driver, folder, display, board, progress, counters, pace)
        folder.update_record(status="running", message="")
        if resumed:
            loop.event(f"resumed at step {steps}")
        for note in notes or []:
            loop.event(note)
        try:
            outcome = loop.run(stop)
        except Exception as error:
            outcome = loop.failed(error)
            if not isinstance(error, UserError):
                raise
        try:
            board.close()
        except StorageFault as error:
            outcome.error = outcome.error or error
    display.stop()
    try:
        folder.update_record(status=outcome.status, message=outcome.message)
    except StorageFault as error:
        outcome.error = outcome.error or error
    return outcome


@contextlib.contextmanager
def _closed_record(folder: RunFolder) -> Iterator[None]:
    """Sees to it that a run that ends by an unexpected error, or a second Ctrl-C, is not recorded as running."""
    try:
        yield
    except UserError:
        raise
    except BaseException as error:
        ended = ("failed", internal(error)) if isinstance(error, Exception) else ("interrupted", "interrupted")
        if folder.record["status"] == "running":
            with contextlib.suppress(Exception):  # the first error is the one to tell
                folder.update_record(status=ended[0], message=ended[1])
        raise


class _StoppedWhileEvaluating(Exception):
    """Someone asked to stop in the middle of an evaluation."""


class _Loop:
    """The state of one process's part of a run, and what happens at each yield of the driver."""

    def __init__(self, setup, driver, folder, display, board, progress, counters, pace):
        self.setup: Setup = setup
        self.driver: AbstractDriver = driver
        self.folder: RunFolder = folder
        self.display: Display = display
        self.board: TensorBoardSink = board
        self.progress: Progress = progress
        self.counters: Counters = counters
        self.pace: Pace = pace
        self.begun = time.monotonic() - counters.wall_s
        self.saved_at = time.monotonic()
        self.first_step = self.inline_logged = int(progress.env_steps)
        total = setup.run.steps
        every = setup.run.eval_every
        self.eval_every = max(total // 4, 1) if every is None else every
        self.evaluator = setup.evaluator(setup.run.eval_episodes) if self.eval_every else None
        self.played: list[Any] = []  # evaluators whose programs are compiled
        self.notes: list[str] = []
        self.stop = StopRequest()

    # ---- the loop

    def run(self, stop: StopRequest) -> Outcome:
        """Until the steps are done, a limit is reached, or someone asks to stop."""
        self.stop = stop
        for line in plan_lines(self.setup, self.progress):
            self.display.line(line)
        self.display.start(self.setup, self.progress)
        if not self.counters.evaluated_at:
            self._keep_stage()
        try:
            return self._until_the_end(stop, self.setup.run.steps)
        except _StoppedWhileEvaluating:
            return self._interrupted(stop)

    def _until_the_end(self, stop: StopRequest, total: int) -> Outcome:
        self.display.doing("compiling the first steps")
        for progress in self._driven(total):
            self.progress = progress
            self.pace.paused()
            steps = int(self.progress.env_steps)
            stop.begun |= steps > self.first_step
            for note in self.notes:
                self.event(note)
            self.notes.clear()
            self.log(self._rows())
            self._check_given(steps)
            self.display.apart = self.pace.apart_s(steps, total, self.eval_every)
            self.display.update(steps, total)
            if stop.by is None and self._evaluation_due(steps, total):
                if self.evaluate() and steps < total:
                    return self._finish(f"reached the return of {self.setup.run.stop_at_return:g} at step {steps}")
                self.save()
            if stop.by is not None:
                return self._interrupted(stop)
            if steps < total and self.pace.must_end:
                return self._finish(f"stopped at step {steps}: {self.pace.said()}")
            if time.monotonic() - self.saved_at > self.setup.run.checkpoint_seconds:
                self.save()
            self.display.doing(next_work(self.setup.agent, self.progress))
            self.pace.working()
        return self._finish("")

    def _interrupted(self, stop: StopRequest) -> Outcome:
        """Saves where the run is; an evaluation that was under way is made again when the run goes on."""
        self._log_latency()
        self.save()
        message = f"stopped by {stop.by} at step {int(self.progress.env_steps)}"
        return Outcome("interrupted", message, self.progress, self.counters, [])

    def _driven(self, total: int) -> Iterator[Progress]:
        more = {"pause_every": self.eval_every or None, "notes": self.notes}
        return self.driver.train(self.progress, total_steps=total, **more)

    def _finish(self, message: str) -> Outcome:
        """The final evaluation, checkpoint and record of a run that has ended as it should."""
        self.display.last(self.pace.final_s + self.pace.pages_s)
        self.display.doing("saving")
        self.save()
        run = self.setup.run
        evaluator = self.setup.evaluator(run.final_episodes)
        films = [Film()] if evaluator.films and run.video else []
        evaluations = self._evaluate(evaluator, final=True, films=films)
        if (played := len(evaluations[0].returns)) < run.final_episodes:
            self.event(f"the final evaluation is of {played} of {run.final_episodes} episodes: {self.pace.said()}")
        for note in baseline.settled(self.setup, self.folder, self.display, self.driver, self.progress, self.pace):
            self.event(note)
        self._log_latency()
        self.display.doing("saving")
        self.save()
        return Outcome("finished", message, self.progress, self.counters, evaluations, pace=self.pace, films=films)

    def _log_latency(self) -> None:
        """How long actions took against their deadline, in this process; nothing where there was none."""
        if self.driver.latency is None or not (latency := self.driver.latency.summary()):
            return
        self.log([{"kind": "latency", **self._stamp(0), **latency}])
        self.display.line(self.driver.latency.sentence())

    def failed(self, error: Exception) -> Outcome:
        """Saves what is whole after the environment or the agent broke, or something that should not."""
        known = isinstance(error, UserError)
        message = str(error) if known else internal(error)
        # The first error is the one to tell; buffers that a driver has taken away leave the last checkpoint.
        with contextlib.suppress(StorageFault if known else Exception):
            self.display.stop()
            if self.setup.run.num_seeds == 1 and not isinstance(error, StorageFault):
                # Shown by who gets the error.
                self.folder.log([{"kind": "event", **self._stamp(0), "message": message}])
                self.save()
        return Outcome("failed", message, self.progress, self.counters, [], error if known else None)

    # ---- what is logged

    def _stamp(self, seed: int) -> dict[str, Any]:
        wall = round(time.monotonic() - self.begun, 3)
        steps = int(self.progress.env_steps)
        return {"seed": self.setup.run.seed + seed, "env_steps": steps, "wall_s": wall}

    def _seed_slices(self, tree: Any) -> list[Any]:
        """`tree` per seed."""
        return [of_seed(tree, i, self.setup.run.num_seeds) for i in range(self.setup.run.num_seeds)]

    def _rows(self) -> list[dict[str, Any]]:
        """Rows for the episodes and the update since the last yield."""
        rows = []
        counts = np.ravel(np.asarray(self.progress.episodes.count))
        if list(counts) != self.counters.logged:
            for i, episodes in enumerate(self._seed_slices(self.progress.episodes)):
                for number, total, length, end in episodes.since(self.counters.logged[i]):
                    row = {"kind": "episode", **self._stamp(i), "env_steps": end}
                    rows.append(row | {"episode": number, "return": total, "length": length})
                    self.display.episode(total)
                self.counters.logged[i] = int(counts[i])
        for index, learned in enumerate(self.setup.agent.schedule.rounds):
            if learned.name in self.progress.metrics and self._wanted(learned):
                rows += self._round_rows(index, learned.name)
        return rows

    def _wanted(self, learned: Round) -> bool:
        """Whether the metrics of a round are logged now: those of inline rounds, which are many, not at every call."""
        stride, steps = max(self.setup.run.steps // MOST_INLINE_ROWS, 1), int(self.progress.env_steps)
        if not learned.inline or not self.driver.yields_every_step:
            return True
        passed = steps // stride > self.inline_logged // stride or steps >= self.setup.run.steps
        self.inline_logged = steps if passed else self.inline_logged
        return passed

    def _round_rows(self, index: int, name: str) -> list[dict[str, Any]]:
        """A row for each seed with the metrics of a round's latest call."""
        rows, count = [], int(self.progress.clock.calls[index])
        several = {"round": name} if len(self.setup.agent.schedule.rounds) > 1 else {}
        for i, metrics in enumerate(self._seed_slices(self.progress.metrics[name])):
            values = {k: float(v) for k, v in metrics.items()}
            rows.append({"kind": "update", **self._stamp(i), **several, "update": count, **values})
            self.display.metrics(values)
        return rows

    def log(self, rows: list[dict[str, Any]]) -> None:
        """Writes rows to the metrics and to TensorBoard."""
        if rows:
            self.folder.log(rows)
            self.board.write(rows)

    def event(self, message: str) -> None:
        """Records and shows something the user should know."""
        self.display.note(message)
        self.folder.log([{"kind": "event", **self._stamp(0), "message": message}])

    def _check_given(self, steps: int) -> None:
        """Holds given functions against the first real transitions, once."""
        functions, spec, run = self.setup.functions, self.setup.env.spec, self.setup.run
        wanted = min(CHECKED_ROWS * spec.action_repeat, max(self.setup.agent.schedule.random_steps, 1), run.steps)
        if self.counters.given_checked or steps < wanted:
            return
        self.counters.given_checked = True
        if spec.action_repeat > 1 or (functions.reward is None and functions.termination is None):
            return  # a function of one simulator step cannot be held against several
        replay = self._seed_slices(self.progress.data["env"])[0]
        rows = replay.latest(min(steps, replay.capacity, 1000))
        mismatch = check_given(functions.reward, functions.termination, rows)
        if mismatch:
            self.event(f"a given function disagrees with the environment: {mismatch}")

    # ---- evaluation and checkpoints

    def _evaluation_due(self, steps: int, total: int) -> bool:
        every, before = self.eval_every, self.counters.evaluated_at
        # By multiples passed: several environments step over them, and how far must not shift the next one.
        if not every or steps >= total or steps // every <= before // every:
            return False
        return not any(count > 0 for count in self.setup.agent.schedule.due(self.progress.clock))

    def evaluate(self) -> bool:
        """Evaluates; keeps the best checkpoint; True if the return that was asked for is reached."""
        self._evaluate(self.evaluator, final=False)
        goal = self.setup.run.stop_at_return
        return goal is not None and self.latest >= goal

    def _evaluate(self, evaluator: Any, *, final: bool, films: Sequence[Film] = ()) -> list[Evaluation]:
        found, begun = [], time.monotonic()
        work = "final evaluation" if final else "evaluation"
        self.display.doing(work if evaluator in self.played else f"compiling the {work}")
        self.played.append(evaluator)
        self.display.evaluating(0.0)
        for i, state in enumerate(self._seed_slices(self.progress.agent_state)):
            more: dict[str, Any] = {"key": self._seed_slices(self.progress.key)[i]}
            if final:
                more |= {"films": films, "enough": self.pace.evaluated_enough}
            for part in evaluator.steps(state, clock=int(self.progress.env_steps), **more):
                if isinstance(part, Evaluation):
                    found.append(part)
                    continue
                self.display.doing(work)
                self.display.evaluating((i + part) / self.setup.run.num_seeds)
                if self.stop.by is not None:
                    raise _StoppedWhileEvaluating
        self.pace.evaluated(time.monotonic() - begun, sum(len(e.returns) for e in found))
        self.counters.evaluated_at = int(self.progress.env_steps)
        means = [float(np.mean(e.returns, dtype=np.float64)) for e in found]
        self.latest = float(np.mean(means))
        rows = []
        for i, e in enumerate(found):
            values = {"returns": e.returns.tolist(), "lengths": e.lengths.tolist()}
            rows.append({"kind": "eval", **self._stamp(i), **values, "mean_return": means[i], "final": final})
        self.log(rows)
        self._keep_stage()
        self.display.evaluated(self.latest)
        if self.counters.best_return is None or self.latest > self.counters.best_return:
            self.counters.best_return = self.latest
            self.save(best=True)
        return found

    def _keep_stage(self) -> None:
        """In a game of two, what the agent is now, to be played against later."""
        if self.evaluator is not None and self.evaluator.matches:
            self.folder.save_stage(self.progress.agent_state, env_steps=int(self.progress.env_steps))

    def save(self, *, best: bool = False) -> None:
        """Writes a checkpoint, the newest or the best."""
        self.counters.wall_s = round(time.monotonic() - self.begun, 3)
        tree = dataclasses.replace(self.progress, metrics={})
        if isinstance(met := tree.data["env"], AbstractHostReplay):
            met.flush()
        meta = {"counters": dataclasses.asdict(self.counters)}
        self.folder.save_checkpoint(tree, env_steps=int(self.progress.env_steps), meta=meta, best=best)
        if not best:
            self.saved_at = time.monotonic()
