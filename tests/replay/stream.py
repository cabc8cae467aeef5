"""Random episodes of several environments as drivers hand them over, and a plain Python list of what was stored."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from forethought.types import Box, EnvSpec, Transition

SPEC = EnvSpec("toy", 8, Box((-1.0, -1.0), (1.0, 1.0)), image=(2, 3, 1))


@dataclasses.dataclass
class Step:
    """One step of one environment."""

    obs: np.ndarray
    action: np.ndarray
    reward: float
    first: bool
    terminated: bool
    truncated: bool


class Stream:
    """Draws transitions whose observations are all different, and keeps the steps of each environment in a list."""

    def __init__(self, num_envs: int, *, seed: int = 0, ends: float = 0.2, spec: EnvSpec = SPEC):
        self.rng, self.ends, self.spec = np.random.default_rng(seed), ends, spec
        self.steps: list[list[Step]] = [[] for _ in range(num_envs)]
        self.obs: list[np.ndarray | None] = [None] * num_envs
        self.transitions: list[list[tuple]] = []  # by batch: (env, transition)
        self.count = 0

    def new_obs(self) -> np.ndarray:
        """Never the same twice."""
        self.count += 1
        pixels = self.rng.integers(0, 256, self.spec.num_pixels)
        vector = self.count + np.arange(self.spec.vector_dim) / 8
        return np.concatenate([pixels, vector]).astype(np.float32)

    def batch(self, valid: np.ndarray | None = None) -> Transition:
        """The next row of every environment; those that are not valid are nonsense."""
        rows, written = [], []
        for env, steps in enumerate(self.steps):
            counts = valid is None or valid[env]
            if not counts:
                rows.append((self.new_obs(), np.full(2, 9.0, np.float32), 9.0, self.new_obs(), True, False))
                continue
            obs, fresh = self.obs[env], self.obs[env] is None
            obs = self.new_obs() if obs is None else obs
            if fresh:
                steps.append(Step(obs, np.zeros(2, np.float32), 0.0, True, False, False))
            action = self.rng.uniform(-1, 1, 2).astype(np.float32)
            reward, ended = np.float32(self.rng.normal()), self.rng.random() < self.ends
            terminated = bool(ended and self.rng.random() < 0.5)
            truncated = bool(ended and not terminated)
            next_obs = self.new_obs()
            steps.append(Step(next_obs, action, reward, False, terminated, truncated))
            self.obs[env] = None if ended else next_obs
            rows.append((obs, action, reward, next_obs, terminated, truncated))
            written.append((env, rows[-1]))
        self.transitions.append(written)
        return Transition(*(jnp.asarray(np.stack(x)) for x in zip(*rows)))

    def cut(self) -> None:
        """All episodes are abandoned: the newest step of each is truncated."""
        for steps, obs in zip(self.steps, self.obs):
            if obs is not None:
                steps[-1].truncated = True
        self.obs = [None] * len(self.obs)


def same_steps(found, wanted: list[Step]) -> bool:
    """Whether a Sequence `[length, ...]` holds exactly these steps."""
    if len(wanted) != len(found.reward):
        return False
    fields = ("obs", "action", "reward", "first", "terminated", "truncated")
    return all(
        np.array_equal(np.asarray(getattr(found, name)), np.stack([getattr(step, name) for step in wanted]))
        for name in fields
    )
