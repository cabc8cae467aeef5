"""A tiny world, tiny agents and their compiled drivers, shared by the tests of agents, drivers and runs."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from forethought.agents.planning import PlanningAgent
from forethought.core import AbstractAgent, AbstractEnv, Clock, Schedule, programs
from forethought.envs.hosted import HostedJaxEnv
from forethought.models.simulator import Simulator
from forethought.presets.mpc_ladder import MPCLadderConfig
from forethought.presets.parts import EnsembleConfig, PlannerConfig
from forethought.presets.pets import PETSConfig
from forethought.presets.random_shooting import RandomShootingConfig
from forethought.replay.uniform import UniformReplay
from forethought.run.jit import JitDriver
from forethought.run.steps import StepDriver
from forethought.types import Box, EnvSpec, Given, Transition, never_terminates


class WalkState(eqx.Module):
    x: jax.Array
    steps: jax.Array


class Walk(AbstractEnv[WalkState]):
    """x' = 0.9 x + 0.2 a in two dimensions that share one action; deterministic; 7 simulator steps an episode."""

    limit: int | None = eqx.field(static=True, default=7)
    nan_after: int | None = eqx.field(static=True, default=None)  # observations of later steps are NaN
    ends_above: float | None = eqx.field(static=True, default=None)  # terminates once |x[0]| is above

    @property
    def spec(self):
        return EnvSpec("walk", 2, Box((-1.0,), (1.0,)), max_episode_steps=self.limit)

    def reset(self, *, key, start=None, clock=0):
        x = jr.uniform(key, (2,), minval=-1.0) if start is None else start.x
        return WalkState(x, jnp.zeros((), jnp.int32)), x

    def step(self, state, action, *, key):
        x = 0.9 * state.x + 0.2 * action
        steps = state.steps + 1
        if self.nan_after is not None:
            x = jnp.where(steps > self.nan_after, jnp.nan, x)
        over = jnp.zeros((), bool) if self.limit is None else steps >= self.limit
        ended = jnp.zeros((), bool) if self.ends_above is None else jnp.abs(x[0]) > self.ends_above
        return WalkState(x, steps), x, walk_reward(state.x, action, x), ended, over

    @property
    def reward_function(self):
        return walk_reward

    @property
    def termination_function(self):
        return never_terminates if self.ends_above is None else None

    def state_from(self, obs):
        return WalkState(obs, jnp.zeros((), jnp.int32))


def walk_reward(obs, action, next_obs):
    """Of one transition."""
    return -jnp.sum(next_obs**2) - 0.1 * jnp.sum(action**2)


class Averaging(AbstractAgent):
    """Compiles in no time: pushes against the mean observation that it has learned, harder along the episode."""

    spec: EnvSpec = Walk().spec
    random_steps: int = 20
    update_every: int | None = 20
    traceable: bool = eqx.field(static=True, default=True)

    def init(self, *, key):
        return jr.normal(key, (self.spec.obs_dim,))

    def init_memory(self, state):
        return jnp.zeros(())

    def act(self, state, memory, obs, *, key, explore):
        noise = 0.1 * jr.normal(key, (1,)) if explore else jnp.zeros(1)
        return jnp.clip(noise - 0.1 * memory * jnp.mean(obs - state), -1, 1), memory + 1, None

    @property
    def schedule(self):
        return Schedule.one_round("model", self.update_every, random_steps=self.random_steps)

    def data(self, capacity, num_envs):
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs)}

    def update(self, state, data, *, round, clock, key):
        rows, in_use = data["env"].rows()
        mean = jnp.mean(rows.obs, 0, where=in_use[:, None])
        mean = mean + 0.01 * jr.normal(key, mean.shape)
        return mean, {}, {"model/loss": jnp.sum((state - mean) ** 2)}


MODEL = EnsembleConfig(num_members=2, particles=2, hidden=(8,), epochs=2, batch_size=16)
ONE_NETWORK = EnsembleConfig(
    num_members=1, particles=1, probabilistic=False, hidden=(8,), epochs=2, batch_size=16, bootstrap=False
)
PLANNER = PlannerConfig(horizon=4, population=16, elites=4, iterations=2)
SCHEDULE = {"random_steps": 20, "update_every": 20}

