"""The interfaces that every part is written against. Abstract classes only: a concrete class is never subclassed."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Self, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .types import (
    ActionSpace,
    Discrete,
    EnvSpec,
    Forecasts,
    Metrics,
    Moves,
    Prediction,
    RewardFunction,
    Sequence,
    TerminationFunction,
    Transition,
)

Belief = TypeVar("Belief")
State = TypeVar("State")
Memory = TypeVar("Memory")
Plan = TypeVar("Plan")
Search = TypeVar("Search")
EnvState = TypeVar("EnvState")


Part = TypeVar("Part", bound=eqx.Module)


def replaced(module: Part, **fields: Any) -> Part:
    """`module` with other values in some of its fields, static ones too; its `__init__` is not called."""
    new = object.__new__(type(module))
    for field in dataclasses.fields(module):
        object.__setattr__(new, field.name, fields.get(field.name, getattr(module, field.name)))
    return new


class AbstractDistribution(eqx.Module):
    """What a model expects to see: a diagonal distribution over observations."""

    @abc.abstractmethod
    def mean(self) -> Float[Array, "*batch obs"]:
        """Expected observation."""

    @abc.abstractmethod
    def variance(self) -> Float[Array, "*batch obs"]:
        """Variance of each dimension."""

    @abc.abstractmethod
    def log_prob(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        """Log-density, summed over dimensions."""

    def cdf(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch obs"]:
        """Distribution function of each dimension: Gaussian, unless a distribution says otherwise.

        A variance of zero is a step, one half exactly on it.
        """
        away, variance = obs - self.mean(), self.variance()
        certain = variance <= 0
        spread = jnp.sqrt(jnp.where(certain, 1.0, variance))
        return jnp.where(certain, 0.5 * (1.0 + jnp.sign(away)), jax.scipy.stats.norm.cdf(away / spread))

    def log_density(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch obs"]:
        """Log-density of each dimension: Gaussian, unless a distribution says otherwise."""
        variance = self.variance()
        return -0.5 * ((obs - self.mean()) ** 2 / variance + jnp.log(2 * jnp.pi * variance))


class AbstractModel(eqx.Module, Generic[Belief]):
    """A world to imagine in.

    Every leaf of a belief has a leading axis `[particles, ...]` (1 for a model without particles). `step` must
    accept further batch axes behind it, `[particles, *batch, ...]`: planners put their candidates there.
    """

    @abc.abstractmethod
    def init(self, obs: Float[Array, " obs"], *, key: PRNGKeyArray) -> Belief:
        """The belief after seeing `obs` at the start of an imagined trajectory; leaves `[particles, ...]`."""

    @abc.abstractmethod
    def step(self, belief: Belief, action: Array, *, key: PRNGKeyArray) -> tuple[Belief, Prediction]:
        """One imagined step; `action` is `[particles, *batch, *action]`."""

    @abc.abstractmethod
    def observation(self, belief: Belief) -> AbstractDistribution | None:
        """What would be seen now, with batch axes `[particles, *batch]`; None if the model cannot say.

        After `step`, a probabilistic model answers with the distribution that the step drew from.
        """

    def drawn(self, belief: Belief) -> Float[Array, "particles *batch obs"] | None:
        """Where each particle stands: what was drawn from `observation`. None where a belief holds no observation."""
        return None

    def certain(self) -> "AbstractModel[Belief] | None":
        """The same model without chance, with one particle that follows the means; None where there is none."""
        return None

    def moves(self, belief: Belief) -> Moves | None:
        """Legal actions and whose turn it is, `[particles, *batch, ...]`; None: all are legal, and one player acts."""
        return None


class AbstractFilter(AbstractModel[Belief]):
    """A model whose belief takes in real observations as they come."""

    @abc.abstractmethod
    def observe(self, belief: Belief, action: Array, obs: Array, *, key: PRNGKeyArray) -> Belief:
        """The belief after taking `action` and then seeing `obs`."""


class AbstractLearner(eqx.Module):
    """A model together with what it takes to fit it: optimiser state, schedules, or nothing for a closed form."""

    model: eqx.AbstractVar[AbstractModel]

    @abc.abstractmethod
    def fit(self, replay: "AbstractReplay", *, key: PRNGKeyArray) -> tuple[Self, Metrics]:
        """Refit the model to all data so far. Metrics should hold `model/loss`."""


class AbstractPlanner(eqx.Module, Generic[Plan]):
    """Chooses an action by imagining. The plan is carried between calls: warm start and diagnostics live in it."""

    action: eqx.AbstractVar[ActionSpace]

    @abc.abstractmethod
    def init(self) -> Plan:
        """The plan before the first call of an episode."""

    @abc.abstractmethod
    def __call__(
        self, model: AbstractModel, belief: PyTree, plan: Plan, *, guide: Any = None, key: PRNGKeyArray
    ) -> tuple[Array, Plan]:
        """The next action `[*action]` and the plan to hand to the next call."""


class AbstractRefiningPlanner(AbstractPlanner[Plan], Generic[Plan, Search]):
    """A planner that can stop early: `begin`, then `refine` as often as time allows, then `best`."""

    iterations: eqx.AbstractVar[int]

    @abc.abstractmethod
    def begin(self, plan: Plan) -> Search:
        """The search before any model call."""

    @abc.abstractmethod
    def refine(self, model: AbstractModel, belief: PyTree, search: Search, *, key: PRNGKeyArray) -> Search:
        """One improvement; the cost of one planner iteration."""

    @abc.abstractmethod
    def best(self, search: Search) -> tuple[Array, Plan]:
        """The best action found so far and the plan for the next step."""

    def __call__(self, model, belief, plan, *, guide=None, key):
        def body(i, search):
            return self.refine(model, belief, search, key=jr.fold_in(key, i))

        return self.best(jax.lax.fori_loop(0, self.iterations, body, self.begin(plan)))


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

    @property
    def reward_function(self) -> RewardFunction | None:
        """The task's reward as a function of one transition, where it has one."""
        return None

    @property
    def termination_function(self) -> TerminationFunction | None:
        """The task's termination as a function of one transition, where it has one."""
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
    """One step of all environments of an `AbstractHostEnv`; arrays are NumPy, leading axis `[num_envs]`."""

    next_obs: np.ndarray  # the true successor, also at an episode's end
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    obs: np.ndarray  # what the policy sees next: the reset observation where an episode has ended
    fresh: np.ndarray  # bool: `obs` is the first of an episode, so per-episode memory must be reset
    valid: np.ndarray  # bool: False where this call only reset (vector environments that reset on the next step)


