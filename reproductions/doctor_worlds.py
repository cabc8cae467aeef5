"""The cart-pole of PETS with one thing wrong: environments as a careless wrapper would make them."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from forethought.core import AbstractEnv
from forethought.envs.pets_cartpole import PetsCartPole
from forethought.types import EnvSpec

HEALTHY = PetsCartPole()


class Motor(AbstractEnv):
    """Another motor: actions are clipped to +-`bound` on their way to it, though the spec says +-3, and only `strength`
    of the force arrives. Reward as before."""

    strength: float = eqx.field(static=True, default=1.0)
    bound: float = eqx.field(static=True, default=3.0)

    @property
    def spec(self) -> EnvSpec:
        return HEALTHY.spec

    @property
    def reward_function(self):
        return HEALTHY.reward_function

    def reset(self, *, key: PRNGKeyArray, start=None, clock=0):
        return HEALTHY.reset(key=key, start=start, clock=clock)

    def step(self, state, action: Array, *, key: PRNGKeyArray):
        return _moved(state, action, self.strength * jnp.clip(action, -self.bound, self.bound), key)


class Wrapped(AbstractEnv):
    """The pole's angle is reported within [-pi, pi) and not declared to be an angle."""

    @property
    def spec(self) -> EnvSpec:
        return dataclasses.replace(HEALTHY.spec, angle_dims=())

    @property
    def reward_function(self):
        return HEALTHY.reward_function

    def reset(self, *, key: PRNGKeyArray, start=None, clock=0):
        state, obs = HEALTHY.reset(key=key, start=start, clock=clock)
        return state, wrapped(obs)

    def step(self, state, action: Array, *, key: PRNGKeyArray):
        state, obs, *rest = HEALTHY.step(state, action, key=key)
        return state, wrapped(obs), *rest

    def state_from(self, obs: Float[Array, "4"]):
        return HEALTHY.state_from(obs)

    def render(self, state):
        return HEALTHY.render(state)


class WithoutVelocity(AbstractEnv):
    """The pole's angular velocity is left out of the observation."""

    @property
    def spec(self) -> EnvSpec:
        return dataclasses.replace(HEALTHY.spec, obs_dim=3)

    @property
    def reward_function(self):
        return HEALTHY.reward_function

    def reset(self, *, key: PRNGKeyArray, start=None, clock=0):
        state, obs = HEALTHY.reset(key=key, start=start, clock=clock)
        return state, obs[:3]

    def step(self, state, action: Array, *, key: PRNGKeyArray):
        state, obs, *rest = HEALTHY.step(state, action, key=key)
        return state, obs[:3], *rest


class Late(AbstractEnv):
    """Every reward is handed out one step after it was earned; the first of an episode is 0."""

    @property
    def spec(self) -> EnvSpec:
        return HEALTHY.spec

    @property
    def reward_function(self):
        return HEALTHY.reward_function

    def reset(self, *, key: PRNGKeyArray, start=None, clock=0):
        state, obs = HEALTHY.reset(key=key, start=start, clock=clock)
        return (state, jnp.zeros(())), obs

    def step(self, state, action: Array, *, key: PRNGKeyArray):
        inner, owed = state
        inner, obs, reward, terminated, truncated = HEALTHY.step(inner, action, key=key)
        return (inner, reward), obs, owed, terminated, truncated


def wrapped(obs: Array) -> Array:
    """With the angle in [-pi, pi)."""
    return obs.at[..., 1].set((obs[..., 1] + jnp.pi) % (2 * jnp.pi) - jnp.pi)


def _moved(state, asked: Array, taken: Array, key: PRNGKeyArray):
    """A step with the action `taken`, rewarded as if it were the one `asked`."""
    obs = HEALTHY.observe(state.physics)
    state, next_obs, _, terminated, truncated = HEALTHY.step(state, taken, key=key)
    return state, next_obs, HEALTHY.reward_function(obs, jnp.clip(asked, -3.0, 3.0), next_obs), terminated, truncated


def replayed(env: AbstractEnv, obs: Array, actions: Array, key: PRNGKeyArray):
    """Rows of an episode of `env` that starts at `obs` and takes `actions`, as a scan would collect them."""
    state, first = env.reset(key=key, start=HEALTHY.state_from(obs))

    def one(carry, action):
        state, seen = carry
        state, next_obs, reward, terminated, truncated = env.step(state, action, key=jr.key(0))
        return (state, next_obs), (seen, action, reward, next_obs, terminated, truncated)

    return jax.lax.scan(one, (state, first), actions)[1]