CONFIGS = {
    "pets": PETSConfig(model=MODEL, planner=PLANNER, **SCHEDULE),
    "random-shooting": RandomShootingConfig(
        model=ONE_NETWORK,
        planner=PlannerConfig(kind="shooting", horizon=4, population=16, iterations=1),
        action_noise=0.1,
        **SCHEDULE,
    ),
    **{
        f"mpc-ladder-{version}": MPCLadderConfig(version=version, model=ONE_NETWORK, planner=PLANNER, **SCHEDULE)
        for version in ("0.5", "1.0", "1.5")
    },
}
KINDS = {"pets": PlanningAgent, "random-shooting": PlanningAgent}
NAMES = list(CONFIGS)
GIVEN = Given(walk_reward, never_terminates)


def make_agent(name: str, spec: EnvSpec | None = None, *, given: Given = GIVEN, oracle: bool = False):
    """The agent of that name; on the true dynamics if `oracle`."""
    given = Given(given.reward, given.termination, Simulator(Walk())) if oracle else given
    return KINDS.get(name, PlanningAgent)(Walk().spec if spec is None else spec, CONFIGS[name], given=given)


@functools.cache
def jit_driver(name: str, num_envs: int = 1, num_seeds: int | None = None, oracle: bool = False) -> JitDriver:
    """One compiled driver for all tests that need such a one."""
    programs.forget()  # so that it counts every trace of its own
    return JitDriver(make_agent(name, oracle=oracle), Walk(), num_envs=num_envs, num_seeds=num_seeds)


@functools.cache
def step_driver(name: str, num_envs: int = 1) -> StepDriver:
    """The step driver for the same agent and task."""
    return StepDriver(make_agent(name), HostedJaxEnv(Walk(), num_envs))


def empty_replay(capacity: int = 64, spec: EnvSpec | None = None, num_envs: int = 1) -> UniformReplay:
    """A replay with no rows."""
    return UniformReplay.empty(Walk().spec if spec is None else spec, capacity, num_envs)


def empty_data(capacity: int = 64, spec: EnvSpec | None = None, num_envs: int = 1) -> dict[str, UniformReplay]:
    """Data sets with no rows."""
    return {"env": empty_replay(capacity, spec, num_envs)}


def updated(agent, state, replay, *, key):
    """State and metrics after a call of an agent's only round, on what is in `replay`."""
    name = agent.schedule.rounds[0].name if agent.schedule.rounds else ""
    state, additions, metrics = agent.update(state, {"env": replay}, round=name, clock=Clock.start(1), key=key)
    assert additions == {}
    return state, metrics


def copied(tree):
    """`tree` on buffers of its own, which no driver can take away."""
    return jax.tree.map(lambda x: x.copy() if eqx.is_array(x) else x, tree)


def numbers(tree) -> list[np.ndarray]:
    """All arrays of `tree` as NumPy arrays, typed keys as their data."""
    key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return [np.asarray(jr.key_data(x) if key(x) else x) for x in jax.tree.leaves(tree) if eqx.is_array(x)]


def same_bits(left, right) -> bool:
    """Whether two trees hold the same arrays, bit for bit."""
    left, right = numbers(left), numbers(right)
    return len(left) == len(right) and all(np.array_equal(a, b, equal_nan=True) for a, b in zip(left, right))


def run_to(driver, progress, total_steps: int):
    """The last progress of a run to `total_steps`, without the metrics of its last update."""
    *_, last = driver.train(progress, total_steps=total_steps)
    return dataclasses.replace(last, metrics={})


def history(progress) -> Transition:
    """The rows of the replay, oldest first, as NumPy arrays."""
    size = int(progress.data["env"].size)
    return jax.tree.map(np.asarray, progress.data["env"].latest(size))


def random_rows(n: int, spec: EnvSpec | None = None, *, seed: int = 0) -> Transition:
    """`n` unrelated transitions of random numbers."""
    spec = Walk().spec if spec is None else spec
    keys = jr.split(jr.key(seed), 4)
    obs, change = jr.normal(keys[0], (n, spec.obs_dim)), jr.normal(keys[1], (n, spec.obs_dim))
    no = jnp.zeros(n, bool)
    action = spec.action.sample((n,), key=keys[2])
    return Transition(obs, action, jr.normal(keys[3], (n,)), obs + change, no, no)
