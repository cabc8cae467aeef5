"""The model doctor: what a model is worth on episodes it has not seen, what is wrong, and what to do about it.

Here is where the episodes come from: those of a run, or of logged data. What is said of them is in `diagnosis`.
"""

import dataclasses
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from .catalogue import AGENTS
from .core import AbstractHostReplay, Round
from .diagnosis import HORIZON, Checkup, diagnose
from .diagnostics.baseline import Baseline, number
from .diagnostics.finding import Finding
from .diagnostics.logged import Logged, most_rows
from .diagnostics.origin import load_for, origin
from .display import Display
from .errors import UserError
from .fit import AbstractFittable
from .fitting import FittedModel, same_spaces
from .models.recalibrated import Recalibrated
from .presets.bounds import Ahead, checked_number
from .presets.values import to_dict
from .replay.dataset import Dataset
from .room import check_episode_room
from .run.evaluate import Evaluation
from .setup import Setup
from .storage import provenance
from .types import Given, Transition

EPISODES = 20
STREAM = 0xD0C  # folded into a run's key, so that the doctor's episodes are nobody else's


def of_run(
    setup: Setup,
    state: Any,
    replay: Any,
    *,
    source: str,
    episodes: int = EPISODES,
    horizon: int = HORIZON,
    seed: int | None = None,
    record: dict[str, Any] | None = None,
    display: Display | None = None,
) -> Checkup:
    """A run's model, on fresh episodes of its policy from starts of their own.

    `state` and `replay` are those of one seed, `seed`. Raises UserError if the agent has no model, or for invalid
    sizes.
    """
    episodes, horizon = checked_sizes(episodes, horizon)
    if setup.agent.model(state) is None:
        raise UserError(f"{source}: agent {setup.agent_name} has no model to look at")
    if setup.env.spec.num_states is not None:
        raise UserError(
            f"{source}: the doctor measures errors of vectors, and in {setup.env_name} an observation is the number of "
            "a state; the tables themselves are in run.agent_state().model"
        )
    check_episode_room(setup.env.spec, episodes)
    key = jr.fold_in(jr.key(setup.run.seed if seed is None else seed), STREAM)
    notes, found = [], [] if record is None else _versions_changed(record)
    try:
        display = Display(quiet=True) if display is None else display
        evaluation = display.watched(setup.evaluator(episodes).steps(state, key=key), f"playing {episodes} episodes")
    except UserError as error:
        evaluation = None
        notes.append(f"fresh episodes could not be played, so the model was not examined: {error}")
    more = {"horizon": horizon, "notes": notes, "found": found, "record": record, "display": display}
    checkup = of_evaluation(setup, state, replay, evaluation, source=source, key=key, **more)
    return _with_origin(checkup, setup.run.seed if seed is None else seed)


def of_evaluation(
    setup: Setup,
    state: Any,
    replay: Any,
    evaluation: Evaluation | None,
    *,
    source: str,
    key: PRNGKeyArray,
    horizon: int = HORIZON,
    notes: list[str] | None = None,
    found: list[Finding] | None = None,
    quick: bool = False,
    record: dict[str, Any] | None = None,
    display: Display | None = None,
) -> Checkup:
    """A run's model on the episodes of an evaluation; `replay` is None where the training data are not at hand.

    `quick` leaves out the recalibration and the tests that take long.
    """
    spec, most, notes = setup.env.spec, most_rows(setup.env.spec), list(notes or [])
    fresh = None if evaluation is None else Logged.of_trajectories(evaluation.trajectories, most=most)
    if fresh is not None and evaluation is not None and len(fresh.spans) < len(evaluation.lengths):
        notes.append(f"{len(fresh.spans)} of {len(evaluation.lengths)} episodes are looked at: pictures are large")
    training = stored = None
    latest = None if replay is None else _latest(replay, most)
    if latest is not None:
        training = Logged.of_rows(latest, num_envs=setup.run.num_envs)
        if isinstance(setup.agent.model(state), AbstractFittable):  # others hold no statistics of their data
            stored = _fitted_to(setup, replay)
    functions = setup.functions
    return diagnose(
        setup.agent.model(state),
        fresh,
        spec,
        given=functions,
        training=training,
        stored=stored,
        source=source,
        horizon=horizon,
        notes=notes,
        found=found,
        quick=quick,
        used=looks_ahead(setup.config),
        beside=_beside(record, evaluation),
        say=Display(quiet=True).doing if display is None else display.doing,
        key=key,
    )


def looks_ahead(config: Any) -> int | None:
    """How many steps an agent of this config imagines when it decides or learns; None where that is not known."""
    known = {} if config is None else to_dict(config)
    planner = known.get("planner")
    found = known.get("imagination") or (planner.get("horizon") if isinstance(planner, dict) else known.get("horizon"))
    return int(found) if found else None


def _beside(record: dict[str, Any] | None, evaluation: Evaluation | None) -> str:
    """What the agent that decides in the model reaches, beside random actions."""
    baseline = None if record is None else Baseline.of_record(record)
    if baseline is None or evaluation is None:
        return ""
    return f"its agent returns {number(float(np.mean(evaluation.returns)))}, random actions {baseline}"


def _latest(replay: Any, most: int) -> Transition | None:
    """The latest transitions, at most so many; None if there are none."""
    if isinstance(replay, AbstractHostReplay):
        rows = replay.latest(most)
        return rows if len(rows.reward) else None
    count = min(int(replay.size), most)
    return _compiled_latest(replay, count) if count else None


@eqx.filter_jit
def _compiled_latest(replay: Any, count: int) -> Transition:
    return replay.latest(count)


