"""From what a user asked for to the objects of a run: environment, what is given, agent, driver."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from .catalogue import AGENTS, Entry, find
from .core import (
    AbstractAgent,
    AbstractEnv,
    AbstractGame,
    AbstractHostEnv,
    AbstractLearner,
    AbstractPlanner,
    Data,
)
from .envs.construct import json_kwargs
from .envs.host import GymnasiumEnv, GymnasiumVectorEnv
from .envs.make import make
from .envs.sharing import require_separate
from .errors import UserError, calling, clear_errors
from .models.simulator import Simulator
from .planners.uct import UCT
from .presets.bounds import Natural, checked_number
from .presets.run import RunConfig
from .presets.values import checked, to_dict
from .references import findable, load_object, name_of
from .refusals import (
    NOWHERE,
    check_agent,
    check_alone,
    check_batch,
    check_game,
    check_numbered,
    check_opponent,
    check_rounds,
    check_run,
    check_sequences,
    check_taken,
    check_traceable,
    too_short,
)
from .replay.disk import DiskReplay
from .replay.sizes import agreed_capacity, run_steps
from .room import (
    check_config_room,
    check_episode_room,
    check_progress_room,
    check_run_room,
    check_search_room,
)
from .run.evaluate import JitEvaluator
from .run.host_evaluate import HostEvaluator
from .run.interface import AbstractDriver, AbstractEvaluator
from .run.jit import JitDriver
from .run.match_evaluate import MatchEvaluator
from .run.matches import AbstractPlayer, PlannerPlayer, RandomPlayer
from .run.steps import StepDriver
from .storage import provenance
from .types import EnvSpec, Given, never_terminates


@dataclasses.dataclass
class Setup:
    """The objects of one run."""

    agent_name: str
    env_name: str
    preset: str
    config: Any  # the agent's config; None for an agent that was handed in ready-made
    run: RunConfig
    given: dict[str, str]  # where reward and termination come from, as recorded
    env: AbstractEnv | AbstractHostEnv
    agent: AbstractAgent
    functions: Given
    own: list[str]  # what was handed in and has no name to be found by: must be handed in again to load the run
    notes: list[str] = dataclasses.field(default_factory=list)  # what was decided that a user should know
    env_kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)  # what the environment was constructed with

    @property
    def compiled(self) -> bool:
        """Whether the jit driver runs it."""
        on_device = self.run.plan_ms is None and self.run.replay_gb is None
        return isinstance(self.env, AbstractEnv) and on_device and self.agent.traceable

    @property
    def side_by_side(self) -> bool:
        """Whether the episodes of an evaluation run all at once: acting is compiled, however an agent is trained."""
        return isinstance(self.env, AbstractEnv) and self.run.plan_ms is None

    def data(self, folder: Path) -> Data:
        """The agent's data sets, empty; `folder` is where what is met is kept if on disk.

        Nothing is written. Raises UserError if the folder holds another run's steps.
        """
        run = self.run
        if run.replay_gb is None:
            return self.agent.data(self.capacity, run.num_envs)
        on_disk = DiskReplay.at(folder, self.env.spec, num_envs=run.num_envs, gigabytes=run.replay_gb).emptied()
        return {**self.agent.data(run.num_envs, run.num_envs), "env": on_disk}

    @property
    def capacity(self) -> int:
        """Rows of a replay in memory: transitions, or steps where the agent learns from sequences."""
        return self.run.replay_capacity or min(run_steps(self.agent, self.env, self.run), 1_000_000)

    def driver(self) -> AbstractDriver:
        """The driver that fits: compiled for JAX environments, step by step for all others."""
        if self.compiled and isinstance(self.env, AbstractEnv):
            seeds = self.run.num_seeds if self.run.num_seeds > 1 else None
            return JitDriver(self.agent, self.env, num_envs=self.run.num_envs, num_seeds=seeds)
        env = self.env
        if isinstance(env, AbstractEnv):
            env = make(env, host=True, num_envs=self.run.num_envs)
        return StepDriver(self.agent, env, plan_ms=self.run.plan_ms)

    def evaluator(self, episodes: int) -> AbstractEvaluator:
        """An evaluator of so many episodes; in a game of two, of so many games (an even number) against `opponent`.

        Raises UserError for more episodes than there is memory for, and for games of two with a deadline.
        """
        check_episode_room(self.env.spec, episodes)
        if isinstance(self.env, AbstractGame) and self.env.num_players == 2:
            if self.run.plan_ms is not None:
                raise UserError(
                    f"plan_ms={self.run.plan_ms:g}: the games of an evaluation are played side by side, with no "
                    "deadline; leave it out, and say how long to search with --simulations"
                )
            return MatchEvaluator(self.agent, self.env, opponent(self.env, self.run.opponent), num_games=episodes)
        if self.side_by_side and isinstance(self.env, AbstractEnv):
            return JitEvaluator(self.agent, self.env, num_episodes=episodes, clock=self.run.steps)
        more = {"plan_ms": self.run.plan_ms, "clock": self.run.steps}
        return HostEvaluator(self.agent, self.evaluation_env, num_episodes=episodes, **more)

    @functools.cached_property
    def evaluation_env(self) -> AbstractHostEnv:
        """The environment stepped from Python, independent of the one that training holds, with as many simulators."""
        if isinstance(self.env, AbstractEnv):
            return make(self.env, host=True)
        copied = self.env.copy(self.run.num_envs)
        remedy = f"{type(self.env).__name__}.copy must return an environment with a simulator of its own"
        require_separate(self.env.spec.name, self.env, copied, remedy=remedy)
        return copied

    def prepare(self) -> None:
        """Raises UserError for a combination that cannot run, before anything is written."""
        with clear_errors(self.agent_name):
            driver = self.driver()
            for episodes in (self.run.final_episodes, self.run.eval_episodes):
                self.evaluator(episodes)
            check_progress_room(eqx.filter_eval_shape(lambda: driver.start(self.data(NOWHERE), seed=0)))

    def record(self, argv: list[str] | None, start_from: str | Path | None) -> dict[str, Any]:
        """What is written beside a run before it starts; `start_from` is the run whose agent is trained on."""
        run = self.run
        return {
            "agent": self.agent_name,
            "env": self.env_name,
            "env_kwargs": self.env_kwargs,
            "preset": self.preset,
            "seed": run.seed,
            "num_seeds": run.num_seeds,
            "config": {} if self.config is None else to_dict(self.config),
            "run": to_dict(run),
            "given": self.given,
            "own": self.own,
            "total_steps": run.steps,
            "start_from": None if start_from is None else str(start_from),
            "driver": "jit" if self.compiled else "steps",
            "versions": provenance.versions(),
            "hardware": provenance.hardware(jax.devices()),
            "command": "" if argv is None else " ".join(argv),
        }

    def close(self) -> None:
        """Closes the copy that evaluations run in, and the training environment where it was made here."""
        if "evaluation_env" in self.__dict__:
            self.evaluation_env.close()
        if isinstance(self.env, AbstractHostEnv) and "env" not in self.own:
            self.env.close()


def build(
    agent: str | AbstractAgent | Callable[..., AbstractAgent],
    env: Any,
    *,
    preset: str = "default",
    config: Any = None,
    run: RunConfig,
    reward: Callable[..., Any] | None = None,
    termination: Callable[..., Any] | None = None,
    learner: Any = None,
    planner: Any = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Setup:
    """The objects of a run. `reward` and `termination` are functions that take the place of those `run` names.

    `env_kwargs` are handed to the environment's constructor. `agent` is a name, a ready agent, or a function
    `(spec, given) -> agent`; `learner` is one, or a function `(spec, given) -> learner`; `planner` is one, or a
    function `(action space) -> planner`. Raises UserError for what does not exist or does not fit together.
    """
    run = checked(run)
    check_run(run)
    check_run_room(run)
    entry = find(agent) if isinstance(agent, str) and ":" not in agent else None
    kwargs, numbered = json_kwargs(env_kwargs), entry is None or entry.tabular
    more = {"env_kwargs": kwargs, "numbered": numbered}
    world = make(env, num_envs=run.num_envs, action_repeat=run.action_repeat, **more)
    env_name = env if isinstance(env, str) else name_of(env) or world.spec.name
    handed = {"agent": agent, "env": env, "reward": reward, "termination": termination}
    own = [kind for kind, part in handed.items() if part is not None and not findable(part)]
    own += [kind for kind, part in {"learner": learner, "planner": planner}.items() if part is not None]
    if entry is not None:
        check_taken(agent, entry, run, reward=reward, termination=termination, learner=learner, planner=planner)
    check_opponent(world, run.opponent)
    check_game(str(agent), entry, world, run)
    check_numbered(str(agent), entry, world)
    given, functions = _what_is_given(str(agent), entry, world, run, reward, termination)
    if entry is not None:
        name, config = str(agent), entry.settings(preset, config)
        check_config_room(world.spec, config, copies=run.num_seeds)
        built = _by_entry(name, entry, world.spec, config, functions, learner, planner)
    else:
        if config is not None:
            raise UserError(f"config: {agent} is an agent of your own, which has its settings itself; leave config out")
        name, built = _own_agent(agent, world.spec, functions)
        config, preset = None, ""
    check_batch(config, built, run)
    run, notes = _fitted_run(name, built, entry, world, run)
    if learner is not None or planner is not None:
        preset = f"{preset} with own parts"
    if isinstance(world, GymnasiumEnv | GymnasiumVectorEnv):
        notes += [] if world.seen.note is None else [world.seen.note]
    if _may_be_endless(world):
        notes.append(_ENDLESS)
    setup = Setup(name, env_name, preset, config, run, given, world, built, functions, own, notes, kwargs)
    if run.num_seeds > 1 and not setup.compiled:
        raise UserError(
            f"num_seeds={run.num_seeds} side by side needs a JAX environment, no plan-ms and no replay-gb; here seeds "
            "are trained one after another, each with num_seeds=1"
        )
    return setup


_ENDLESS = (
    "no time limit is declared: an episode lasts until the environment ends it, 1,000 steps at most in evaluations; "
    "wrap the environment with gymnasium.wrappers.TimeLimit, unless it truncates episodes itself"
)


def _may_be_endless(world: AbstractEnv | AbstractHostEnv) -> bool:
    """Whether nothing says that its episodes end."""
    if world.spec.max_episode_steps is not None or isinstance(world, AbstractGame):
        return False
    return not isinstance(world, AbstractEnv) or world.termination_function in (None, never_terminates)


def _by_rules(entry: Entry | None) -> bool:
    """Whether it is an agent of ours that plans on the true rules."""
    return entry is not None and "rules" in entry.takes


def _what_is_given(
    agent: str, entry: Entry | None, world: AbstractEnv | AbstractHostEnv, run: RunConfig, reward: Any, termination: Any
) -> tuple[dict[str, str], Given]:
    """Where reward, termination and model come from, as recorded, and the functions themselves."""
    if _by_rules(entry):
        rules = Given(model=_true_rules(world, agent))
        return {"reward": "env", "termination": "env", "model": "true dynamics"}, rules
    takes = entry is None or "given" in entry.takes
    own = (world.reward_function, world.termination_function) if takes else (None, None)
    reward_name, reward = _given("reward", run.reward, reward, own[0])
    termination_name, termination = _given("termination", run.termination, termination, own[1])
    check_traceable("reward", reward_name, reward, world.spec)
    check_traceable("termination", termination_name, termination, world.spec)
    given = {"reward": reward_name, "termination": termination_name}
    if not run.oracle:
        return given, Given(reward, termination)
    return given | {"model": "true dynamics"}, Given(reward, termination, _true_rules(world, "oracle"))


def _by_entry(
    name: str, entry: Entry, spec: EnvSpec, config: Any, given: Given, learner: Any, planner: Any
) -> AbstractAgent:
    """An agent of ours. Raises UserError for parts and numbers that it cannot take."""
    with clear_errors(name):
        if learner is not None and not isinstance(learner, AbstractLearner):
            learner = _made(learner, "learner", AbstractLearner, "(spec, given) -> learner", spec, given)
        if planner is not None and not isinstance(planner, AbstractPlanner):
            planner = _made(planner, "planner", AbstractPlanner, "(action space) -> planner", spec.action)
        return entry.build(spec, config, given=given, learner=learner, planner=planner, rules=given.model)


def _made(maker: Any, part: str, kind: type, wanted: str, *args: Any) -> Any:
    """A part from the function that makes it. Raises UserError for another object and for what makes no such part."""
    if not callable(maker):
        raise UserError(f"{part}={maker!r} must be one, or a function {wanted}")
    with calling(part, f"a function {wanted}"):
        made = maker(*args)
    if not isinstance(made, kind):
        raise UserError(f"{part} made {type(made).__name__}, wanted an {kind.__name__} from a function {wanted}")
    return made


def _fitted_run(
    name: str, agent: AbstractAgent, entry: Entry | None, world: AbstractEnv | AbstractHostEnv, run: RunConfig
) -> tuple[RunConfig, list[str]]:
    """The options with a replay that fits the agent, and notes. Raises UserError for an agent that they do not fit."""
    with clear_errors(name):
        check_agent(agent)
        check_alone(name, agent, run)
        check_rounds(name, agent, run)
        check_sequences(agent, run)
        run, notes = agreed_capacity(agent, world, run)
    notes += too_short(name, agent, run)
    if _by_rules(entry) and run.num_envs == 1:
        notes = [*notes, "searches are batched over games: --num-envs 64 or more plays many times as fast"]
    return run, notes


def _given(kind: str, choice: str, function: Any, own: Any) -> tuple[str, Any]:
    """How a reward or termination is recorded, and the function (None: learned)."""
    if function is not None:
        return name_of(function) or type(function).__qualname__, function
    if choice == "auto":
        return ("env", own) if own is not None else ("learned", None)
    if choice == "learned":
        return "learned", None
    if choice == "never" and kind == "termination":
        return "never", never_terminates
    if choice == "env":
        if own is None:
            raise UserError(
                f"{kind}=env: this environment has no {kind} function of its own; use learned or pkg.mod:fn"
            )
        return "env", own
    if ":" not in choice:
        options = "env, learned, never or pkg.mod:fn" if kind == "termination" else "env, learned or pkg.mod:fn"
        raise UserError(f"{kind}={choice!r} must be {options}")
    return choice, load_object(choice)


def _true_rules(world: AbstractEnv | AbstractHostEnv, who: str) -> Simulator:
    if not isinstance(world, AbstractEnv):
        raise UserError(
            f"{who}: {world.spec.name} is stepped from Python, so plans cannot run in it; {who} needs a JAX "
            "environment (`forethought list envs` shows them)"
        )
    return Simulator(world)


def _own_agent(agent: Any, spec: EnvSpec, given: Given) -> tuple[str, AbstractAgent]:
    """A user's own agent: ready-made, a function of (spec, given), or the name of one."""
    name = agent if isinstance(agent, str) else None
    if isinstance(agent, str):
        agent = load_object(agent)
    if not isinstance(agent, AbstractAgent):
        if not callable(agent):
            raise UserError(
                f"{agent!r} is no agent: give a name, an AbstractAgent, or a function (spec, given) -> agent"
            )
        name = name or name_of(agent) or type(agent).__qualname__
        with calling(name, "a function (spec, given) -> agent"), clear_errors(name):
            agent = agent(spec, given)
    if not isinstance(agent, AbstractAgent):
        raise UserError(f"{name} made {type(agent).__name__}, which is no forethought.AbstractAgent")
    return name or f"{type(agent).__module__}:{type(agent).__qualname__}", agent


