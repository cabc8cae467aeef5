"""From what a user asked for to the objects of a run: environment, what is given, agent, driver."""

import dataclasses
import functools
import importlib
import inspect
import operator
import os
import sys
from collections.abc import Callable
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
    AbstractReplay,
)
from .envs.make import make
from .envs.repeat import ActionRepeat
from .errors import UserError
from .models.simulator import Simulator
from .planners.uct import UCT
from .presets.run import RunConfig
from .replay.disk import DiskReplay
from .replay.games import GameReplay, Searched
from .replay.sequence import SequenceReplay
from .replay.sizes import agreed_capacity, run_steps
from .replay.uniform import UniformReplay
from .run.evaluate import JitEvaluator
from .run.jit import JitDriver
from .run.match_evaluate import MatchEvaluator
from .run.matches import AbstractPlayer, PlannerPlayer, RandomPlayer
from .run.steps import HostEvaluator, StepDriver
from .types import EnvSpec, Given, Transition, never_terminates

NOWHERE = Path(os.devnull, "replay")  # folder of a replay that is only made for its shapes


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

    @property
    def compiled(self) -> bool:
        """Whether the jit driver runs it."""
        on_device = self.run.plan_ms is None and self.run.replay_gb is None
        return isinstance(self.env, AbstractEnv) and on_device and self.agent.traceable

    def replay(self, folder: Path) -> AbstractReplay:
        """An empty replay of the size and kind that the run needs; `folder` is where it is kept if on disk.

        Nothing is written. Raises UserError if the folder holds another run's steps.
        """
        spec, run = self.env.spec, self.run
        if run.replay_gb is not None:
            return DiskReplay.at(folder, spec, num_envs=run.num_envs, gigabytes=run.replay_gb).emptied()
        if self.agent.sequence_length is not None:
            return SequenceReplay.empty(spec, max(self.capacity, 2 * run.num_envs), run.num_envs)
        if isinstance(self.agent.extras, Searched):
            return GameReplay.empty(spec, self.capacity, run.num_envs)
        return UniformReplay.empty(spec, self.capacity, self.agent.extras)

    @property
    def capacity(self) -> int:
        """Rows of a replay in memory: transitions, or steps where the agent learns from sequences."""
        return self.run.replay_capacity or min(run_steps(self.agent, self.env, self.run), 1_000_000)

    def driver(self) -> JitDriver | StepDriver:
        """The driver that fits: compiled for JAX environments, step by step for all others."""
        if self.compiled and isinstance(self.env, AbstractEnv):
            seeds = self.run.num_seeds if self.run.num_seeds > 1 else None
            return JitDriver(self.agent, self.env, num_envs=self.run.num_envs, num_seeds=seeds)
        env = self.env
        if isinstance(env, AbstractEnv):
            env = make(env, host=True, num_envs=self.run.num_envs)
        return StepDriver(self.agent, env, plan_ms=self.run.plan_ms)

    def evaluator(self, episodes: int) -> JitEvaluator | HostEvaluator | MatchEvaluator:
        """An evaluator of so many episodes; in a game of two, of so many games (an even number) against `opponent`."""
        if isinstance(self.env, AbstractGame) and self.env.num_players == 2:
            return MatchEvaluator(self.agent, self.env, opponent(self.env, self.run.opponent), num_games=episodes)
        if self.compiled and isinstance(self.env, AbstractEnv):
            return JitEvaluator(self.agent, self.env, num_episodes=episodes, clock=self.run.steps)
        more = {"plan_ms": self.run.plan_ms, "clock": self.run.steps}
        return HostEvaluator(self.agent, self.evaluation_env, num_episodes=episodes, **more)

    @functools.cached_property
    def evaluation_env(self) -> AbstractHostEnv:
        """The environment stepped from Python, independent of the one that training holds."""
        return make(self.env, host=True) if isinstance(self.env, AbstractEnv) else self.env.copy(1)

    def prepare(self) -> None:
        """Raises UserError for a combination that cannot run, before anything is written."""
        with clear_errors(self.agent_name):
            driver = self.driver()
            self.evaluator(self.run.final_episodes)
            eqx.filter_eval_shape(lambda: driver.start(self.replay(NOWHERE), seed=0))

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
) -> Setup:
    """The objects of a run. `reward` and `termination` are functions that take the place of those `run` names.

    `agent` is a name, a ready agent, or a function `(spec, given) -> agent`; `learner` is one, or a function
    `(spec, given) -> learner`; `planner` is one, or a function `(action space) -> planner`. Raises UserError for what
    does not exist or does not fit together.
    """
    check_run(run)
    world = make(env, num_envs=run.num_envs, action_repeat=run.action_repeat)
    env_name = env if isinstance(env, str) else _name_of(env) or world.spec.name
    handed = {"agent": agent, "env": env, "reward": reward, "termination": termination}
    own = [kind for kind, part in handed.items() if part is not None and not _findable(part)]
    own += [kind for kind, part in {"learner": learner, "planner": planner}.items() if part is not None]
    entry = find(agent) if isinstance(agent, str) and ":" not in agent else None
    own_functions = (world.reward_function, world.termination_function)
    if entry is not None:
        _check_taken(agent, entry, run, reward=reward, termination=termination, learner=learner, planner=planner)
        own_functions = own_functions if "given" in entry.takes else (None, None)
    by_rules = entry is not None and "rules" in entry.takes
    _check_game(str(agent), entry, world, run)
    _check_numbered(str(agent), entry, world)
    if by_rules:
        given, functions = {"reward": "env", "termination": "env"}, Given(model=_true_rules(world, str(agent)))
    else:
        reward_name, reward_fn = _given("reward", run.reward, reward, own_functions[0])
        termination_name, termination_fn = _given("termination", run.termination, termination, own_functions[1])
        given = {"reward": reward_name, "termination": termination_name}
        for kind, function in {"reward": reward_fn, "termination": termination_fn}.items():
            check_traceable(kind, given[kind], function, world.spec)
        functions = Given(reward_fn, termination_fn, _true_rules(world, "oracle") if run.oracle else None)
    if entry is not None:
        config = entry.preset(preset) if config is None else config
        name = str(agent)
        with clear_errors(name):
            if learner is not None and not isinstance(learner, AbstractLearner):
                learner = learner(world.spec, functions)
            if planner is not None and not isinstance(planner, AbstractPlanner):
                planner = planner(world.spec.action)
            parts = {"given": functions, "learner": learner, "planner": planner, "rules": functions.model}
            built = entry.build(world.spec, config, **parts)
    else:
        name, built = _own_agent(agent, world.spec, functions)
        config, preset = None, ""
    with clear_errors(name):
        check_agent(built)
        if built.online and run.num_envs > 1:
            raise UserError(
                f"num_envs={run.num_envs}: {name} learns from each step as it comes, so it has one environment; "
                "num_seeds runs several of them side by side"
            )
        _check_sequences(built, run)
        run, notes = agreed_capacity(built, world, run)
    if by_rules and run.num_envs == 1:
        notes = [*notes, "searches are batched over games: --num-envs 64 or more plays many times as fast"]
    if learner is not None or planner is not None:
        preset = f"{preset} with own parts"
    if run.oracle or by_rules:
        given["model"] = "true dynamics"
    setup = Setup(name, env_name, preset, config, run, given, world, built, functions, own, notes)
    if run.num_seeds > 1 and not setup.compiled:
        raise UserError(
            f"num_seeds={run.num_seeds} side by side needs a JAX environment, no plan-ms and no replay-gb; here seeds "
            "are trained one after another, each with num_seeds=1"
        )
    return setup


