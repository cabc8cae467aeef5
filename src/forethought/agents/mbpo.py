"""MBPO: model-based policy optimisation (Janner et al. 2019, Algorithm 2).

Deviations from the authors' code:
- each of the elites predicts for as many rollouts as the others at every step, dealt at random, where theirs draws a
  member for each rollout on its own;
- an imagined reward is the expected one, where theirs is drawn with the next observation; a learned one has two parts
  (steps that go on and steps that end the episode), is weighted in the loss (`Ensemble.losses`), and is normalised
  with `normalise_targets` off too;
- termination is learned, and drawn in rollouts, unless it is given; theirs is a function written for each task;
- a fit ends after `model.epochs` passes at the latest, where theirs has no limit;
- the temperature's loss is that of `learners.sac`;
- presets other than `paper-*` use smaller networks and fewer rollouts, and normalise what the networks predict.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Int, PRNGKeyArray

from ..core import AbstractAgent, AbstractLearner, AbstractModel, Addition, Additions, Clock, Data, Round, Schedule
from ..learners.branched import branched
from ..learners.model_planning import ensemble_learner
from ..learners.sac import SAC, SACState
from ..planners import checks
from ..presets.mbpo import MBPOConfig
from ..replay.uniform import UniformReplay
from ..types import EnvSpec, Given, Metrics, Transition


class MBPOState(eqx.Module):
    """What learning changes."""

    learner: AbstractLearner | None  # of the model; None on the true dynamics
    sac: SACState


class MBPO(AbstractAgent[MBPOState, None]):
    """Fits a model now and then, imagines short rollouts from states that were met, and trains a policy on them."""

    spec: EnvSpec
    config: MBPOConfig = eqx.field(static=True)
    given: Given
    learner: AbstractLearner | None  # a user's own, instead of the ensemble
    sac: SAC

    def __init__(
        self,
        spec: EnvSpec,
        config: MBPOConfig | None = None,
        *,
        given: Given | None = None,
        learner: AbstractLearner | None = None,
    ):
        """`learner` replaces the ensemble. Raises ValueError for Discrete actions and sizes that clash."""
        self.spec = spec
        self.config = c = MBPOConfig() if config is None else config
        self.given = Given() if given is None else given
        self.learner, self.sac = learner, SAC(spec, c.sac)
        for name in ("model_every", "rollouts", "epoch_steps", "retain_epochs"):
            checks.whole_number(name, getattr(c, name))
        first, last, low, high = c.rollout_length
        if not (0 <= first < last and low >= 1 and high >= 1):
            raise ValueError(f"rollout_length={c.rollout_length} must be two rising epochs and two lengths above 0")
        particles = c.model.particles if learner is None and self.given.model is None else 1
        least, wanted = -(-c.batch_size // particles) * particles, f"rollouts={c.rollouts} must be"
        if c.rollouts % particles:
            raise ValueError(f"{wanted} a multiple of model.particles={particles}, at least {least}")
        if c.rollouts < least:
            raise ValueError(f"{wanted} at least sac.batch_size={c.batch_size}, so {least} or more")

    @property
    def schedule(self) -> Schedule:
        c = self.config
        first = c.sac.random_steps or c.model_every
        rounds = (Round("model", c.model_every, first), Round("policy", self.spec.action_repeat, first, inline=True))
        return Schedule(c.sac.random_steps, rounds)

    def data(self, capacity: int, num_envs: int) -> Data:
        most = max(int(self._kept(steps)) for steps in self.config.rollout_length[2:])
        pool = UniformReplay.empty(self.spec, most)
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs), "model": pool}

    def init(self, *, key: PRNGKeyArray) -> MBPOState:
        model_key, sac_key = jr.split(key)
        learner = self.learner
        if learner is None and self.given.model is None:
            learner = ensemble_learner(self.spec, self.config.model, given=self.given, key=model_key)
        return MBPOState(learner, self.sac.init(key=sac_key))

    def init_memory(self, state: MBPOState) -> None:
        return None

    def model(self, state: MBPOState) -> AbstractModel:
        return self.given.model if state.learner is None else state.learner.model

    def act(
        self, state: MBPOState, memory: None, obs: Array, *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Array, None, None]:
        policy = self.sac.policy(state.sac, obs)
        return policy.executed(policy.sample(key=key) if explore else policy.mode()), None, None

    def update(
        self, state: MBPOState, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[MBPOState, Additions, Metrics]:
        if round == "policy":
            draw, count = lambda key: self._batch(data, key=key), self.config.sac.updates_per_step
            sac, metrics = self.sac.updates(state.sac, draw, count, key=key)
            return MBPOState(state.learner, sac), {}, metrics
        fit_key, key = jr.split(key)
        learner, metrics = state.learner, {}
        if learner is not None:
            learner, metrics = learner.fit(data["env"], key=fit_key)
        state = MBPOState(learner, state.sac)
        addition, more = self._imagined(state, data, self._length(clock), key=key)
        return state, {"model": addition}, metrics | more

    def _batch(self, data: Data, *, key: PRNGKeyArray) -> Transition:
        """Real and imagined transitions to learn from."""
        size, (real_key, model_key) = self.config.sac.batch_size, jr.split(key)
        real = int(size * self.config.real_ratio)
        parts = (("env", real, real_key), ("model", size - real, model_key))
        drawn = [data[name].sample(count, key=key) for name, count, key in parts if count]
        return jax.tree.map(lambda *x: jnp.concatenate(x), *drawn)

    def _length(self, clock: Clock) -> Int[Array, ""]:
        """Steps of a rollout in the present epoch."""
        first, last, low, high = self.config.rollout_length
        epoch = jnp.maximum(clock.env_steps - self.config.sac.random_steps, 0) // self.config.epoch_steps
        part = jnp.clip(epoch - first, 0, last - first) * abs(high - low) // (last - first)
        return low + (part if high >= low else -part)

    def _kept(self, length: Int[Array, ""] | int) -> Int[Array, ""] | int:
        """Imagined transitions that are kept while rollouts are so long."""
        c = self.config
        fits = max(c.retain_epochs * c.epoch_steps // c.model_every, 1)
        return c.rollouts * fits * length

    def _imagined(
        self, state: MBPOState, data: Data, length: Int[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Addition, Metrics]:
        """Rollouts of the policy in the model, from states drawn from all real ones."""
        draw_key, key = jr.split(key)
        starts = data["env"].sample(self.config.rollouts, key=draw_key).obs
        act = lambda obs, key: self.act(state, None, obs, key=key, explore=True)[0]
        longest = max(self.config.rollout_length[2:])
        rows, alive, metrics = branched(self.model(state), starts, act, length=length, longest=longest, key=key)
        return Addition(rows, alive, self._kept(length)), metrics
