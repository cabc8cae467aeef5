"""What is acted in: JAX environments, games, and environments stepped from Python."""

import abc
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..types import Discrete, EnvSpec, Moves, RewardFunction, TerminationFunction

EnvState = TypeVar("EnvState")


class AbstractEnv(eqx.Module, Generic[EnvState]):
    """A JAX-native environment. Never auto-resets: the driver does."""

    @property
    @abc.abstractmethod
    def spec(self) -> EnvSpec:
        """Sizes, bounds and time limit."""

    @abc.abstractmethod
    def reset(
        self, *, key: PRNGKeyArray, start: EnvState | None = None, clock: Int[Array, ""] | int = 0
    ) -> tuple[EnvState, Float[Array, " obs"]]:
        """A first state and observation; `start` chooses the state, `clock` is the global step."""

    @abc.abstractmethod
    def step(
        self, state: EnvState, action: Array, *, key: PRNGKeyArray
    ) -> tuple[EnvState, Float[Array, " obs"], Float[Array, ""], Bool[Array, ""], Bool[Array, ""]]:
        """`(state, next_obs, reward, terminated, truncated)` after one step."""

    def counted_step(
        self, state: EnvState, action: Array, *, key: PRNGKeyArray
    ) -> tuple[tuple[EnvState, Float[Array, " obs"], Float[Array, ""], Bool[Array, ""], Bool[Array, ""]], Array]:
        """What `step` returns, and how many simulator steps it took: fewer where an episode ends inside a repeat."""
        return self.step(state, action, key=key), jnp.int32(self.spec.action_repeat)

    @property
    def reward_function(self) -> RewardFunction | None:
        """The task's reward as a function of one transition, where it has one."""
        return None

    @property
    def termination_function(self) -> TerminationFunction | None:
        """The task's termination as a function of one transition, where it has one."""
        return None

    @property
    def render_fps(self) -> float | None:
        """Frames a second at which its pictures are shown at the speed they are meant to have; None: any."""
        return None

    def state_from(self, obs: Float[Array, " obs"]) -> EnvState | None:
        """The state that `obs` determines (clock at zero), or None where it determines none."""
        return None

    def render(self, state: EnvState) -> np.ndarray | None:
        """One RGB frame `[height, width, 3]` uint8, drawn on the host; None where there is no picture."""
        return None


class AbstractGame(AbstractEnv[EnvState], Generic[EnvState]):
    """A game of perfect information for one player or two, with discrete actions and a legal mask.

    All is told from the side of the player to move: `obs` shows that player's things first, and a step's reward is
    that of the player who took it (zero-sum: the other's is its negative). `state_from(obs)` gives the state. An
    action that is not legal loses: it ends the game with reward -1.
    """

    @property
    @abc.abstractmethod
    def num_players(self) -> int:
        """1 or 2."""

    @abc.abstractmethod
    def moves(self, state: EnvState) -> Moves:
        """Legal actions `[actions]` and the player to move `[]`."""

    @abc.abstractmethod
    def text(self, state: EnvState) -> str:
        """The board as lines of plain text, for a terminal."""

    @property
    def action_names(self) -> tuple[str, ...]:
        """What a person types for each action."""
        space = self.spec.action
        return tuple(str(i + 1) for i in range(space.n)) if isinstance(space, Discrete) else ()

    @property
    def symmetries(self) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
        """Pairs of permutations (of observations, of actions) that change nothing, the identity left out.

        With a pair `(o, a)`, `obs[o]` is the mirrored position, and `policy[a]` the mirrored policy.
        """
        return ()


class HostStep(NamedTuple):
    """One step of all environments, leading axis `[num_envs]`: NumPy from an `AbstractHostEnv`, JAX in the jit loop."""

    next_obs: Any  # the true successor, also at an episode's end
    reward: Any
    terminated: Any
    truncated: Any
    obs: Any  # what the policy sees next: the reset observation where an episode has ended
    fresh: Any  # bool: `obs` is the first of an episode, so per-episode memory must be reset
    valid: Any  # bool: False where this call only reset (vector environments that reset on the next step)
    steps: Any = None  # int `[num_envs]`: simulator steps that the action took; None: `spec.action_repeat`


class AbstractHostEnv(abc.ABC):
    """`num_envs` environments stepped from Python, side by side; each resets itself when its episode ends.

    Every reset is handed its own key, so that episode k starts the same however the run got there.
    """

    spec: EnvSpec
    num_envs: int
    reward_function: RewardFunction | None = None
    termination_function: TerminationFunction | None = None
    render_fps: float | None = None  # as of an `AbstractEnv`
    filmed: bool = False  # set from outside: environment 0 is drawn at an episode's end, before it is reset
    last_frame: np.ndarray | None = None  # that picture; None where there is none

    def set_clock(self, env_steps: int) -> None:
        """Told before `start` and `step` how many steps the run has made, for tasks that change; others need it not."""

    @abc.abstractmethod
    def start(self, keys: list[PRNGKeyArray]) -> np.ndarray:
        """Reset every environment with its key; the first observations `[num_envs, obs]` float32."""

    @abc.abstractmethod
    def step(
        self, actions: np.ndarray, *, step_key: PRNGKeyArray, reset_key: Callable[[int], PRNGKeyArray]
    ) -> HostStep:
        """Act in every environment. `reset_key(i)` is called when environment i starts its next episode."""

    @abc.abstractmethod
    def render(self) -> np.ndarray | None:
        """An RGB frame `[height, width, 3]` uint8 of environment 0; None where there is no picture."""

    @abc.abstractmethod
    def copy(self, num_envs: int = 1) -> "AbstractHostEnv":
        """An independent environment of the same task, for evaluation beside training."""

    def close(self) -> None:
        """Release what the environment holds."""
