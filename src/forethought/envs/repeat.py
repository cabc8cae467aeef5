"""Action repeat for JAX-native environments; host adapters repeat inside, environment by environment."""

import dataclasses
from typing import Any, Generic

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core import AbstractEnv, EnvState
from ..types import EnvSpec, TerminationFunction
from .view import AbstractView


class ActionRepeat(AbstractEnv[EnvState], Generic[EnvState]):
    """Takes each action `repeat` times, sums the rewards and stops where the episode ends.

    `counted_step` tells how many were taken.
    Of our own tasks seen as pictures only the last one is drawn. The time limit stays in simulator steps. The summed
    reward is no function of one transition, so there is no `reward_function`; a `termination_function` that looks at
    `next_obs` alone still holds.
    """

    env: AbstractEnv[EnvState]
    repeat: int

    def __check_init__(self) -> None:
        if self.repeat < 1:
            raise ValueError(f"action_repeat={self.repeat} must be at least 1")

    @property
    def spec(self) -> EnvSpec:
        inner = self.env.spec
        return dataclasses.replace(inner, action_repeat=self.repeat * inner.action_repeat)

    @property
    def reward_function(self):
        return self.env.reward_function if self.repeat == 1 else None

    @property
    def termination_function(self) -> TerminationFunction | None:
        return self.env.termination_function

    def reset(
        self, *, key: PRNGKeyArray, start: EnvState | None = None, clock: Int[Array, ""] | int = 0
    ) -> tuple[EnvState, Float[Array, " obs"]]:
        return self.env.reset(key=key, start=start, clock=clock)

    def step(
        self, state: EnvState, action: Array, *, key: PRNGKeyArray
    ) -> tuple[EnvState, Float[Array, " obs"], Float[Array, ""], Bool[Array, ""], Bool[Array, ""]]:
        return self.counted_step(state, action, key=key)[0]

    def counted_step(
        self, state: EnvState, action: Array, *, key: PRNGKeyArray
    ) -> tuple[tuple[EnvState, Float[Array, " obs"], Float[Array, ""], Bool[Array, ""], Bool[Array, ""]], Array]:
        view: Any = self.env if isinstance(self.env, AbstractView) else None
        env: Any = view.env if view else self.env  # pictures are drawn once, of the last state
        first = env.counted_step(state, action, key=jr.fold_in(key, 0))

        def again(now, i):
            (state, _, reward, terminated, truncated), steps = now
            following, more = env.counted_step(state, action, key=jr.fold_in(key, i))
            following = (*following[:2], reward + following[2], *following[3:])
            over = terminated | truncated
            return jax.tree.map(lambda old, new: jnp.where(over, old, new), now, (following, steps + more)), None

        ((state, obs, *rest), steps), _ = jax.lax.scan(again, first, jnp.arange(1, self.repeat))
        return (state, view.look(state, obs) if view else obs, *rest), steps

    def state_from(self, obs: Float[Array, " obs"]) -> EnvState | None:
        return self.env.state_from(obs)

    @property
    def render_fps(self) -> float | None:
        return None if self.env.render_fps is None else max(self.env.render_fps / self.spec.action_repeat, 1.0)

    def render(self, state: EnvState):
        return self.env.render(state)
