"""Proximal policy optimisation with the clipped surrogate objective (Schulman et al. 2017, Algorithm 1).

After every `num_steps` environment steps: advantages by generalised advantage estimation, then several passes of
gradient steps on minibatches of these steps, which are not used again.

Deviations from the paper:
- actor and critic are networks of their own, with orthogonal first weights;
- the gradient's norm is clipped, and advantages are normalised in each minibatch, as in the authors' later code;
- a truncated episode is bootstrapped from the value of its true last observation;
- the step size decays only if `decay_steps` is given, and the clipping range never does;
- observations and rewards are not normalised.
"""

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import AbstractAgent, Additions, Clock, Data, Round, Schedule
from ..learners.ppo import PPO as Learner
from ..learners.ppo import PPOState
from ..learners.schedule import remaining
from ..presets.ppo import PPOConfig
from ..replay.uniform import UniformReplay
from ..types import EnvSpec, Metrics


class Drawn(NamedTuple):
    """What is stored beside an action."""

    raw: Float[Array, " action"]
    version: Int[Array, ""]  # of the policy that drew it


class PPO(AbstractAgent[PPOState, None]):
    """Learns from the steps since the last round; acts by a draw, in evaluations by the likeliest action."""

    spec: EnvSpec
    config: PPOConfig = eqx.field(static=True)
    learner: Learner

    def __init__(self, spec: EnvSpec, config: PPOConfig | None = None):
        """Raises ValueError for invalid settings."""
        self.spec, self.config = spec, PPOConfig() if config is None else config
        self.learner = Learner(spec, self.config)

    @property
    def schedule(self) -> Schedule:
        return Schedule(0, (Round("policy", self.config.num_steps),))

    def _actions(self, num_envs: int) -> int:
        """Actions of all environments between rounds, where no episode ends within an action's repeats."""
        return -(-self.config.num_steps // (num_envs * self.spec.action_repeat)) * num_envs

    def _rows(self, num_envs: int) -> int:
        """Rows of each environment between rounds at most: episodes may end within an action's repeats, and take one
        tick more to begin."""
        return 2 * -(-self.config.num_steps // num_envs)

    def data(self, capacity: int, num_envs: int) -> Data:
        """Keeps at least the steps between two rounds. Raises ValueError if these are fewer than one action in each
        environment takes, or than the minibatches."""
        c, tick = self.config, num_envs * self.spec.action_repeat
        if c.num_steps < tick:
            raise ValueError(
                f"num_steps={c.num_steps} must be at least the {tick} steps that one action in each environment takes; "
                f"use {tick} or more"
            )
        self.learner.check_count(self._actions(num_envs))
        extras = Drawn(jnp.zeros(self.spec.action.feature_dim), jnp.zeros((), jnp.int32))
        most = max(capacity, self._rows(num_envs) * num_envs)
        return {"env": UniformReplay.empty(self.spec, most, num_envs, extras=extras)}

    def init(self, *, key: PRNGKeyArray) -> PPOState:
        return self.learner.init(key=key)

    def init_memory(self, state: PPOState) -> None:
        return None

    def act(
        self, state: PPOState, memory: None, obs: Float[Array, " obs"], *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Array, None, Drawn]:
        policy = self.learner.policy(state, obs)
        raw = policy.sample(key=key) if explore else policy.mode()
        return policy.executed(raw), None, Drawn(raw, state.version)

    def update(
        self, state: PPOState, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[PPOState, Additions, Metrics]:
        c, replay = self.config, data["env"]
        batch, used = replay.on_policy(self._rows(replay.num_envs))
        own = used & (batch.extras.version == state.version)
        batch = dataclasses.replace(batch, extras=batch.extras.raw)
        examples = self.learner.advantages(state, batch, own.astype(jnp.float32))
        left = remaining(clock.env_steps, c.decay_steps)
        state, metrics = self.learner.update(state, examples, self._actions(replay.num_envs), remaining=left, key=key)
        return state, {}, metrics
