"""A step of environments stepped from Python, with what they answer brought into shape, or named as a fault."""

from collections.abc import Callable

import numpy as np
from jaxtyping import PRNGKeyArray

from ..core import AbstractHostEnv, HostStep
from ..errors import EnvironmentFault, UserError
from .progress import OVERFLOW


def started(env: AbstractHostEnv, keys: list[PRNGKeyArray]) -> np.ndarray:
    """The first observations `[num_envs, obs]` float32. Raises EnvironmentFault."""
    try:
        obs = env.start(keys)
    except UserError:
        raise
    except Exception as error:
        raise EnvironmentFault(f"environment {env.spec.name}: start raised {_said(error)}") from error
    return _array(env, "start", obs, np.float32, (env.num_envs, env.spec.obs_dim))


def stepped(
    env: AbstractHostEnv,
    actions: np.ndarray,
    *,
    step_key: PRNGKeyArray,
    reset_key: Callable[[int], PRNGKeyArray],
) -> HostStep:
    """A step with copies of `actions`, of sound shapes, types and numbers. Raises EnvironmentFault."""
    try:
        step = env.step(np.array(actions), step_key=step_key, reset_key=reset_key)
    except UserError:
        raise
    except Exception as error:
        message = f"environment {env.spec.name}: step raised {_said(error)} after action {actions.tolist()}"
        raise EnvironmentFault(message) from error
    n = env.num_envs
    try:
        next_obs, reward, terminated, truncated, obs, fresh, valid, steps = step
    except (TypeError, ValueError) as error:
        message = f"environment {env.spec.name}: step returned {type(step).__name__}, wanted a HostStep"
        raise EnvironmentFault(message) from error
    flag = lambda name, value: _array(env, name, value, np.bool_, (n,))
    steps = np.full(n, env.spec.action_repeat) if steps is None else steps
    valid = flag("valid", valid)
    return HostStep(
        _array(env, "next_obs", next_obs, np.float32, (n, env.spec.obs_dim), valid),
        _array(env, "reward", reward, np.float32, (n,), valid),
        flag("terminated", terminated),
        flag("truncated", truncated),
        _array(env, "obs", obs, np.float32, (n, env.spec.obs_dim)),
        flag("fresh", fresh),
        valid,
        _array(env, "steps", steps, np.int32, (n,)),
    )


def checked_return(env: str, env_step: int, returns: np.ndarray, action: np.ndarray) -> None:
    """Raises EnvironmentFault if the rewards of an episode so far sum up to more than float32 holds."""
    if not np.isfinite(returns).all():
        where = f"at step {env_step} of the run, after action {np.asarray(action).tolist()}"
        raise EnvironmentFault(f"{env}: {OVERFLOW} ({where})")


def _array(
    env: AbstractHostEnv, name: str, value: object, dtype: type, shape: tuple[int, ...], valid: np.ndarray | None = None
) -> np.ndarray:
    """`value` on a buffer of its own. Raises EnvironmentFault for another shape or kind, or numbers not finite."""
    fault = lambda what: EnvironmentFault(f"environment {env.spec.name}: {name} {what}; mend the environment")
    wanted = f"wanted {np.dtype(dtype).name} of shape {shape}"
    try:
        array = np.array(value)
    except ValueError as error:
        raise fault(f"is no array, {wanted}") from error
    sound = array.dtype.kind in "biuf" and array.shape == shape
    if dtype is np.bool_ and array.dtype != np.bool_:
        sound = sound and np.isin(array, (0, 1)).all()
    if not sound:
        raise fault(f"is {array.dtype} of shape {array.shape}, {wanted}")
    with np.errstate(over="ignore"):
        array = array.astype(dtype)
    if not np.isfinite(array if valid is None else array[valid]).all():
        raise fault("is not finite in float32")
    return array


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