def _check_taken(agent: Any, entry: Entry, run: RunConfig, **handed: Any) -> None:
    """Raises UserError for a function or part that the agent has no use for."""
    for part in ("learner", "planner"):
        if handed[part] is not None and part not in entry.takes:
            raise UserError(f"{agent} has no {part} to replace; leave {part} out, or take another agent")
    if "given" in entry.takes:
        return
    if "rules" in entry.takes:
        if run.oracle:
            raise UserError(f"oracle: {agent} plans on the true dynamics anyway; leave it out")
        for kind in ("reward", "termination"):
            if handed[kind] is not None or getattr(run, kind) not in ("auto", "env"):
                raise UserError(f"{agent} plans on the true rules, which say the {kind}; leave {kind} out")
        return
    if run.oracle:
        raise UserError(f"oracle: {agent} decides by what it has made of its observations; it needs its own model")
    for kind in ("reward", "termination"):
        if handed[kind] is not None or getattr(run, kind) not in ("auto", "learned"):
            raise UserError(f"{agent} learns the {kind} from what it sees; leave {kind} out, or take another agent")


def _check_game(agent: str, entry: Entry | None, world: AbstractEnv | AbstractHostEnv, run: RunConfig) -> None:
    """Raises UserError for an agent of ours that would take its opponent for a part of the world, or a held move."""
    inner = world.env if isinstance(world, ActionRepeat) else world
    if not isinstance(inner, AbstractGame):
        return
    if run.action_repeat > 1:
        raise UserError(f"action_repeat={run.action_repeat}: in {inner.spec.name} a move is made once; leave it out")
    if inner.num_players == 2 and entry is not None and "rules" not in entry.takes:
        able = [name for name, other in AGENTS.items() if "rules" in other.takes]
        raise UserError(
            f"{inner.spec.name} is a game of two players with moves that are not legal, of which {agent} knows "
            f"nothing; take {' or '.join(able)}"
        )