class AbstractHostEnv(abc.ABC):
    """`num_envs` environments stepped from Python, side by side; each resets itself when its episode ends.

    Every reset is handed its own key, so that episode k starts the same however the run got there.
    """

    spec: EnvSpec
    num_envs: int
    reward_function: RewardFunction | None = None
    termination_function: TerminationFunction | None = None

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


class AbstractReplay(eqx.Module):
    """Stored experience."""

    @property
    def traceable(self) -> bool:
        """Whether `add` is pure JAX. Where it does work on the host, only the step driver can fill it."""
        return True

    @property
    @abc.abstractmethod
    def capacity(self) -> int:
        """Rows that fit."""

    @abc.abstractmethod
    def add(self, batch: Transition, valid: Bool[Array, " n"] | None = None) -> Self:
        """Append rows `[n, ...]`, or those of them that are `valid`; the oldest give way.

        Drivers hand over one row of each environment, in the environments' order.
        """

    def cut(self) -> Self:
        """The same, told that all episodes were abandoned: what is added next follows nothing that is stored."""
        return self

    @abc.abstractmethod
    def sample(self, batch_size: int, *, key: PRNGKeyArray) -> Transition:
        """`batch_size` rows drawn uniformly with replacement."""

    @abc.abstractmethod
    def latest(self, n: int) -> Transition:
        """The last `n` rows added, oldest first."""

    @abc.abstractmethod
    def rows(self) -> tuple[Transition, Bool[Array, " capacity"]]:
        """All rows, `[capacity, ...]`, and which of them are in use."""


class AbstractSequenceReplay(AbstractReplay):
    """Stored experience that remembers what followed what."""

    @abc.abstractmethod
    def sequences(self, batch_size: int, length: int, *, key: PRNGKeyArray) -> Sequence:
        """`batch_size` stretches of `length` consecutive steps `[batch_size, length, ...]`, starts drawn uniformly.

        Episodes may begin and end inside. Raises ValueError if `length` is more than can be stored.
        """


class AbstractHostReplay(AbstractSequenceReplay):
    """Stored experience that is kept outside of JAX. Only the step driver fills it; `sequences` may be traced."""

    @property
    def traceable(self) -> bool:
        return False

    @abc.abstractmethod
    def stage(self, play: Callable[[Self, int], Any]) -> Self:
        """The replay for the round of learning ahead. What it will draw, and the first batch of the round after it, are
        read in the background, and put on the device where that is all that the round draws.

        `play(replay, rounds)` runs the round that is `rounds` after the one ahead, drawing from `replay`, for nothing
        but to see what is drawn.
        """

    @abc.abstractmethod
    def projection(self, steps: int) -> list[str]:
        """What `steps` will take, in a sentence, and warnings; to be shown when a run starts."""

    @abc.abstractmethod
    def learned(self) -> Self:
        """The same, told that a round of learning is over. Raises StorageFault if not all it drew could be read."""

    @abc.abstractmethod
    def flush(self) -> None:
        """Returns once a checkpoint of this replay could be loaded after a power cut. Raises StorageFault."""

    @abc.abstractmethod
    def resumed(self) -> tuple[Self, str | None]:
        """The replay to go on with that was read from a checkpoint, and what the user should know.

        Raises UserError if what it holds is not there.
        """


