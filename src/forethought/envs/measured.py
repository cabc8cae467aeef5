"""A task seen through noisy sensors."""

import dataclasses

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..types import EnvSpec, RewardFunction, TerminationFunction
from .raster import Scene
from .task import AbstractTask


class Measured(AbstractTask):
    """`task` with Gaussian noise of standard deviations `noise` on what is observed, never on what happens.

    Behind the physics of the task stands the noise of the measurement that shows it, drawn anew at every step. Reward
    and termination are of the observations, noise included.
    """

    task: AbstractTask
    noise: tuple[float, ...]
    name: str

    def __check_init__(self) -> None:
        if len(self.noise) != self.task.spec.obs_dim or any(not 0 <= std < float("inf") for std in self.noise):
            raise ValueError(
                f"noise={self.noise} must be finite standard deviations of at least 0, one for each of the "
                f"{self.task.spec.obs_dim} observations of {self.task.spec.name}"
            )

    @property
    def spec(self) -> EnvSpec:
        return dataclasses.replace(self.task.spec, name=self.name)

    @property
    def velocity_dims(self) -> tuple[int, ...]:
        return self.task.velocity_dims

    @property
    def reward_function(self) -> RewardFunction:
        return self.task.reward_function

    @property
    def termination_function(self) -> TerminationFunction:
        return self.task.termination_function

    def _split(self, physics: Array) -> tuple[Array, Array]:
        return physics[: -len(self.noise)], physics[-len(self.noise) :]

    def _draw(self, key: PRNGKeyArray) -> Float[Array, " obs"]:
        return jnp.array(self.noise) * jr.normal(key, (len(self.noise),))

    def first(self, key: PRNGKeyArray) -> Float[Array, " physics"]:
        first_key, noise_key = jr.split(key)
        return jnp.concatenate([self.task.first(first_key), self._draw(noise_key)])

    def advance(self, physics: Float[Array, " physics"], action: Array) -> Float[Array, " physics"]:
        inner, noise = self._split(physics)
        return jnp.concatenate([self.task.advance(inner, action), noise])

    def disturb(self, physics: Float[Array, " physics"], key: PRNGKeyArray) -> Float[Array, " physics"]:
        disturb_key, noise_key = jr.split(key)
        return jnp.concatenate([self.task.disturb(self._split(physics)[0], disturb_key), self._draw(noise_key)])

    def observe(self, physics: Float[Array, " physics"]) -> Float[Array, " obs"]:
        inner, noise = self._split(physics)
        return self.task.observe(inner) + noise

    def physics_from(self, obs: Float[Array, " obs"]) -> Float[Array, " physics"]:
        """The measurement taken at its word: no noise."""
        return jnp.concatenate([self.task.physics_from(obs), jnp.zeros(len(self.noise))])

    def scene(self, physics: Float[Array, " physics"]) -> Scene | None:
        return self.task.scene(self._split(physics)[0])

    def draw(self, physics: np.ndarray) -> np.ndarray:
        return self.task.draw(physics[: -len(self.noise)])
