"""PlaNet: planning in the latent space of a recurrent state-space model (Hafner et al. 2019, Algorithm 1).

At every step the belief is filtered from what was seen, and CEM searches afresh for the actions of greatest expected
reward in it; there is no policy and no value.

Deviations from the authors' code:
- the first steps are uniform actions, where theirs are whole episodes; rounds of learning come every `update_every`
  environment steps;
- images are encoded and decoded as in Dreamer v3 and not reduced to 5 bits;
- replayed sequences may run over the end of an episode, where the state is reset; theirs lie within one;
- tasks that terminate can be told to learn when (`model.continues`); theirs have none;
- weights start as in Dreamer v3, where theirs start by TensorFlow's defaults;
- presets other than `paper` have smaller networks, batches and populations, and a GRU whose reset gate scales the whole
  candidate, as in Dreamer v2; in theirs, and in `paper`, it scales the memory before its matrix.
"""

import equinox as eqx
import jax.random as jr
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..core import AbstractPlanningAgent, AbstractRefiningPlanner, Additions, Clock, Data, Schedule
from ..learners.exploration import noisy
from ..learners.optimiser import clipped_adam
from ..learners.schedule import GradientSteps, descended
from ..models.filtering import FilterMemory
from ..models.rssm import LatentBelief
from ..models.world_model import WorldModel
from ..planners.choice import make_planner
from ..presets.planet import PlaNetConfig
from ..replay.sequence import SequenceReplay
from ..types import EnvSpec, Metrics


class PlaNetState(eqx.Module):
    """What learning changes."""

    model: WorldModel
    opt_state: optax.OptState


class PlaNetSearch(eqx.Module):
    """The search for one action, in what is believed now."""

    belief: LatentBelief
    inner: PyTree


class PlaNet(AbstractPlanningAgent[PlaNetState, FilterMemory, PlaNetSearch]):
    """Filter, plan, act. Reward and, where asked for, termination are learned."""

    spec: EnvSpec
    config: PlaNetConfig = eqx.field(static=True)
    planner: AbstractRefiningPlanner
    gradient_steps: GradientSteps

    def __init__(
        self, spec: EnvSpec, config: PlaNetConfig | None = None, *, planner: AbstractRefiningPlanner | None = None
    ):
        """`planner` replaces the one that `config` describes. Raises ValueError on sizes that clash."""
        self.spec = spec
        self.config = c = PlaNetConfig() if config is None else config
        self.planner = make_planner(spec.action, c.planner) if planner is None else planner
        self.gradient_steps = GradientSteps.rounds(c.update_every, c.updates, c.batch_size, c.batch_length)
        if not 0 <= c.action_noise < float("inf"):
            raise ValueError(f"action_noise={c.action_noise} must be at least 0")

    @property
    def schedule(self) -> Schedule:
        every = self.gradient_steps.update_every
        return Schedule.one_round("model", every, random_steps=self.config.random_steps)

    @property
    def sequence_length(self) -> int:
        return self.config.batch_length

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam, as the paper's."""
        return clipped_adam(self.config.learning_rate, clip=self.config.clip, eps=1e-4)

    def data(self, capacity: int, num_envs: int) -> Data:
        return {"env": SequenceReplay.empty(self.spec, max(capacity, 2 * num_envs), num_envs)}

    def init(self, *, key: PRNGKeyArray) -> PlaNetState:
        model = WorldModel(self.spec, self.config.model, particles=self.config.particles, key=key)
        return PlaNetState(model, self.optimiser.init(eqx.filter(model, eqx.is_inexact_array)))

    def model(self, state: PlaNetState) -> WorldModel:
        return state.model

    def init_memory(self, state: PlaNetState) -> FilterMemory:
        return FilterMemory.start(state.model)

    def begin(self, state: PlaNetState, memory: FilterMemory, obs: Array, *, key: PRNGKeyArray) -> PlaNetSearch:
        belief = memory.seen(state.model, obs, key=key)
        return PlaNetSearch(belief, self.planner.begin(self.planner.init()))  # a fresh search: nothing is carried over

    def refine(self, state: PlaNetState, search: PlaNetSearch, *, key: PRNGKeyArray, explore: bool) -> PlaNetSearch:
        return PlaNetSearch(search.belief, self.planner.refine(state.model, search.belief, search.inner, key=key))

    def best(
        self, state: PlaNetState, memory: FilterMemory, search: PlaNetSearch, *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Array, FilterMemory, None]:
        action, _ = self.planner.best(search.inner)
        if explore:
            action = noisy(self.spec.action, action, self.config.action_noise, key=key)
        return action, memory.after(search.belief, action), None

    def update(
        self, state: PlaNetState, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[PlaNetState, Additions, Metrics]:
        def step(state: PlaNetState, key: PRNGKeyArray) -> tuple[PlaNetState, Metrics]:
            batch_key, loss_key = jr.split(key)
            batch = data["env"].sequences(self.config.batch_size, self.config.batch_length, key=batch_key)
            loss = lambda model: model.loss(batch, key=loss_key)
            model, opt_state, (_, metrics) = descended(loss, self.optimiser, state.model, state.opt_state)
            return PlaNetState(model, opt_state), metrics

        state, metrics = self.gradient_steps.repeat(step, state, key=key)
        return state, {}, metrics