class AbstractAgent(eqx.Module, Generic[State, Memory]):
    """Learns and acts. Everything that learning changes is in `State`; what an episode changes is in `Memory`."""

    spec: eqx.AbstractVar[EnvSpec]
    random_steps: eqx.AbstractVar[int]  # environment steps with uniform actions before the first update
    update_every: eqx.AbstractVar[int | None]  # environment steps between updates; None: only after random_steps

    @property
    def random_hold(self) -> int:
        """Environment steps, in units of the action repeat, for which each of the uniform actions is held."""
        return 1

    @property
    def traceable(self) -> bool:
        """Whether `update` is pure JAX. Where it does work on the host, only the step driver can run it."""
        return True

    @property
    def online(self) -> bool:
        """Whether `update` learns from the one step before it, and is so small that compiled loops hold it.

        Such an agent has one environment, no random steps, and an update after every step.
        """
        return False

    @property
    def sequence_length(self) -> int | None:
        """How many consecutive steps `update` draws at a time from the `AbstractSequenceReplay` that it is then fed;
        None where it draws transitions."""
        return None

    @property
    def starts(self) -> int | None:
        """How many starts the episodes of training go round, in turn: every so-manieth begins alike, as its reset is
        given the same key. None: each begins anew. Evaluations always do."""
        return None

    @property
    def extras(self) -> PyTree:
        """An example of what `act` returns beside action and memory, for the replay's shapes; None: nothing is kept."""
        return None

    @abc.abstractmethod
    def init(self, *, key: PRNGKeyArray) -> State:
        """The state before any data."""

    @abc.abstractmethod
    def init_memory(self, state: State) -> Memory:
        """The memory at the start of an episode: plan, belief and previous action, or None."""

    @abc.abstractmethod
    def act(
        self, state: State, memory: Memory, obs: Array, *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Array, Memory, PyTree]:
        """One action `[*action]` for one observation `[obs]`, the memory to carry, and extras for the replay."""

    @abc.abstractmethod
    def update(self, state: State, replay: AbstractReplay, *, key: PRNGKeyArray) -> tuple[State, Metrics]:
        """One round of learning, as the paper counts rounds. Metrics keep the same keys at every call."""

    def model(self, state: State) -> AbstractModel | None:
        """The model that the agent plans or dreams in, for the diagnostics; None if it has none."""
        return None

    def forecasts(self, state: State) -> Forecasts | None:
        """What it said its latest trials would look like, for the report; None if it says nothing of the kind."""
        return None


class AbstractPlanningAgent(AbstractAgent[State, Memory], Generic[State, Memory, Search]):
    """An agent whose `act` is a search that can be cut short: the step driver can refine until a deadline."""

    planner: eqx.AbstractVar[AbstractRefiningPlanner]

    @abc.abstractmethod
    def begin(self, state: State, memory: Memory, obs: Array, *, key: PRNGKeyArray) -> Search:
        """The search for an action before any model call."""

    @abc.abstractmethod
    def refine(self, state: State, search: Search, *, key: PRNGKeyArray) -> Search:
        """One planner iteration."""

    @abc.abstractmethod
    def best(self, state: State, memory: Memory, search: Search) -> tuple[Array, Memory]:
        """The best action so far and the memory to carry."""

    def perturb(self, action: Array, memory: Memory, *, key: PRNGKeyArray) -> tuple[Array, Memory]:
        """The action with exploration noise, and the memory that knows of it; both as they are unless an agent says
        otherwise."""
        return action, memory

    def act(self, state, memory, obs, *, key, explore):
        begin_key, refine_key, noise_key = jr.split(key, 3)
        search = self.begin(state, memory, obs, key=begin_key)
        body = lambda i, search: self.refine(state, search, key=jr.fold_in(refine_key, i))
        search = jax.lax.fori_loop(0, self.planner.iterations, body, search)
        action, memory = self.best(state, memory, search)
        if explore:
            action, memory = self.perturb(action, memory, key=noise_key)
        return action, memory, None
