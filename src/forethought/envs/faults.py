"""What an environment handed out, checked: a broken one is named with episode, step and action."""

import reprlib
from dataclasses import dataclass, field

import numpy as np

from ..errors import EnvironmentFault, UserError
from .precision import Precision

LARGEST = float(np.finfo(np.float32).max)


@dataclass
class Place:
    """Where a run is in one environment, for messages; episodes and actions are counted from 0."""

    env: str
    which: str  # of the environments side by side
    episode: int = -1
    step: int = 0
    precision: Precision = field(default_factory=Precision)

    def begin(self) -> None:
        """Note that the next episode starts."""
        self.episode += 1
        self.step = 0

    def fault(self, what: str, action: object = None) -> EnvironmentFault:
        """The error to raise: `what` went wrong, and where."""
        where = f"environment {self.env} ({self.which}), episode {self.episode}, step {self.step}"
        taken = "at reset" if action is None else f"after action {np.asarray(action).tolist()}"
        return EnvironmentFault(f"{where}: {what} {taken}; mend the environment, then resume")


class Asked:
    """What a policy was asked about: a wrong observation is then a mistake of who asks."""

    def fault(self, what: str, action: object = None) -> UserError:
        """The error to raise: what is wrong with the observation."""
        return UserError(f"obs: {what.rstrip(',')}")


def checked_obs(
    obs: object, shape: int | tuple[int, ...], place: Place | Asked, action: object = None, *, part: str = ""
) -> np.ndarray:
    """`obs` of that length or shape as float32 `[obs]`; `part` names it where it is one of several.

    Raises EnvironmentFault for another shape, or if it is not finite.
    """
    shape = (shape,) if isinstance(shape, int) else shape
    name = f"observation {part!r}" if part else "observation"
    try:
        raw = np.array(obs)
        with np.errstate(over="ignore"):
            array = raw.astype(np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise place.fault(f"the {name} is no array of numbers: {_shown(obs)}", action) from error
    if array.shape != shape:
        raise place.fault(f"{name} shape {array.shape}, expected {shape},", action)
    array = array.reshape(-1)
    if not np.isfinite(array).all():
        dims = np.flatnonzero(~np.isfinite(array)).tolist()
        raise place.fault(f"the {name} is not finite (float32) in dimensions {dims}", action)
    if isinstance(place, Place):
        place.precision.see(raw, array, place.env, (place.episode, place.step), part)
    return array


def checked_picture(
    obs: object, shape: tuple[int, ...], place: Place | Asked, action: object = None, *, part: str = ""
) -> np.ndarray:
    """`obs` of that shape as float32 `[pixels]`. Raises EnvironmentFault for other numbers than 0, 1, .. 255 too."""
    array = checked_obs(obs, shape, place, action, part=part)
    if getattr(obs, "dtype", None) == np.uint8:
        return array
    wrong = (array < 0) | (array > 255) | (array != np.rint(array))
    if wrong.any():
        shown = f"{array[wrong][0]:g}"
        unit = " (0..1? multiply by 255 and round)" if array.min() >= 0 and array.max() <= 1 else ""
        name = f"picture {part!r}" if part else "picture"
        raise place.fault(f"the {name} holds {shown}, expected whole numbers from 0 to 255{unit},", action)
    return array


def checked_reward(reward: object, place: Place, action: object) -> float:
    """`reward` as a float. Raises EnvironmentFault if it is not one number that is finite in float32."""
    try:
        value = np.asarray(reward)
        known = value.dtype.kind in "biufO" and not any(each is None for each in value.flat)
        value = value.astype(np.float64) if known else None
    except (TypeError, ValueError, OverflowError):
        value = None
    if value is None:
        raise place.fault(f"the reward is no number: {_shown(reward)}", action)
    if value.size != 1:
        raise place.fault(f"reward shape {value.shape}, expected one number,", action)
    if not np.isfinite(value).all():
        raise place.fault(f"the reward is {value.item()}", action)
    if not abs(value.item()) <= LARGEST:
        raise place.fault(f"the reward {value.item():g} overflows float32, wanted at most {LARGEST:.3g},", action)
    return float(value.item())


def checked_flag(name: str, value: object, place: Place, action: object) -> bool:
    """`value` as a bool. Raises EnvironmentFault if it is not one bool, 0 or 1; `name` is for the message."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    try:
        array = np.asarray(value)
    except ValueError:  # lists of lists of several lengths
        array = np.empty(0)
    if array.size != 1 or array.dtype.kind not in "biuf" or array.item() not in (0, 1):
        raise place.fault(f"{name} is {_shown(value)}, wanted True or False,", action)
    return bool(array.item())


def checked_flags(name: str, values: object, places: list[Place], actions: object) -> np.ndarray:
    """One bool for each environment, `[num_envs]`. Raises EnvironmentFault if `values` are not that."""
    wanted = len(places)
    array = np.asarray(values, object) if isinstance(values, list | tuple) else np.asarray(values)
    if array.size != wanted or array.shape[:1] != (wanted,):
        message = f"{name} has shape {array.shape}, wanted a bool for each of {wanted} environments,"
        raise places[0].fault(message, actions)
    if array.dtype == bool:
        return array.reshape(wanted).copy()
    rows = zip(array.reshape(wanted), places, np.asarray(actions))
    return np.array([checked_flag(name, value, place, action) for value, place, action in rows], bool)


def checked_rewards(rewards: object, places: list[Place], actions: object) -> np.ndarray:
    """One reward for each environment, float32 `[num_envs]`. Raises EnvironmentFault if `rewards` are not that."""
    array, wanted = np.asarray(rewards), len(places)
    if array.size != wanted or array.shape[:1] != (wanted,):
        message = f"rewards have shape {array.shape}, wanted a number for each of {wanted} environments,"
        raise places[0].fault(message, actions)
    rows = zip(array.reshape(wanted), places, np.asarray(actions))
    return np.array([checked_reward(r, place, action) for r, place, action in rows], np.float32)


def _shown(value: object) -> str:
    """`value` in one short line."""
    return " ".join(reprlib.repr(value).split())
