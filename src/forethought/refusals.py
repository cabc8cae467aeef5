"""What cannot be run: options, agents, environments and functions that do not fit, named before anything is tried."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from .catalogue import AGENTS, Entry
from .core import AbstractAgent, AbstractEnv, AbstractGame, AbstractHostEnv
from .envs.repeat import ActionRepeat
from .errors import UserError
from .presets.bounds import check_seeds
from .presets.run import RunConfig
from .replay.disk import DiskReplay
from .types import EnvSpec, Transition

NOWHERE = Path(os.devnull, "replay")  # folder of a replay that is only made for its shapes


def check_run(run: RunConfig) -> None:
    """Raises UserError naming the first invalid one, of options whose numbers are as declared."""
    check_seeds(run.seed, run.num_seeds)
    if run.replay_capacity is not None and run.replay_gb is not None:
        raise UserError(
            f"replay_capacity={run.replay_capacity} and replay_gb={run.replay_gb:g} exclude each other: give the "
            "first for a replay in memory, the second for one on disk"
        )
    if run.replay_capacity is not None and run.replay_capacity < run.num_envs:
        raise UserError(f"replay_capacity={run.replay_capacity} must be at least num_envs={run.num_envs}")
    if run.stop_at_return is not None and run.eval_every == 0:
        raise UserError("stop_at_return needs evaluations during training; give eval_every above 0")


def check_oracle(run: RunConfig, **handed: Any) -> None:
    """Raises UserError for a learned function beside the true dynamics, where nothing is learned."""
    for kind in ("reward", "termination"):
        if run.oracle and handed[kind] is None and getattr(run, kind) == "learned":
            raise UserError(
                f"{kind}=learned: the oracle learns nothing, it plans on the true dynamics; leave {kind} out"
            )


def check_opponent(world: AbstractEnv | AbstractHostEnv, opponent: str, *, asked: bool = False) -> None:
    """Raises UserError for an opponent where nobody is played against; the usual one only where it was `asked` for."""
    inner = world.env if isinstance(world, ActionRepeat) else world
    if (asked or opponent != "random") and not (isinstance(inner, AbstractGame) and inner.num_players == 2):
        raise UserError(f"opponent={opponent}: {world.spec.name} is not a game of two players; leave opponent out")


def check_taken(agent: Any, entry: Entry, run: RunConfig, **handed: Any) -> None:
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
        if not entry.model:
            raise UserError(f"oracle: {agent} learns without a model; leave oracle out, or take pets or mbpo")
        raise UserError(f"oracle: {agent} decides by what it has made of its observations; it needs its own model")
    for kind in ("reward", "termination"):
        if handed[kind] is not None or getattr(run, kind) not in ("auto", "learned"):
            learns = "from the rewards that it meets" if not entry.model else f"the {kind} from what it sees"
            raise UserError(f"{agent} learns {learns}; leave {kind} out, or take another agent")


def check_game(agent: str, entry: Entry | None, world: AbstractEnv | AbstractHostEnv, run: RunConfig) -> None:
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


def check_numbered(agent: str, entry: Entry | None, world: AbstractEnv | AbstractHostEnv) -> None:
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
        f"vectors; take {', '.join(able)}, or an environment that shows vectors"
    )


def check_agent(agent: AbstractAgent) -> None:
    """Raises UserError or ValueError for invalid counts, and for sizes that only `init` would meet."""
    agent.schedule.check()
    if agent.traceable:
        eqx.filter_eval_shape(lambda: agent.init(key=jax.random.key(0)))


def check_rounds(name: str, agent: AbstractAgent, run: RunConfig) -> None:
    """Raises UserError if one of several rounds would never be called in this run."""
    for each in agent.schedule.rounds if len(agent.schedule.rounds) > 1 else ():
        first = each.next_due(0) or 0
        if first > run.steps:
            raise UserError(
                f"steps={run.steps}: the round {each.name} of {name} falls due after {first} steps for the first time; "
                f"take more steps{_or_fewer_random(agent)}"
            )


def check_batch(config: Any, agent: AbstractAgent, run: RunConfig) -> None:
    """Raises UserError for a replay that was asked to keep fewer transitions than a batch has."""
    batch = None if agent.sequence_length else getattr(config, "batch_size", None)
    if batch is not None and run.replay_capacity is not None and run.replay_capacity < batch:
        raise UserError(
            f"replay_capacity={run.replay_capacity} keeps fewer transitions than the {batch} of a batch; use {batch} "
            "or more, or lower batch_size"
        )


def too_short(name: str, agent: AbstractAgent, run: RunConfig) -> list[str]:
    """A note if the run ends before the agent learns anything."""
    first = min((each.next_due(0) or 0 for each in agent.schedule.rounds), default=0)
    if first <= run.steps:
        return []
    remedy = f"take more steps{_or_fewer_random(agent)}"
    return [f"{run.steps:,} steps are too few to learn from: {name} first learns after {first:,}; {remedy}"]


def _or_fewer_random(agent: AbstractAgent) -> str:
    random = agent.schedule.random_steps
    return f", or fewer random ones than {random:,} (random_steps)" if random else ""


def check_alone(name: str, agent: AbstractAgent, run: RunConfig) -> None:
    """Raises UserError for an agent that learns online in several environments."""
    if agent.schedule.single_env and run.num_envs > 1:
        raise UserError(
            f"num_envs={run.num_envs}: {name} learns from each step as it comes, so it has one environment; "
            "num_seeds runs several of them side by side"
        )


def check_sequences(agent: AbstractAgent, run: RunConfig) -> None:
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
    if agent.schedule.rounds:
        first = min(each.next_due(0) or 0 for each in agent.schedule.rounds)
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
