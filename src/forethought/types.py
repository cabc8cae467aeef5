"""Data that crosses module boundaries. Every array leaf may carry leading batch axes."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

Metrics = dict[str, Float[Array, ""]]
"""Scalars by name, such as `model/loss`; what a driver logs."""

RewardFunction = Callable[[Array, Array, Array], Array]
"""`(obs [obs], action [action], next_obs [obs]) -> reward []`, for one transition, written in jax.numpy."""

TerminationFunction = Callable[[Array, Array, Array], Array]
"""`(obs [obs], action [action], next_obs [obs]) -> terminated []`, for one transition, written in jax.numpy."""


def bounded(low: np.ndarray, high: np.ndarray) -> bool:
    """Whether the square of a Box's range is finite in float32, as planners need it; false for +-1e18 and beyond."""
    return bool(np.all(np.isfinite(low) & np.isfinite(high) & (np.maximum(np.abs(low), np.abs(high)) < 1e18)))


class Box(eqx.Module):
    """Continuous actions in `[low, high]`, in the environment's own units; always one axis, always bounded."""

    low: tuple[float, ...] = eqx.field(static=True)
    high: tuple[float, ...] = eqx.field(static=True)

    def __check_init__(self) -> None:
        if len(self.low) != len(self.high) or not self.low:
            raise ValueError(f"Box: low={self.low} and high={self.high} must have the same length of at least 1")
        low, high = (np.asarray(bound, float) for bound in (self.low, self.high))
        if not bounded(low, high):
            raise ValueError(f"Box: low={self.low}, high={self.high} must be finite, and below 1e18; give such bounds")
        if not (low.astype(np.float32) < high.astype(np.float32)).all():
            raise ValueError(
                f"Box: low={self.low}, high={self.high} must have low < high in every dimension; leave dimensions with "
                "a single value out of the action, and add them inside the environment"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one action."""
        return (len(self.low),)

    @property
    def feature_dim(self) -> int:
        """Length of an action as a network's input."""
        return len(self.low)

    def features(self, action: Float[Array, "*batch action"]) -> Float[Array, "*batch features"]:
        """The action as a network's input: itself."""
        return action

    def sample(self, shape: tuple[int, ...] = (), *, key: PRNGKeyArray) -> Float[Array, "*shape action"]:
        """Actions drawn uniformly."""
        return jr.uniform(key, (*shape, *self.shape), minval=jnp.array(self.low), maxval=jnp.array(self.high))


class Discrete(eqx.Module):
    """Actions 0 .. n-1, as int32 scalars."""

    n: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"Discrete: n={self.n} must be at least 1")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one action."""
        return ()

    @property
    def feature_dim(self) -> int:
        """Length of an action as a network's input."""
        return self.n

    def features(self, action: Array) -> Float[Array, "*batch features"]:
        """The action as a network's input: one-hot."""
        return jnp.eye(self.n)[action]

    def sample(self, shape: tuple[int, ...] = (), *, key: PRNGKeyArray) -> Int[Array, "*shape"]:
        """Actions drawn uniformly."""
        return jr.randint(key, shape, 0, self.n)


ActionSpace = Box | Discrete

GREYS = 255.0  # the brightest value of a picture
MOST_STATES = 2**24  # numbers up to here are exact in float32