def _check_numbered(agent: str, entry: Entry | None, world: AbstractEnv | AbstractHostEnv) -> None:
    """Raises UserError for an agent of ours that learns from vectors where states are numbers, and the other way."""
    spec = world.spec
    if entry is None or entry.tabular == (spec.num_states is not None):
        return
    able = [name for name, other in AGENTS.items() if other.tabular]
    if spec.num_states is None:
        raise UserError(
            f"{agent} is for tasks of numbered states, and an observation of {spec.name} is a vector of "
            f"{spec.obs_dim}; take pets, dreamer-v3 or another agent with networks"
        )
    if "rules" in entry.takes:
        return  # the guide of a search sees states one-hot
    raise UserError(
        f"an observation of {spec.name} is the number of a state (0..{spec.num_states - 1}), and {agent} learns from "
        f"vectors; take {', '.join(able)}, or wrap the environment with gymnasium.wrappers.FlattenObservation"
    )


def check_run(run: RunConfig) -> None:
    """Raises UserError naming the first option that cannot be."""
    for name in ("steps", "num_seeds", "num_envs", "action_repeat", "eval_episodes", "final_episodes"):
        if getattr(run, name) < 1:
            raise UserError(f"{name}={getattr(run, name)} must be at least 1")
    if run.seed < 0:
        raise UserError(f"seed={run.seed} must be at least 0")
    for name in ("plan_ms", "max_minutes", "checkpoint_seconds", "threads", "replay_capacity", "replay_gb"):
        value = getattr(run, name)
        if value is not None and value <= 0:
            raise UserError(f"{name}={value} must be above 0")
    if run.replay_capacity is not None and run.replay_gb is not None:
        raise UserError(
            f"replay_capacity={run.replay_capacity} and replay_gb={run.replay_gb:g} exclude each other: give the "
            "first for a replay in memory, the second for one on disk"
        )
    if run.replay_capacity is not None and run.replay_capacity < run.num_envs:
        raise UserError(f"replay_capacity={run.replay_capacity} must be at least num_envs={run.num_envs}")
    if run.stop_at_return is not None and run.eval_every == 0:
        raise UserError("stop_at_return needs evaluations during training; give eval_every above 0")
    if run.eval_every is not None and run.eval_every < 0:
        raise UserError(f"eval_every={run.eval_every} must be at least 0 (0: only at the end)")


def check_agent(agent: AbstractAgent) -> None:
    """Raises UserError or ValueError for counts that cannot be, and for sizes that only `init` would meet."""
    if agent.random_steps < 0:
        raise UserError(f"random_steps={agent.random_steps} must be at least 0")
    if agent.update_every is not None and agent.update_every < 1:
        raise UserError(f"update_every={agent.update_every} must be at least 1")
    if agent.traceable:
        eqx.filter_eval_shape(lambda: agent.init(key=jax.random.key(0)))


