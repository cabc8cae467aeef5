"""A tiny Gymnasium environment that breaks when a test asks it to."""

import gymnasium
import numpy as np
from gymnasium import spaces

TINY = [
    *("--model.hidden", "8", "--model.num-members", "2", "--model.particles", "2"),
    *("--model.epochs", "1", "--model.min-steps", "5"),
    *("--planner.population", "8", "--planner.elites", "2", "--planner.horizon", "3", "--planner.iterations", "1"),
    *("--random-steps", "20", "--update-every", "20", "--eval-episodes", "1", "--final-episodes", "1"),
]

fault: str | None = None  # "nan", "shape" or "raise": what goes wrong in step 5 of the third episode


class Toy(gymnasium.Env):
    """A point that is pushed; an episode lasts 10 steps."""

    observation_space = spaces.Box(-10, 10, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self) -> None:
        self.episodes = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episodes += 1
        self.t, self.x = 0, self.np_random.normal(size=2).astype(np.float32)
        return self.x, {}

    def step(self, action):
        self.t += 1
        self.x = np.clip(self.x + 0.1 * np.array([self.x[1], action[0]], np.float32), -10, 10).astype(np.float32)
        obs = self.x
        if fault is not None and self.episodes == 3 and self.t == 5:
            if fault == "raise":
                raise RuntimeError("the motor is on fire")
            obs = np.full(2, np.nan, np.float32) if fault == "nan" else np.zeros(3, np.float32)
        return obs, -float(self.x[0] ** 2), False, self.t >= 10, {}


def pendulum_reward(obs, action, next_obs):
    """The reward of our pendulum, wrong on purpose."""
    return 0.0 * obs[0] + 7.0
