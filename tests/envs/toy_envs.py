"""Tiny Gymnasium environments whose every number can be worked out by hand."""

import gymnasium
import numpy as np
from gymnasium import spaces


class Counter(gymnasium.Env):
    """Sees (episode, step); the reward is the action; terminates at `ends`, and never truncates itself."""

    def __init__(self, ends: int = 3) -> None:
        self.observation_space = spaces.Box(0, 1000, (2,), np.float32)
        self.action_space = spaces.Box(-2, 2, (1,), np.float32)
        self.ends, self.episode, self.steps, self.seeds = ends, -1, 0, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.episode += 1
        self.steps = 0
        return self.obs(), {}

    def obs(self):
        return np.array([self.episode, self.steps], np.float32)

    def step(self, action):
        self.steps += 1
        return self.obs(), float(action[0]), self.steps >= self.ends, False, {}


class Faulty(Counter):
    """Goes wrong in the second step of an episode, in a way to be chosen."""

    def __init__(self, fault: str = "nan") -> None:
        super().__init__(ends=10)
        self.fault = fault

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if self.steps == 2:
            if self.fault == "raise":
                raise RuntimeError("the motor is on fire")
            obs = {"nan": obs * np.nan, "shape": np.zeros(3, np.float32)}.get(self.fault, obs)
            reward = np.inf if self.fault == "reward" else reward
        return obs, reward, terminated, truncated, info


class Spaces(Counter):
    """Offers any spaces."""

    def __init__(self, observation_space=None, action_space=None) -> None:
        super().__init__()
        self.observation_space = observation_space or self.observation_space
        self.action_space = action_space or self.action_space
        self.taken = []

    def step(self, action):
        self.taken.append(action)
        return super().step(np.zeros(1))


class Uncopyable(Counter):
    """Holds what no copy can be made of."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = (i for i in range(3))


class Sloppy(Counter):
    """Float64 observations outside their space, from a generator that no seed reaches; huge rewards."""

    def obs(self):
        return np.array([np.random.default_rng().uniform(-9, 0), self.steps])

    def step(self, action):
        self.steps += 1
        return self.obs(), 1e5 * float(action[0]), self.steps >= 4, False, {}


def normalised():
    """Observations by running statistics."""
    return gymnasium.wrappers.NormalizeObservation(Counter())


class Clock(Counter):
    """Sees the time since `begin` in float64, which goes on by `tick` a step, and the step."""

    def __init__(self, begin: float, tick: float, ends: int = 30) -> None:
        super().__init__(ends)
        self.begin, self.tick = begin, tick
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def obs(self):
        return np.array([self.begin + self.tick * self.steps, self.steps])