def _check_sequences(agent: AbstractAgent, run: RunConfig) -> None:
    """Raises UserError if the first update would find no stretch as long as it draws, or the replay has no room."""
    length, envs = agent.sequence_length, run.num_envs
    if length is None:
        if run.replay_gb is not None:
            raise UserError(
                f"replay_gb={run.replay_gb:g}: this agent learns from single transitions, which are kept in memory; "
                "leave replay_gb out (replay_capacity limits them)"
            )
        return
    if run.replay_gb is not None:
        kept = DiskReplay.at(NOWHERE, agent.spec, num_envs=envs, gigabytes=run.replay_gb).store.kept
        if kept < length:
            raise UserError(
                f"replay_gb={run.replay_gb:g} keeps {kept} steps of each of num_envs={envs}, fewer than the {length} "
                "of a sequence; give it more, or lower batch_length"
            )
    if agent.update_every is not None:
        first = agent.random_steps or agent.update_every
        steps = first // (envs * agent.spec.action_repeat)  # of each environment
        if steps < length:
            raise UserError(
                f"{first} environment steps before the first update are {steps} of each of num_envs={envs}, fewer "
                f"than the {length} of a sequence; raise random_steps or lower batch_length"
            )
    if run.replay_capacity is not None and run.replay_capacity < length * envs:
        raise UserError(
            f"replay_capacity={run.replay_capacity} must be at least {length * envs} steps: sequences of {length} from "
            f"each of num_envs={envs}; raise it or lower batch_length"
        )


def check_traceable(kind: str, name: str, function: Callable[..., Any] | None, spec: EnvSpec) -> None:
    """Raises UserError if a given function cannot be traced by JAX for one transition, or answers with no scalar."""
    if function is None:
        return
    example = Transition.example(spec)
    try:
        answer = jax.eval_shape(function, example.obs, example.action, example.next_obs)
    except Exception as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(
            f"{kind}={name} cannot be traced by JAX ({type(error).__name__}: {first}); write it in jax.numpy for one "
            "transition (obs, action, next_obs)"
        ) from error
    if getattr(answer, "shape", None) != ():
        raise UserError(f"{kind}={name} answers with {answer}, wanted one number per transition")


def searching(setup: Setup, simulations: int) -> Setup:
    """The same with so many simulations in each search of the agent; 0: its network alone plays.

    Raises UserError for a number below 0, and for an agent that searches no trees.
    """
    if simulations < 0:
        raise UserError(f"simulations={simulations} must be at least 0 (0: the network alone)")
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
    return PlannerPlayer(UCT(game.spec.action, int(rollouts)), Simulator(game))


class clear_errors:
    """Turns the ValueError of a part's constructor into a UserError that names the agent."""

    def __init__(self, what: str):
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ValueError):
            raise UserError(f"{self.what}: {error}") from error


def load_object(name: str) -> Any:
    """The object that `package.module:name` is. Raises UserError if it cannot be imported."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise UserError(f"{name!r} must look like package.module:name")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"{name!r} cannot be imported: {error}; run from the folder that holds it, or install it"
        ) from error
    try:
        return operator.attrgetter(attribute)(found)
    except AttributeError:
        from .errors import nearest

        raise UserError(f"{module} has no {attribute!r}; {nearest(attribute, dir(found))}") from None


def _given(kind: str, choice: str, function: Any, own: Any) -> tuple[str, Any]:
    """How a reward or termination is recorded, and the function (None: learned)."""
    if function is not None:
        return _name_of(function) or type(function).__qualname__, function
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


def _name_of(part: Any) -> str | None:
    """`module:name` of a class or function; None for other objects."""
    if not (inspect.isclass(part) or inspect.isfunction(part)):
        return None
    return f"{part.__module__}:{part.__qualname__}"


def _findable(part: Any) -> bool:
    """Whether another process can find `part` by the name it is recorded under."""
    name = part if isinstance(part, str) else _name_of(part)
    return name is not None and not name.startswith("__main__:") and "<" not in name


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
        name = name or _name_of(agent) or type(agent).__qualname__
        with clear_errors(name):
            agent = agent(spec, given)
    if not isinstance(agent, AbstractAgent):
        raise UserError(f"{name} made {type(agent).__name__}, which is no forethought.AbstractAgent")
    return name or f"{type(agent).__module__}:{type(agent).__qualname__}", agent


def parameter_bytes(tree: Any) -> int:
    """Bytes of all arrays in `tree`, which may be abstract."""
    return sum(
        x.size * x.dtype.itemsize for x in jax.tree.leaves(tree) if isinstance(x, jax.Array | jax.ShapeDtypeStruct)
    )
