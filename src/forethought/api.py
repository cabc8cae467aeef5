"""The Python interface: train, resume, load runs and policies. The only library code that knows every agent."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import jax.random as jr
import numpy as np

from . import checkup, fitting, reporting, training
from .catalogue import AGENTS
from .core import AbstractAgent
from .diagnostics.baseline import Baseline
from .diagnostics.video import check_video
from .display import Display
from .ending import ended
from .envs.interface import describe_interface
from .errors import UserError, checked_path
from .export import export_policy
from .filming import film
from .fine_tuning import state_of
from .policy import Policy, describe_spec
from .presets.bounds import Natural, Seed, checked_number
from .presets.run import RunConfig
from .presets.steps import usual_steps
from .presets.values import from_dict, merged, to_dict
from .refusals import check_oracle
from .replay.dataset import load_dataset
from .run.evaluate import Evaluation
from .run.seeds import of_seed
from .setup import Setup, build
from .storage import records
from .storage.files import own
from .storage.records import check_outside_runs
from .storage.run_folder import RunFolder, default_run_path


class Run:
    """A run on disk, trained or being trained. Get one from `train`, `resume` or `load_run`."""

    def __init__(self, folder: RunFolder, setup: Setup, outcome: training.Outcome | None = None):
        self.folder, self.setup, self.outcome = folder, setup, outcome
        self.shown: reporting.Shown | None = None
        self.notes: list[str] = []  # what loading a checkpoint said: a damaged one that was passed over

    def __repr__(self) -> str:
        score = "" if self.final_return is None else f", final return {self.final_return:.4g}"
        return f"Run({str(self.path)!r}: {self.setup.agent_name} on {self.setup.env_name}, {self.status}{score})"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def status(self) -> str:
        """running, finished, interrupted or failed."""
        return self.folder.status

    def metrics(self, kind: str | None = None, seed: int | None = None) -> list[dict[str, Any]]:
        """Rows of `metrics.jsonl`; kinds are episode, update, eval, event and latency."""
        return self.folder.metrics(kind, seed, whole=True)

    @property
    def random_return(self) -> float | None:
        """Mean return of random actions, which the run is compared with; None before it has ended."""
        found = Baseline.of_record(self.folder.record)
        return None if found is None else found.mean

    @property
    def final_return(self) -> float | None:
        """Mean return of the final evaluation over episodes and seeds; None before it."""
        last = [r["mean_return"] for r in self.metrics("eval") if r["final"]]
        return float(np.mean(last[-self.setup.run.num_seeds :])) if last else None

    def agent_state(self, *, which: str = "last", seed: int | None = None) -> Any:
        """The agent's state from the `last` or `best` checkpoint; of seed `seed` where there are several."""
        return self.trained(which=which, seed=seed)[0]

    def trained(self, *, which: str = "last", seed: int | None = None) -> tuple[Any, Any]:
        """As `agent_state`, with what it met in training."""
        data = lambda: self.setup.data(self.folder.replay)
        like = eqx.filter_eval_shape(lambda: self.setup.driver().start(data(), seed=0))
        loaded = self.folder.load_checkpoint(like, which)
        self.notes = loaded.notes
        trained = loaded.tree.agent_state, loaded.tree.data["env"]
        return of_seed(trained, self._index(seed), self.setup.run.num_seeds)

    def stage(self, env_steps: int, *, seed: int | None = None) -> Any:
        """What the agent was at an evaluation of a game after so many steps; `folder.stages()` has them all.

        Raises UserError if there is none.
        """
        env_steps = checked_number(Natural, env_steps, "env_steps")
        driver, data = self.setup.driver(), self.setup.data(self.folder.replay)
        like = eqx.filter_eval_shape(lambda: driver.start(data, seed=0).agent_state)
        return of_seed(self.folder.load_stage(like, env_steps), self._index(seed), self.setup.run.num_seeds)

    def _index(self, seed: int | None) -> int:
        """Which of the seeds side by side `seed` is. Raises UserError if it is none of them."""
        first, seeds = self.setup.run.seed, self.setup.run.num_seeds
        seed = checked_number(Seed | None, seed, "seed")
        index = 0 if seed is None else seed - first
        if not 0 <= index < seeds:
            raise UserError(f"seed={seed} is not in this run; it has {first} to {first + seeds - 1}")
        return index

    def policy(self, *, which: str = "last", seed: int | None = None) -> Policy:
        """The policy of the `last` or `best` checkpoint."""
        setup = self.setup
        meta = {
            "agent": setup.agent_name,
            "config": {} if setup.config is None else to_dict(setup.config),
            "env": setup.env_name,
            "env_kwargs": setup.env_kwargs,
            "given": setup.given,
            "spec": describe_spec(setup.env.spec),
            "spaces": describe_interface(setup.env),
        }
        return Policy(setup.agent, self.agent_state(which=which, seed=seed), meta=meta)

    def evaluate(
        self, *, episodes: int = 10, which: str = "last", seed: int | None = None, start_seed: int | None = None
    ) -> Evaluation:
        """Episodes of the policy, without exploration.

        Starts are those of the run's own evaluations unless `start_seed` chooses others.
        """
        episodes = checked_number(int, episodes, "episodes")
        start_seed = checked_number(Seed | None, start_seed, "start_seed")
        state = self.agent_state(which=which, seed=seed)
        first = self.setup.run.seed if seed is None else seed
        key = jr.key(first if start_seed is None else start_seed)
        return self.setup.evaluator(episodes)(state, key=key)

    def doctor(
        self,
        *,
        episodes: int = checkup.EPISODES,
        horizon: int = checkup.HORIZON,
        which: str = "last",
        seed: int | None = None,
        out: str | Path | None = None,
        display: Display | None = None,
    ) -> checkup.Checkup:
        """Examines the model on fresh episodes and looks for faults in its data and in itself.

        Everything is written to `out` (default: the folder `doctor` of the run); its paths are in `paths` of what is
        returned. Raises UserError if the agent has no model.
        """
        episodes, horizon = checkup.checked_sizes(episodes, horizon)
        state, replay = self.trained(which=which, seed=seed)
        found = checkup.of_run(
            self.setup,
            state,
            replay,
            source=str(self.path),
            episodes=episodes,
            horizon=horizon,
            seed=seed,
            record=self.folder.record,
            display=display,
        )
        folder = own(self.path, "doctor") if out is None else checked_path(out, "out")
        check_outside_runs(folder / "doctor.html", self.path)
        if display is not None:
            display.doing("drawing the figures and writing the page")
        found.paths = reporting.write_checkup(found, folder, env=self.setup.env, target=str(self.path))
        return found

    def report(self) -> Path:
        """Writes the report again from what the folder holds; returns its path."""
        self.shown = reporting.write(self.folder)
        return self.shown.report

    def plot(self, out: str | Path | None = None, *, metric: Literal["eval", "episode"] = "eval") -> Path:
        """Draws the learning curve to `out`, a .png or .svg (default: in the run folder); returns its path."""
        return reporting.curve(self.folder, None if out is None else checked_path(out, "out"), metric=metric)

    def export(self, out: str | Path | None = None, *, which: str = "last", seed: int | None = None) -> list[Path]:
        """Writes the policy alone to the folder `out` (default: RUN/policy), as `export.export_policy`."""
        return export_policy(self, own(self.path, "policy") if out is None else out, which=which, seed=seed)

    def video(
        self,
        *,
        which: str = "last",
        seed: int | None = None,
        episodes: int = 1,
        fps: float | None = None,
        out: str | Path | None = None,
    ) -> Path:
        """Films episodes, one after another; returns the video's path. `notes` says what is not in it.

        `fps` is frames a second (default: as the environment says); `out` an .mp4 or .gif (default: in the run folder,
        for its report). Raises UserError if the environment draws no picture.
        """
        path = self.folder.videos / reporting.FILM if out is None else checked_path(out, "out")
        check_video(path, fps)
        setup, state = self.setup, self.agent_state(which=which, seed=seed)
        notes, evaluation = self.notes, None
        if setup.side_by_side:
            evaluation = self.evaluate(episodes=episodes, which=which, seed=seed)
        key = jr.key(setup.run.seed if seed is None else seed)
        path, more = film(setup, state, path, evaluation=evaluation, episodes=episodes, fps=fps, key=key)
        self.notes = notes + more
        return path