def _fitted_to(setup: Setup, replay: Any) -> tuple[Any, np.ndarray] | None:
    """All rows of the replay, and which of them were there at the last fit; None where that cannot be known."""
    if setup.agent.sequence_length is not None:  # what learns from sequences is not fitted to rows
        return None
    rows, in_use = replay.rows()
    agent, spec = setup.agent, setup.env.spec
    per_row = spec.action_repeat
    if per_row > 1 and ((spec.max_episode_steps or 0) % per_row or np.any(rows.terminated & np.asarray(in_use))):
        return None  # episodes may have ended inside a repeat, so rows do not tell the steps
    steps = int(replay.size) * per_row
    rounds = agent.schedule.rounds
    learned = next((each for each in rounds if each.name == "model"), rounds[0] if rounds else None)
    # With a capacity of its own, old rows may have given way to new ones.
    if learned is None or not learned.due(steps, steps) or setup.run.replay_capacity is not None:
        return None
    last = _calls_of(learned, steps)[-1]
    return rows, np.asarray(in_use) & (np.asarray(replay.numbers()) < last // per_row)


def _calls_of(learned: Round, steps: int) -> list[int]:
    """The environment steps, up to `steps`, at which a round is called."""
    calls, at = [], learned.next_due(0)
    while at is not None and at <= steps:
        calls.append(at)
        at = learned.next_due(at)
    return calls


def of_fitted(
    fitted: FittedModel,
    held_out: Dataset | Transition,
    training: Transition | None,
    *,
    source: str,
    horizon: int = HORIZON,
    seed: int = 0,
) -> Checkup:
    """A fitted model on logged episodes that it has not seen: a data set, or leaves `[episodes, time, ...]`.

    `training` has leaves `[n, ...]`; None where it is not at hand. Raises UserError for invalid sizes.
    """
    _, horizon = checked_sizes(1, horizon)
    spec, model, found, notes, other = fitted.spec, fitted.model, [], [], ""
    if isinstance(held_out, Dataset):
        fresh, notes = Logged.of_rows(held_out.transitions), list(held_out.notes)
        other = same_spaces(spec, held_out.spec)
        if other:
            spec, model, training = held_out.spec, None, None
    else:
        fresh = Logged.of_trajectories(held_out)
    if other:
        sentence = f"the data do not fit the model: {other}. Only the data were looked at"
        remedy = "give the data of the task that the model was fitted to"
        found.append(Finding("spaces-differ", "error", sentence, remedy, {}))
    past = None if training is None else Logged.of_rows(training)
    stored = None if training is None else (training, np.ones(len(training.reward), bool))
    checkup = diagnose(
        model,
        fresh,
        spec,
        given=fitted.given,
        training=past,
        stored=stored,
        source=source,
        horizon=horizon,
        notes=notes,
        found=found,
        key=jr.key(seed),
    )
    return _with_origin(checkup, None)


def _with_origin(found: Checkup, seed: int | None) -> Checkup:
    """With a recalibration that says which model it is of."""
    if found.recalibration is not None and found.model is not None:
        known = tuple(origin(found.model, source=found.source, seed=seed).items())
        found.recalibration = dataclasses.replace(found.recalibration, origin=known)
    return found


def plan_recalibrated(
    setup: Setup,
    state: Any,
    file: str | Path,
    *,
    source: str = "this run",
    seed: int | None = None,
    again: str = "run.doctor()",
) -> tuple[Setup, Any]:
    """Setup and agent state that plan in the model of `state` as the doctor's `file` has recalibrated it.

    Planner and settings stay as they are. `source` and `seed` say whose `state` it is, `again` how to make the file.
    Raises UserError if the file is missing, damaged, or of another model, be it another run's, seed's or checkpoint's.
    """
    agent: Any = setup.agent  # one with a planner, which is asked below
    model = agent.model(state)
    if model is None:
        raise UserError(f"agent {setup.agent_name} has no model to recalibrate")
    wanted = origin(model, source=source, seed=setup.run.seed if seed is None else seed)
    made = load_for(wanted, file, again=again)
    if setup.agent_name not in AGENTS:
        raise UserError(
            f"planning in a recalibrated model needs one of Forethought's own agents; give {setup.agent_name} a "
            "models.recalibrated.Recalibrated yourself"
        )
    if "given" not in AGENTS[setup.agent_name].takes:
        raise UserError(f"{setup.agent_name} decides in a model of its own making; it cannot take a recalibrated one")
    better = Recalibrated(model, made, setup.env.spec, given=setup.functions)
    given = Given(setup.functions.reward, setup.functions.termination, better)
    agent = AGENTS[setup.agent_name].build(agent.spec, setup.config, given=given, planner=agent.planner)
    return dataclasses.replace(setup, agent=agent), agent.init(key=jr.key(0))


def checked_sizes(episodes: int, horizon: int) -> tuple[int, int]:
    """Both as whole numbers. Raises UserError naming the first invalid one."""
    return checked_number(int, episodes, "episodes"), checked_number(Ahead, horizon, "horizon")


def _versions_changed(record: dict[str, Any]) -> list[Finding]:
    """A note for what is installed in another version than the run's record says, of what decides an environment."""
    now, then = provenance.versions(), record.get("versions") or {}
    names = ("forethought", "gymnasium", *provenance.ENVIRONMENT_PACKAGES)
    other = {n: (then[n], now.get(n, "none")) for n in names if n in then and then[n] != now.get(n)}
    if not other:
        return []
    listed = ", ".join(f"{name} {before} then and {after} now" for name, (before, after) in other.items())
    sentence = f"the run was trained with other versions: {listed}. The environment may not be the same"
    remedy = "install the versions recorded in run.json, or train on in the environment as it is now"
    return [Finding("versions-differ", "note", sentence, remedy, {"packages": float(len(other))})]
