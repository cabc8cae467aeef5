"""What passes between a policy and who calls it: observations and actions as the environment has them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from jaxtyping import Float

from ..core import AbstractEnv, AbstractHostEnv
from ..errors import UserError
from ..space_parts import describe_space, space_from
from ..types import Box, EnvSpec
from .faults import Asked
from .host import GymnasiumEnv, GymnasiumVectorEnv
from .spaces import ActionMap, ObservationMap, translate_observation


def describe_interface(env: AbstractEnv | AbstractHostEnv) -> dict[str, Any] | None:
    """The spaces of a Gymnasium environment as JSON can hold them; None where observations are vectors anyway."""
    if not isinstance(env, GymnasiumEnv | GymnasiumVectorEnv):
        return None
    return {"observation": describe_space(env.observation_space), "action": describe_space(env.to_env.space)}


@dataclass(frozen=True)
class Interface:
    """Translates both ways, one observation or a batch. Without Gymnasium spaces, both are as `spec` has them."""

    spec: EnvSpec
    seen: ObservationMap | None = None
    to_env: ActionMap | None = None

    @classmethod
    def of(cls, spec: EnvSpec, described: Any) -> "Interface":
        """Of what `describe_interface` made. Raises UserError if it is damaged or does not fit `spec`."""
        if described is None:
            return cls(spec)
        try:
            space, action = space_from(described["observation"]), space_from(described["action"])
            seen = translate_observation(spec.name, space, numbered=spec.num_states is not None)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{spec.name}: the policy's spaces are damaged: {error}; export it again") from error
        if not isinstance(action, spaces.Box | spaces.Discrete) or seen.length != spec.obs_dim:
            raise UserError(f"{spec.name}: the policy's spaces do not fit its {spec.obs_dim} inputs; export it again")
        return cls(spec, seen, ActionMap(action))

    def observations(self, obs: Any) -> tuple[Float[np.ndarray, "n obs"], bool]:
        """`obs` as rows for the agent, and whether it is a batch. Raises UserError for what is no observation."""
        if self.seen is None:
            return self._plain(obs)
        obs = list(obs) if isinstance(obs, np.ndarray) and obs.dtype == object else obs
        if isinstance(obs, list) and obs and isinstance(obs[0], Mapping | tuple):
            rows = obs  # Dicts or Tuples as they came
        elif not isinstance(obs, Mapping | tuple) and (vectors := self._vectors(obs, self.seen)) is not None:
            return vectors
        else:
            try:
                size = self.seen.size_of(obs)
            except ValueError as error:
                raise UserError(f"obs {error}") from None
            if size is None:
                return self.seen(obs, Asked())[None], False
            rows = [self.seen.row(obs, i) for i in range(size)]
        return np.array([self.seen(row, Asked()) for row in rows], np.float32).reshape(-1, self.spec.obs_dim), True

    def _vectors(self, obs: Any, seen: ObservationMap) -> tuple[Float[np.ndarray, "n obs"], bool] | None:
        """`obs` where it is the agent's own vector, or several of them, and nothing else; None otherwise."""
        try:
            shape, size = np.shape(obs), self.spec.obs_dim
        except ValueError:  # lists of different lengths
            return None
        native = isinstance(seen.space, spaces.Box) and seen.space.shape in (shape, shape[1:])
        if native or any(part.counts for part in seen.parts) or shape not in ((size,), (*shape[:1], size)):
            return None
        return self._plain(obs)

    def _plain(self, obs: Any) -> tuple[Float[np.ndarray, "n obs"], bool]:
        """`obs [obs]` or `[n, obs]`; the number of a state may be a plain number."""
        states, size = self.spec.num_states, self.spec.obs_dim
        try:
            array = np.asarray(obs, np.float32)
        except (TypeError, ValueError) as error:
            raise UserError(f"obs is no array of numbers: {str(obs)[:100]}; wanted ({size},) or (n, {size})") from error
        array = array[None] if states is not None and array.ndim == 0 else array
        if array.ndim not in (1, 2) or array.shape[-1] != size:
            raise UserError(f"obs has shape {array.shape}, wanted ({size},) or (n, {size})")
        if not np.all(np.isfinite(array)):
            raise UserError(f"obs is not finite: {array.tolist()}")
        if states is not None and ((array != np.rint(array)) | (array < 0) | (array >= states)).any():
            raise UserError(
                f"obs {array.tolist()} is no number of a state, wanted whole numbers from 0 to {states - 1}"
            )
        return array.reshape(-1, size), array.ndim == 2

    def actions(self, actions: np.ndarray, batch: bool) -> np.ndarray:
        """What the environment's `step` takes for the agent's `actions [n, *action]`; all of them if `batch`."""
        if self.to_env is not None:
            taken = np.stack([self.to_env(action) for action in actions])
        elif isinstance(self.spec.action, Box):
            low, high = (np.asarray(bound, np.float32) for bound in (self.spec.action.low, self.spec.action.high))
            taken = np.clip(actions, low, high)
        else:
            taken = actions
        return taken if batch else taken[0]
