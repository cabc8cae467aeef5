"""What another library's training loop is seen through: rows of its episodes."""

import json
import pathlib
import time

import gymnasium


class Enough(Exception):
    """As many trials as were asked for are done."""


class Trials(gymnasium.Wrapper):
    """Writes the return of every trial to a file, random ones included; changes nothing."""

    def __init__(self, env: gymnasium.Env, rows: pathlib.Path, max_trials: int | None = None):
        super().__init__(env)
        self.rows, self.max_trials = rows, max_trials
        self.env_steps = self.trials = 0
        self.total, self.begun = 0.0, time.perf_counter()

    def reset(self, **options):
        """Of the environment."""
        self.total = 0.0
        return self.env.reset(**options)

    def step(self, action):
        """Of the environment. Raises Enough after the last trial."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.total += float(reward)
        self.env_steps += 1
        if terminated or truncated:
            self.trials += 1
            row = {"kind": "episode", "env_steps": self.env_steps, "return": self.total}
            row |= {"wall_s": time.perf_counter() - self.begun, "cpu_s": time.process_time()}
            with open(self.rows, "a") as file:
                file.write(json.dumps(row) + "\n")
            if self.max_trials is not None and self.trials >= self.max_trials:
                raise Enough
        return obs, reward, terminated, truncated, info
