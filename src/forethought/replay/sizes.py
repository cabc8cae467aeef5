"""How many rows the replay of a run needs, and how many there is memory for."""

import dataclasses
import math

import equinox as eqx
import jax

from ..core import AbstractAgent, AbstractEnv, AbstractHostEnv
from ..errors import UserError
from ..presets.run import RunConfig
from ..text import gigabytes
from ..types import EnvSpec, never_terminates
from .machine import SHARE, device_bytes

MOST = 1_000_000  # rows, unless told otherwise
TOO_MUCH = 0.8  # of the memory


def run_steps(agent: AbstractAgent, env: AbstractEnv | AbstractHostEnv, run: RunConfig) -> int:
    """Rows that all of a run's steps take at most.

    One for each action; where the agent learns from sequences, one more for each episode. Episodes are as long as the
    task's limit where it is known never to terminate; otherwise they might be over after one action. With action
    repeat, the last action of an episode may take fewer simulator steps than the others, so there are more actions.
    """
    spec = env.spec
    repeat, steps = spec.action_repeat, -(-run.steps // run.num_envs)  # of each environment
    longest = longest_episode(spec)
    if spec.max_episode_steps is None or longest is None or env.termination_function is not never_terminates:
        actions, shortest = steps if agent.sequence_length is None else -(-steps // repeat), 1
    else:
        actions, shortest = -(-steps // spec.max_episode_steps) * longest, longest
        if spec.max_episode_steps % repeat == 0:
            actions = -(-steps // repeat)
    if agent.sequence_length is None:
        return actions * run.num_envs
    return (actions + -(-actions // shortest) + 1) * run.num_envs


def likely_steps(spec: EnvSpec, run: RunConfig) -> int:
    """Steps of a run, all environments together, if its episodes are as long as they can be."""
    actions = -(-run.steps // (run.num_envs * spec.action_repeat))
    longest = longest_episode(spec)
    return (actions + (1 if longest is None else -(-actions // longest))) * run.num_envs


def longest_episode(spec: EnvSpec) -> int | None:
    """Actions in an episode at most; None where there is no limit."""
    return None if spec.max_episode_steps is None else -(-spec.max_episode_steps // spec.action_repeat)


def agreed_capacity(
    agent: AbstractAgent, env: AbstractEnv | AbstractHostEnv, run: RunConfig
) -> tuple[RunConfig, list[str]]:
    """The run with a `replay_capacity` where memory does not allow the default, and what a user should know of it.

    Raises UserError if the capacity that was asked for is more than there is memory for.
    """
    size, memory = _row_bytes(agent, run.num_envs) * run.num_seeds, device_bytes()
    if run.replay_gb is not None or size <= 0:  # on disk, or as much as one round takes, however long the run
        return run, []
    rows, remedy = "transitions", "--replay-capacity"
    if agent.sequence_length is not None:
        rows, remedy = "steps", "--replay-gb keeps them on disk"
    if run.replay_capacity is not None:
        wanted = run.replay_capacity * size
        if wanted > TOO_MUCH * memory:
            raise UserError(
                f"replay_capacity={run.replay_capacity} takes {gigabytes(wanted)}, the memory is "
                f"{gigabytes(memory)}; lower it{', ' + remedy if agent.sequence_length else ''}"
            )
        return run, []
    wanted = min(run_steps(agent, env, run), MOST)
    fits = math.floor(SHARE * memory / size)
    if wanted <= fits:
        return run, []
    note = (
        f"the replay keeps the last {fits:,} of up to {wanted:,} {rows}, which take {gigabytes(wanted * size)}, "
        f"more than a quarter of the memory; to keep more: {remedy}"
    )
    return dataclasses.replace(run, replay_capacity=fits), [note]


def _row_bytes(agent: AbstractAgent, num_envs: int) -> float:
    """Bytes of a row of what is met."""
    sizes = []
    for rows in (1000 * num_envs, 2000 * num_envs):
        stored = eqx.filter_eval_shape(lambda rows=rows: agent.data(rows, num_envs)["env"])
        sizes.append(sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(stored)))
    return (sizes[1] - sizes[0]) / (1000 * num_envs)