class EnvSpec(eqx.Module):
    """What an agent knows of a task before it has seen any data. All static, so it can be a jit constant."""

    name: str = eqx.field(static=True)
    obs_dim: int = eqx.field(static=True)
    action: ActionSpace = eqx.field(static=True)
    max_episode_steps: int | None = eqx.field(static=True, default=None)  # simulator steps before truncation
    angle_dims: tuple[int, ...] = eqx.field(static=True, default=())  # observations in radians: seen as sin and cos
    action_repeat: int = eqx.field(static=True, default=1)  # simulator steps per action
    # (height, width, channels) of the picture that an observation begins with: row-major, 0..255. None: no picture.
    image: tuple[int, int, int] | None = eqx.field(static=True, default=None)
    num_states: int | None = eqx.field(static=True, default=None)  # the observation is one number, 0 .. num_states - 1

    def __check_init__(self) -> None:
        if self.obs_dim < 1:
            raise ValueError(f"EnvSpec: obs_dim={self.obs_dim} must be at least 1")
        if self.num_states is not None:
            if not 1 <= self.num_states <= MOST_STATES:
                raise ValueError(f"EnvSpec: num_states={self.num_states} must lie in 1..{MOST_STATES}")
            if self.obs_dim != 1 or self.angle_dims or self.image is not None:
                raise ValueError(f"EnvSpec: num_states={self.num_states} wants obs_dim=1, no angle_dims and no image")
        if self.image is not None:
            self._check_image(self.image)
        if any(not 0 <= d < self.obs_dim for d in self.angle_dims):
            raise ValueError(f"EnvSpec: angle_dims={self.angle_dims} must lie in 0..{self.obs_dim - 1}")

    def _check_image(self, image: tuple[int, int, int]) -> None:
        if len(image) != 3 or any(not isinstance(n, int) or n < 1 for n in image):
            raise ValueError(f"EnvSpec: image={image} must be (height, width, channels), whole numbers of at least 1")
        if self.num_pixels > self.obs_dim:
            raise ValueError(f"EnvSpec: image={image} has {self.num_pixels} values, more than obs_dim={self.obs_dim}")
        if any(d < self.num_pixels for d in self.angle_dims):
            raise ValueError(f"EnvSpec: angle_dims={self.angle_dims} must lie behind the {self.num_pixels} pixels")

    @property
    def num_pixels(self) -> int:
        """How many entries of an observation are pixel values, at its beginning: height x width x channels, or 0."""
        return 0 if self.image is None else math.prod(self.image)

    @property
    def vector_dim(self) -> int:
        """How many entries of an observation are no pixels, at its end."""
        return self.obs_dim - self.num_pixels

    def pixels(self, obs: Array) -> Array:
        """The picture in an observation `[*batch, obs]`: `[*batch, height, width, channels]`, float, 0..255.

        Raises ValueError if the task has no picture.
        """
        if self.image is None:
            raise ValueError(f"{self.name} has no image: its observation is a vector of {self.obs_dim}")
        return obs[..., : self.num_pixels].reshape(*obs.shape[:-1], *self.image)

    def vector(self, obs: Array) -> Array:
        """What an observation `[*batch, obs]` holds besides the picture: `[*batch, vector_dim]`."""
        return obs[..., self.num_pixels :]

    @property
    def feature_dim(self) -> int:
        """Length of `features(obs)`."""
        return self.num_states or self.obs_dim + len(self.angle_dims)

    def state_number(self, obs: Array) -> Int[Array, "*batch"]:
        """The state that an observation `[*batch, 1]` is the number of. Raises ValueError if the task has vectors."""
        if self.num_states is None:
            raise ValueError(f"{self.name} has no numbered states: its observation is a vector of {self.obs_dim}")
        return jnp.asarray(obs)[..., 0].astype(jnp.int32)

    def features(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch features"]:
        """The observation as a network's input: angles are replaced by their sine, and their cosines appended.

        The number of a state becomes one-hot, and the values of a picture lie between 0 and 1.
        """
        if self.num_states is not None:
            return jax.nn.one_hot(self.state_number(obs), self.num_states)
        if self.image is not None:
            obs = jnp.asarray(obs).at[..., : self.num_pixels].multiply(1 / GREYS)
        if not self.angle_dims:
            return obs
        obs = jnp.asarray(obs)
        angles = obs[..., list(self.angle_dims)]
        return jnp.concatenate([obs.at[..., list(self.angle_dims)].set(jnp.sin(angles)), jnp.cos(angles)], -1)

    def difference(self, next_obs: Array, obs: Array) -> Array:
        """`next_obs - obs`, the short way round for angles. Raises ValueError for numbered states."""
        if self.num_states is not None:
            raise ValueError(f"{self.name}: observations are numbers of states, whose difference means nothing")
        delta = jnp.asarray(next_obs) - jnp.asarray(obs)
        if not self.angle_dims:
            return delta
        dims = list(self.angle_dims)
        wrapped = (delta[..., dims] + jnp.pi) % (2 * jnp.pi) - jnp.pi
        return delta.at[..., dims].set(wrapped)


class Transition(eqx.Module):
    """One environment step.

    `next_obs` is the true successor, never an auto-reset observation. `terminated` (the task ended) and
    `truncated` (time ran out) are never merged.
    """

    obs: Float[Array, "*batch obs"]
    action: Array  # [*batch, action] float32 for Box, [*batch] int32 for Discrete
    reward: Float[Array, "*batch"]
    next_obs: Float[Array, "*batch obs"]
    terminated: Bool[Array, "*batch"]
    truncated: Bool[Array, "*batch"]
    extras: PyTree[Any] = None

    @classmethod
    def example(cls, spec: EnvSpec) -> "Transition":
        """One all-zero transition, for shapes and dtypes."""
        obs, no = jnp.zeros(spec.obs_dim), jnp.array(False)
        action = jnp.zeros(spec.action.shape, jnp.float32 if isinstance(spec.action, Box) else jnp.int32)
        return cls(obs, action, jnp.zeros(()), obs, no, no)


class Sequence(eqx.Module):
    """Consecutive steps of one environment, as a filter takes them in: what was done, then what was seen.

    Time runs along `length`. An episode of T transitions is T + 1 steps: the first has no action and no reward, the
    last holds the true last observation. Resets may lie inside: where `first`, recurrent state and previous action
    are zero. A sequence cut out of an episode does not begin with `first`; a model then still starts from nothing,
    unless `extras` hold the state it had.
    """

    obs: Float[Array, "*batch length obs"]
    action: Array  # [*batch, length, *action]: the action a_{t-1} that led to obs_t; zeros where `first`
    reward: Float[Array, "*batch length"]  # came with obs_t; 0 where `first`
    first: Bool[Array, "*batch length"]  # obs_t opens an episode
    terminated: Bool[Array, "*batch length"]  # the task ended in obs_t
    truncated: Bool[Array, "*batch length"]  # time ran out in obs_t
    extras: PyTree[Any] = None


class Tables(eqx.Module):
    """A finite decision process, as exact planning takes it."""

    transition: Float[Array, "states actions states"]  # going on in each state; a row lacks the chance of the end to 1
    reward: Float[Array, "states actions"]  # expected


@dataclasses.dataclass(frozen=True)
class SaturatingReward:
    """A given reward `exp(-|place - target|^2 / (2 width^2))`, 1 at best, of where a step led: one minus the saturating
    cost of PILCO (Deisenroth & Rasmussen 2011, Sec. 3). The expectation over a Gaussian has a closed form.

    `place` is linear in the features of the next observation, such as the tip of a pendulum.
    """

    spec: "EnvSpec"
    weights: tuple[tuple[float, ...], ...]
    """One row per coordinate of the place, one number per feature (`EnvSpec.features`)."""
    target: tuple[float, ...]
    width: float

    def __post_init__(self) -> None:
        sizes = {len(row) for row in self.weights}
        if len(self.weights) != len(self.target) or sizes != {self.spec.feature_dim}:
            raise ValueError(
                f"SaturatingReward: weights of {len(self.weights)} rows of {sorted(sizes)} must have a row per "
                f"coordinate of the target ({len(self.target)}) and a column per feature ({self.spec.feature_dim})"
            )
        if not 0 < self.width < float("inf"):
            raise ValueError(f"SaturatingReward: width={self.width} must be finite and above 0")

    def __call__(self, obs: Array, action: Array, next_obs: Array) -> Array:
        away = self.spec.features(next_obs) @ jnp.array(self.weights).T - jnp.array(self.target)
        return jnp.exp(-0.5 * jnp.sum(away**2) / self.width**2)


class Prediction(eqx.Module):
    """What a model says about one imagined step."""

    reward: Float[Array, "particles *batch"]
    continuation: Float[Array, "particles *batch"]  # probability in [0, 1] that the episode goes on
    extras: PyTree[Any] = None  # what some models know besides: legal actions, the player to move


class Forecasts(eqx.Module):
    """What an agent said before each of its latest trials that it would see, oldest first."""

    mean: Float[Array, "trials horizon+1 obs"]
    std: Float[Array, "trials horizon+1 obs"]
    steps: Int[Array, " trials"]  # rows in the replay when it was said: the trial begins with the next; -1: none


class Moves(eqx.Module):
    """What the rules allow in a game: what may be done, and whose turn it is."""

    legal: Bool[Array, "*batch actions"]  # none of them where the game is over
    player: Int[Array, "*batch"]  # 0, or with two players 0 or 1: who is to move


class Given(eqx.Module):
    """What an agent is told about its task instead of having to learn it; `None` means learned.

    Part of every run's record and of every published number.
    """

    reward: RewardFunction | None = eqx.field(static=True, default=None)
    termination: TerminationFunction | None = eqx.field(static=True, default=None)
    model: Any = None  # an AbstractModel of the true dynamics: makes the agent an oracle


def never_terminates(obs: Array, action: Array, next_obs: Array) -> Bool[Array, ""]:
    """The termination function of a task that only ever ends by truncation."""
    return jnp.zeros((), bool)


def pointwise(function: Callable[..., Array], action: ActionSpace) -> Callable[..., Array]:
    """`function` of one transition (a RewardFunction, say), made to work on `[*batch]` of them, broadcasting."""
    inner = "(o),(a),(o)->()" if action.shape else "(o),(),(o)->()"
    return jnp.vectorize(function, signature=inner)
