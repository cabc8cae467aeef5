"""What agents with local controllers do around a round: act, gather whole episodes, make the prior."""

import dataclasses
from typing import Generic, Literal

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import AbstractAgent, AbstractLearner, AbstractReplay, Data, Round, Schedule, State
from ..models.gp import gp_learner
from ..models.local_linear import Prior
from ..planners import checks
from ..planners.local_controller import Execution
from ..planners.lqr import LinearPolicy
from ..presets.local_control import LocalControlConfig
from ..replay.uniform import UniformReplay
from ..types import ActionSpace, Box, EnvSpec, Given, Metrics, RewardFunction
from .episodes import Place, Rollouts, by_start, whole_episodes
from .local_control import LocalControl, LocalRound, gmm_prior, improve_all, model_prior
from .model_planning import ensemble_learner


class LocalMemory(eqx.Module):
    """Which controller runs, and where in its episode it stands."""

    start: Int[Array, ""]
    place: Place


@eqx.filter_jit
def refitted(learner: AbstractLearner, replay: AbstractReplay, *, key: PRNGKeyArray) -> tuple[AbstractLearner, Metrics]:
    """The model that is a prior, after a fit to all transitions."""
    return learner.fit(replay, key=key)


class LocalRounds(eqx.Module):
    """The schedule and the settings of the rounds. All static: a constant of what is compiled."""

    spec: EnvSpec
    reward: RewardFunction = eqx.field(static=True)
    starts: int = eqx.field(static=True)
    rollouts: int = eqx.field(static=True)
    initial_std: float = eqx.field(static=True)
    execution: Execution = eqx.field(static=True)
    kl_step: float = eqx.field(static=True)
    adapt_step: bool = eqx.field(static=True)
    trust_region: bool = eqx.field(static=True)
    prior: Literal["gmm", "network", "gp", "none"] = eqx.field(static=True)
    prior_strength: float = eqx.field(static=True)
    clusters: int = eqx.field(static=True)
    cluster_rows: int = eqx.field(static=True)
    prior_episodes: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        _bounds(self.spec.action)
        if self.spec.max_episode_steps is None:
            raise ValueError(
                f"{self.spec.name} has no time limit; local controllers need episodes of a fixed number of steps"
            )
        for name in ("starts", "clusters", "cluster_rows", "prior_episodes"):
            checks.whole_number(name, getattr(self, name))
        checks.whole_number("rollouts", self.rollouts, 2)
        for name in ("initial_std", "kl_step", "prior_strength"):
            checks.positive(name, getattr(self, name))

    @property
    def steps(self) -> int:
        """Actions in an episode."""
        return -(-(self.spec.max_episode_steps or 0) // self.spec.action_repeat)

    @property
    def env_steps(self) -> int:
        """Environment steps in a round."""
        return self.starts * self.rollouts * (self.spec.max_episode_steps or 0)

    @property
    def half_range(self) -> Float[Array, " action"]:
        """Half the range of the actions."""
        low, high = self.bounds
        return (high - low) / 2

    @property
    def bounds(self) -> tuple[Float[Array, " action"], Float[Array, " action"]]:
        """Lowest and highest action."""
        return _bounds(self.spec.action)

    def initial(self) -> LocalControl:
        """White noise from every start."""
        std = self.initial_std * self.half_range
        return LocalControl.initial(self.starts, self.steps, self.spec.obs_dim, std)

    def initial_memory(self) -> LocalMemory:
        """At the start of an episode."""
        return LocalMemory(jnp.zeros((), jnp.int32), Place.example())

    def clipped(self, action: Float[Array, " action"]) -> Float[Array, " action"]:
        """Within the bounds."""
        return jnp.clip(action, *self.bounds)

    def act(
        self, control: LocalControl, memory: LocalMemory, obs: Float[Array, " obs"], *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Float[Array, " action"], LocalMemory, Place]:
        """What the controller of the nearest start does; noise only where `explore`."""
        name_key, noise_key = jr.split(key)
        place = memory.place.named(key=name_key)
        start = jnp.where(place.time == 0, control.nearest(obs), memory.start).astype(jnp.int32)
        controller = control.of(start)
        execution = self.execution if explore or self.execution == "open-loop" else "feedback"
        action = controller(obs, place.time, execution=execution, key=noise_key)
        return self.clipped(action), LocalMemory(start, place.after()), place

    def gather(self, control: LocalControl, replay: AbstractReplay) -> tuple[Rollouts, np.ndarray] | None:
        """The latest rollouts, and `[x; u; x']` of all whole episodes; None where a stop of the run has cut some."""
        episodes = whole_episodes(replay, self.steps)
        known = np.asarray(control.firsts)[: self.starts if int(control.rounds) else 0]
        rollouts = by_start(episodes, known, self.starts, self.rollouts)
        if rollouts is None:
            return None
        return rollouts, np.concatenate([episodes.obs, episodes.action, episodes.next_obs], -1)

    def local_prior(
        self, rollouts: Rollouts, past: np.ndarray, learner: AbstractLearner | None, *, key: PRNGKeyArray
    ) -> Prior | None:
        """The prior of every time step of every start; `learner` is the model's, where one is the prior."""
        if self.prior == "gmm":
            sizes = {"clusters": self.clusters, "cluster_rows": self.cluster_rows}
            return gmm_prior(rollouts, past, self.prior_episodes, strength=self.prior_strength, key=key, **sizes)
        if learner is not None:
            return model_prior(learner.model, rollouts, strength=self.prior_strength, key=key)
        return None

    def improve(
        self, control: LocalControl, rollouts: Rollouts, prior: Prior | None, reference: LinearPolicy | None = None
    ) -> tuple[LocalControl, LocalRound]:
        """The controllers after the round; see `improve_all`."""
        return improve_all(
            control,
            rollouts,
            prior,
            self.reward,
            kl_step=self.kl_step,
            adapt=self.adapt_step,
            trust=self.trust_region,
            reference=reference,
        )


class AbstractLocalAgent(AbstractAgent[State, LocalMemory], Generic[State]):
    """An agent of local controllers: it learns on the host, after every round of whole episodes from its starts."""

    rounds: eqx.AbstractVar[LocalRounds]

    @property
    def schedule(self) -> Schedule:
        rounds = (Round("controllers", self.rounds.env_steps),)
        return Schedule(0, rounds, num_start_states=self.rounds.starts)

    @property
    def traceable(self) -> bool:
        return False

    def data(self, capacity: int, num_envs: int) -> Data:
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs, extras=Place.example())}

    def init_memory(self, state: State) -> LocalMemory:
        return self.rounds.initial_memory()


def _bounds(space: ActionSpace) -> tuple[Array, Array]:
    if not isinstance(space, Box):
        raise ValueError("local controllers are linear, so they need continuous actions (Box), got Discrete")
    return jnp.array(space.low), jnp.array(space.high)


def local_rounds(spec: EnvSpec, config: LocalControlConfig, given: Given) -> LocalRounds:
    """The rounds of local controllers. Raises ValueError for invalid sizes and tasks without a given reward."""
    if given.model is not None:
        raise ValueError("local controllers learn their models from rollouts and cannot plan on the true dynamics")
    if given.reward is None:
        raise ValueError("local controllers learn no reward; give one: a function of (obs, action, next_obs)")
    numbers = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    del numbers["network"], numbers["gp"]
    return LocalRounds(spec, given.reward, **numbers)


def prior_learner(
    spec: EnvSpec, config: LocalControlConfig, given: Given, *, key: PRNGKeyArray
) -> AbstractLearner | None:
    """The learner of the model that is the prior of local models; None where a model is not."""
    if config.prior == "network":
        return ensemble_learner(spec, config.network, given=given, key=key)
    return gp_learner(spec, config.gp, given=given) if config.prior == "gp" else None