def searching(setup: Setup, simulations: int) -> Setup:
    """The same with so many simulations in each search of the agent; 0: its network alone plays.

    Raises UserError for a number below 0, and for an agent that searches no trees.
    """
    simulations = checked_number(Natural, simulations, "simulations")
    check_search_room(setup.env.spec.action, simulations)
    entry = AGENTS.get(setup.agent_name)
    if entry is None or "rules" not in entry.takes:
        raise UserError(f"simulations: {setup.agent_name} searches no trees on the true rules; leave it out")
    fields = {field.name for field in dataclasses.fields(setup.config)}
    changes = {"simulations": simulations} | dict.fromkeys({"play_simulations"} & fields)  # None: as many
    config = dataclasses.replace(setup.config, **changes)
    agent = entry.build(setup.env.spec, config, rules=setup.functions.model)
    return dataclasses.replace(setup, agent=agent, config=config)


def opponent(game: AbstractGame, name: str) -> AbstractPlayer:
    """Whom evaluations are played against: `random`, or `uct-N`. Raises UserError for another name."""
    if name == "random":
        return RandomPlayer(game)
    kind, _, rollouts = name.partition("-")
    if kind != "uct" or not rollouts.isdecimal() or int(rollouts) < 1:
        raise UserError(f"opponent={name!r} must be random, or uct-N for UCT with N rollouts per move, such as uct-200")
    check_search_room(game.spec.action, int(rollouts), name=f"opponent={kind}, rollouts")
    return PlannerPlayer(UCT(game.spec.action, int(rollouts)), Simulator(game))
