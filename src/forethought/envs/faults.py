"""What an environment handed out, checked: a broken one is named with episode, step and action."""

from dataclasses import dataclass

import numpy as np

from ..errors import EnvironmentFault, UserError


@dataclass
class Place:
    """Where a run is in one environment, for messages; episodes and actions are counted from 0."""

    env: str
    which: str  # of the environments side by side
    episode: int = -1
    step: int = 0

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


def checked_obs(obs: object, shape: int | tuple[int, ...], place: Place | Asked, action: object = None) -> np.ndarray:
    """`obs` of that length or shape as float32 `[obs]`. Raises EnvironmentFault for another shape, or if not finite."""
    shape = (shape,) if isinstance(shape, int) else shape
    try:
        with np.errstate(over="ignore"):
            array = np.array(obs, np.float32)
    except (TypeError, ValueError) as error:
        raise place.fault(f"the observation is no array of numbers: {obs!r}", action) from error
    if array.shape != shape:
        raise place.fault(f"observation shape {array.shape}, expected {shape},", action)
    array = array.reshape(-1)
    if not np.isfinite(array).all():
        dims = np.flatnonzero(~np.isfinite(array)).tolist()
        raise place.fault(f"the observation is not finite (float32) in dimensions {dims}", action)
    return array


def checked_picture(obs: object, shape: tuple[int, ...], place: Place | Asked, action: object = None) -> np.ndarray:
    """`obs` of that shape as float32 `[pixels]`. Raises EnvironmentFault for other numbers than 0, 1, .. 255 too."""
    array = checked_obs(obs, shape, place, action)
    if getattr(obs, "dtype", None) == np.uint8:
        return array
    wrong = (array < 0) | (array > 255) | (array != np.rint(array))
    if wrong.any():
        shown = f"{array[wrong][0]:g}"
        unit = " (0..1? multiply by 255 and round)" if array.min() >= 0 and array.max() <= 1 else ""
        raise place.fault(f"the picture holds {shown}, expected whole numbers from 0 to 255{unit},", action)
    return array


def checked_reward(reward: object, place: Place, action: object) -> float:
    """`reward` as a float. Raises EnvironmentFault if it is not one finite number."""
    try:
        value = np.asarray(reward, np.float64)
    except (TypeError, ValueError) as error:
        raise place.fault(f"the reward is no number: {reward!r}", action) from error
    if value.size != 1:
        raise place.fault(f"reward shape {value.shape}, expected one number,", action)
    if not np.isfinite(value).all():
        raise place.fault(f"the reward is {value.item()}", action)
    return float(value.item())