def train(
    agent: str | AbstractAgent | Callable[..., AbstractAgent],
    env: Any,
    *,
    preset: str = "default",
    config: Any = None,
    run: RunConfig | dict[str, Any] | None = None,
    steps: int | None = None,
    seed: int | None = None,
    reward: str | Callable[..., Any] | None = None,
    termination: str | Callable[..., Any] | None = None,
    learner: Any = None,
    planner: Any = None,
    out: str | Path | None = None,
    start_from: str | Path | None = None,
    quiet: bool = False,
    argv: list[str] | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Run:
    """Trains an agent and returns the run.

    `agent` is a name (`forethought.AGENTS`), an agent of your own, or a function `(spec, given) -> agent`. `env` is an
    id, a Gymnasium environment, a class or a function that makes one, to which `env_kwargs` are handed (numbers, text,
    lists and dictionaries; tuples become lists, so that the run's record gives back the same). `config` is the agent's
    config (default: its `preset`), or a dictionary of changes to the preset, such as `{"model.hidden": [32, 32]}`;
    `run` is everything else, as a config or a dictionary (without `steps`: as many as the preset takes to show
    something); `steps`, `seed`, `reward` and `termination` are short for fields of `run`.
    `start_from` is a run whose agent is trained on, without a random phase.
    `learner` and `planner` replace the agent's own model and planner: ready ones, or functions `(spec, given)` and
    `(action space)` that make them.

    Raises UserError for what cannot be; EnvironmentFault or TrainingFault if the run dies, after saving it.
    """
    if not isinstance(run, RunConfig):
        usual = RunConfig(steps=usual_steps(agent if isinstance(agent, str) else "", preset))
        run = usual if run is None else merged(usual, run, "run")
    for kind, function in (("reward", reward), ("termination", termination)):
        if function is not None and not isinstance(function, str) and not callable(function):
            raise UserError(f"{kind}={function!r} must be a function, or the name of one")
    short = {"steps": steps, "seed": seed}
    short |= {"reward": reward if isinstance(reward, str) else None}
    short |= {"termination": termination if isinstance(termination, str) else None}
    run = dataclasses.replace(run, **{k: v for k, v in short.items() if v is not None})
    functions: dict[str, Any] = {
        "reward": reward if callable(reward) else None,
        "termination": termination if callable(termination) else None,
    }
    check_oracle(run, **functions)
    if start_from is not None and isinstance(agent, str) and agent in AGENTS:
        # The policy that is trained on acts from the first step, in place of uniform actions.
        config = AGENTS[agent].settings(preset, config)
        if any(field.name == "random_steps" for field in dataclasses.fields(config)):
            config = dataclasses.replace(config, random_steps=0)
    functions |= {"learner": learner, "planner": planner, "env_kwargs": env_kwargs}
    display = Display(quiet=quiet)
    with display:
        display.doing("making the environment and the agent")
        setup = build(agent, env, preset=preset, config=config, run=run, **functions)
        initial = None if start_from is None else state_of(load_run(start_from), setup)
        setup.prepare()
    path = (
        checked_path(out, "out")
        if out is not None
        else default_run_path("runs", setup.agent_name, setup.env_name, run.seed)
    )
    with contextlib.closing(setup), display:
        with training.StopRequest() as stop:
            folder = RunFolder.create(path, setup.record(argv, start_from))
            outcome = training.train(setup, folder, display, stop, initial_state=initial)
        result = ended(Run(folder, setup, outcome), display, stop)
        if argv is None and result.shown is not None and result.shown.outcome:
            display.line(f"outcome {result.shown.outcome}")
        return result


def resume(
    path: str | Path,
    *,
    env: Any = None,
    agent: Any = None,
    reward: Callable[..., Any] | None = None,
    termination: Callable[..., Any] | None = None,
    learner: Any = None,
    planner: Any = None,
    env_kwargs: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Run:
    """Goes on with a run where its newest whole checkpoint left it, exactly as if it had not stopped.

    Objects that were handed to `train` and have no name to be found by must be handed in again.
    """
    handed = {"reward": reward, "termination": termination, "learner": learner, "planner": planner}
    run = load_run(path, env=env, agent=agent, env_kwargs=env_kwargs, **handed)
    display = Display(quiet=quiet)
    if run.status == "finished":
        display.note(f"{path} is finished; nothing to resume (train on with `--from {path}`)")
        return run
    with contextlib.closing(run.setup), display:
        with training.StopRequest() as stop:
            run.outcome = training.resume(run.setup, run.folder, display, stop)
        return ended(run, display, stop)


def load_run(
    path: str | Path,
    *,
    env: Any = None,
    agent: Any = None,
    reward: Callable[..., Any] | None = None,
    termination: Callable[..., Any] | None = None,
    learner: Any = None,
    planner: Any = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Run:
    """The run in a folder; `env_kwargs` take the place of those it was trained with.

    Raises UserError if it is none, damaged, newer, or needs an object to be handed in.
    """
    folder = RunFolder.open(path)
    record, where = folder.record, f"{path}/run.json"
    remedy = "mend it or start the run again"
    records.check(record, records.RunRecord, where, required=("run", "given", "preset"), remedy=remedy)
    records.check(record["given"], records.GivenRecord, f"{where}: given", remedy=remedy)
    handed = {"agent": agent, "env": env, "reward": reward, "termination": termination}
    handed |= {"learner": learner, "planner": planner}
    for part in record.get("own", []):
        if handed.get(part) is None:
            raise UserError(
                f"{path} was trained with {'an' if part[0] in 'ae' else 'a'} {part} of your own that cannot be found "
                f"by name; hand it in again: forethought.load_run({str(path)!r}, {part}=...), resume likewise"
            )
    options = from_dict(RunConfig, record["run"], f"{path}/run.json: run")
    for name, own_name in (("seed", "seed"), ("num_seeds", "num_seeds"), ("total_steps", "steps")):
        if getattr(options, own_name) not in (None, record[name]):
            got, wanted = record[name], getattr(options, own_name)
            raise UserError(f"{where} is damaged: {name}={got}, wanted {wanted} as run.{own_name}; {remedy}")
    name = record["agent"]
    config = (
        from_dict(AGENTS[name].config_type, record["config"], f"{path}/run.json: config") if name in AGENTS else None
    )
    options = dataclasses.replace(options, reward=record["given"]["reward"], termination=record["given"]["termination"])
    if env_kwargs is None and (env is None or isinstance(env, str) or callable(env)):
        env_kwargs = record.get("env_kwargs")
    setup = build(
        name if agent is None else agent,
        record["env"] if env is None else env,
        preset=record["preset"] if name in AGENTS and record["preset"] in AGENTS[name].presets else "default",
        config=config,
        run=options,
        reward=reward,
        termination=termination,
        learner=learner,
        planner=planner,
        env_kwargs=env_kwargs,
    )
    setup.agent_name, setup.env_name, setup.preset = name, record["env"], record["preset"]
    return Run(folder, setup)


def doctor(
    target: str | Path | Run,
    *,
    data: str | Path | None = None,
    episodes: int = checkup.EPISODES,
    horizon: int = checkup.HORIZON,
    out: str | Path | None = None,
) -> checkup.Checkup:
    """The doctor's look at a run, as `Run.doctor`, or at a model that `forethought fit` saved.

    A saved model is judged on the logged episodes in `data`, which it must not have been fitted to; by default on
    those that its fit held out. Raises UserError if `target` is neither, or for data that cannot be read.
    """
    episodes, horizon = checkup.checked_sizes(episodes, horizon)
    if isinstance(target, Run) or (checked_path(target, "target") / "run.json").is_file():
        if data is not None:
            raise UserError(f"data={data}: a run is judged on fresh episodes; leave out data, or give a fitted model")
        run = target if isinstance(target, Run) else load_run(target)
        return run.doctor(episodes=episodes, horizon=horizon, out=out)
    path = Path(target)
    if not path.exists():
        raise UserError(f"{path} does not exist; give the folder of a run, or a model that `forethought fit` wrote")
    fitted = fitting.load_fitted(path)
    if data is None:
        training, held_out = fitting.own_split(path)
    else:
        training, held_out = None, load_dataset(data, finite=False)
    found = checkup.of_fitted(fitted, held_out, training, source=str(path), horizon=horizon)
    home = path if path.is_dir() else path.parent
    folder = own(home, "doctor") if out is None else checked_path(out, "out")
    found.paths = reporting.write_checkup(found, folder, target=str(path))
    return found
