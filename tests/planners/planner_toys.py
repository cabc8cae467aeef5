"""Tiny models with known optima; beliefs are `[1, ...]`."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from forethought.core import AbstractModel
from forethought.planners import CEM, ICEM, MPPI, GradientPlanner, RandomShooting
from forethought.types import Box, Discrete, Prediction

BOX = Box((-2.0,), (3.0,))


class Quadratic(AbstractModel):
    """x' = x + a; reward -(x'^2) - 0.5 a^2: a linear-quadratic problem."""

    def init(self, obs, *, key):
        return obs[None]

    def step(self, belief, action, *, key):
        belief = belief + action
        reward = -(belief**2).sum(-1) - 0.5 * (action**2).sum(-1)
        return belief, Prediction(reward, jnp.ones_like(reward))

    def observation(self, belief):
        return None


class Rosenbrock(AbstractModel):
    """The reward is the negative of a mild Rosenbrock function of each 2-D action; best at (1, 1)."""

    def init(self, obs, *, key):
        return obs[None]

    def step(self, belief, action, *, key):
        x, y = action[..., 0], action[..., 1]
        reward = -((1 - x) ** 2 + 2 * (y - x**2) ** 2)
        return belief, Prediction(reward, jnp.ones_like(reward))

    def observation(self, belief):
        return None


class Lock(AbstractModel):
    """A chain of places; from place s only action `code[s]` leads on, paying more the further on it is."""

    code: tuple[int, ...] = (2, 0, 1, 1)

    def init(self, obs, *, key):
        return jnp.zeros((1,), jnp.int32)

    def step(self, belief, action, *, key):
        code = jnp.array([*self.code, -1])
        right = action == code[belief]
        belief = jnp.where(right, belief + 1, belief)
        reward = jnp.where(right, 1.0 + belief, -0.1 * action)
        return belief, Prediction(reward, jnp.ones_like(reward))

    def observation(self, belief):
        return None


class Cliff(AbstractModel):
    """Positive actions end the episode with reward 0.1 and would pay 100 a step ever after; others pay 1."""

    def init(self, obs, *, key):
        return jnp.zeros((1,), bool)

    def step(self, belief, action, *, key):
        jump = (action > 0) if action.ndim == belief.ndim else (action > 0).all(-1)
        reward = jnp.where(belief, 100.0, jnp.where(jump, 0.1, 1.0))
        return belief | jump, Prediction(reward, jnp.where(jump, 0.0, 1.0))

    def observation(self, belief):
        return None


class Poisoned(AbstractModel):
    """Rewards the action itself, but says `poison` for actions above `limit`."""

    poison: jax.Array
    limit: jax.Array

    @classmethod
    def saying(cls, poison, above=1.0):
        """With array parameters, so that one compilation serves all values."""
        return cls(jnp.array(poison, jnp.float32), jnp.array(above, jnp.float32))

    def init(self, obs, *, key):
        return jnp.zeros((1,))

    def step(self, belief, action, *, key):
        value = action.astype(float) if action.ndim == belief.ndim else action.sum(-1)
        reward = jnp.where(value > self.limit, self.poison, value)
        return belief, Prediction(reward, jnp.ones_like(reward))

    def observation(self, belief):
        return None


class Noisy(AbstractModel):
    """Three particles with their own gains; noisy steps; survival depends on the place. For the rollout."""

    gain: jax.Array

    def init(self, obs, *, key):
        return jnp.broadcast_to(obs, (self.gain.shape[0], *obs.shape)), self.gain

    def step(self, belief, action, *, key):
        place, gain = belief
        place = place + gain[..., None] * action + 0.1 * jax.random.normal(key, place.shape)
        reward = place.sum(-1) - 0.3 * action.sum(-1)
        return (place, gain), Prediction(reward, jax.nn.sigmoid(place[..., 0]))

    def observation(self, belief):
        return None


@eqx.filter_jit
def act(planner, model, belief, plan, key):
    """A compiled call of `planner`, shared by the tests."""
    return planner(model, belief, plan, key=key)


@eqx.filter_jit
def refine(planner, model, belief, search, key):
    """A compiled refinement of `planner`, shared by the tests."""
    return planner.refine(model, belief, search, key=key)


def belief_at(model, *obs):
    """The belief of `model` at `obs`."""
    return model.init(jnp.array(obs, jnp.float32), key=jax.random.key(0))


def quadratic_optimum(start, horizon):
    """Optimal actions and return of `Quadratic` from `start`, by the Riccati recursion in float64."""
    gains, p = [], 0.0
    for _ in range(horizon):  # cost-to-go p x^2, cost (x+a)^2 (1+p) + 0.5 a^2
        q = 1 + p
        gains.append(q / (q + 0.5))
        p = 0.5 * q / (q + 0.5)
    actions, x, value = [], start, -p * start**2
    for gain in reversed(gains):
        actions.append(-gain * x)
        x = x + actions[-1]
    return np.array(actions), value


def lock_optimum(horizon, n=3):
    """The best sequence of `Lock` and its return, by trying every one."""

    def play(actions):
        place, total, code = 0, 0.0, (*Lock.code, -1)
        for a in actions:
            right = a == code[place]
            place += right
            total += 1.0 + place if right else -0.1 * a
        return total

    best = max(itertools.product(range(n), repeat=horizon), key=play)
    return np.array(best), play(best)


def box_planners(box=BOX, horizon=4):
    """One small planner of every kind for Box actions."""
    return [
        RandomShooting(box, horizon, 64, iterations=3),
        CEM(box, horizon, 64, 8, 3),
        ICEM(box, horizon, 64, 8, 3),
        MPPI(box, horizon, 64, iterations=3),
        GradientPlanner(box, horizon, restarts=4, iterations=3),
    ]


def discrete_planners(n=3, horizon=4):
    """One small planner of every kind for Discrete actions."""
    space = Discrete(n)
    return [
        RandomShooting(space, horizon, 256, iterations=3),
        CEM(space, horizon, 128, 12, 6),
        ICEM(space, horizon, 128, 12, 6),
        MPPI(space, horizon, 128, iterations=6, temperature=0.3),
    ]


def label(planner):
    """A test's name for `planner`."""
    return f"{type(planner).__name__}-{type(planner.action).__name__}"
