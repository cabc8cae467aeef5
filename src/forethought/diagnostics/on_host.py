"""What a task's spec says of NumPy arrays: one compiled program each, where single operations would be one each."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array

from ..types import ActionSpace, EnvSpec


def difference(spec: EnvSpec, next_obs: np.ndarray, obs: np.ndarray) -> np.ndarray:
    """`spec.difference`."""
    return np.asarray(_difference(spec, next_obs, obs))


def features(space: EnvSpec | ActionSpace, x: np.ndarray) -> np.ndarray:
    """`space.features`, of observations or of actions."""
    return np.asarray(_features(space, x))


def varies(values: np.ndarray) -> bool:
    """Whether numbers `[n]` differ by more than float32 rounds, so that anything can be said of what explains them."""
    return bool(np.ptp(values) > 1e-6 * np.abs(values).max())


@eqx.filter_jit
def _difference(spec: EnvSpec, next_obs: Any, obs: Any) -> Array:
    return spec.difference(next_obs, obs)


@eqx.filter_jit
def _features(space: EnvSpec | ActionSpace, x: Any) -> Array:
    return space.features(x)
