"""Guided policy search by mirror descent (MDGPS; Montgomery & Levine 2016, algorithm 1, and the authors' code, gps).

Local controllers, one for each of several starts, are improved from a few rollouts at a time; one network learns to do
what they do, from what it can see; the controllers are held near the network instead of near their old selves, so that
it can follow. What is evaluated is the network.

Deviations from the paper and the authors' code:
- those of `local-lqr`;
- the network is linearised by its mean slope over the rollouts of each time step, where theirs is a regression with a
  mixture of Gaussians as its prior;
- networks are of tanh units and learn by Adam with a falling step size, whose state is new in each round;
- controls that are learned are clipped to their bounds first;
- before the first round the network learns what the first controllers do, which is nothing;
- the step is adapted for each start by what its controllers cost, theirs for all together by the network's cost;
- no weight decay.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..core import AbstractLearner, Additions, Clock, Data
from ..learners.episodes import Place, Rollouts
from ..learners.imitation import ImitationFit, imitate, lessons, linearised
from ..learners.local_control import LocalControl, metrics, no_metrics
from ..learners.local_rounds import AbstractLocalAgent, LocalMemory, LocalRounds, local_rounds, prior_learner, refitted
from ..networks.mean_policy import MeanPolicy
from ..planners import checks
from ..presets.gps import GPSConfig
from ..types import EnvSpec, Given, Metrics


class GPSState(eqx.Module):
    """The controllers, the network that learns from them, and the model's where that is the prior."""

    control: LocalControl
    policy: MeanPolicy
    learner: AbstractLearner | None


class GPS(AbstractLocalAgent[GPSState]):
    """One network from several local controllers. Training episodes are the controllers', evaluations the network's."""

    spec: EnvSpec
    config: GPSConfig = eqx.field(static=True)
    given: Given
    rounds: LocalRounds

    def __init__(self, spec: EnvSpec, config: GPSConfig | None = None, *, given: Given | None = None):
        """Raises ValueError for invalid sizes, discrete actions, and without time limit or given reward."""
        self.spec = spec
        self.config = c = GPSConfig() if config is None else config
        self.given = Given() if given is None else given
        self.rounds = local_rounds(spec, c.control, self.given)
        for name in ("steps", "batch_size"):
            checks.whole_number(name, getattr(c.policy, name))
        checks.positive("learning_rate", c.policy.learning_rate)

    def init(self, *, key: PRNGKeyArray) -> GPSState:
        policy_key, model_key = jr.split(key)
        c = self.config
        learner = prior_learner(self.spec, c.control, self.given, key=model_key)
        scale, std = self.rounds.half_range, c.control.initial_std
        policy = MeanPolicy.fresh(self.spec, scale, c.policy.hidden, std=std, key=policy_key)
        return GPSState(self.rounds.initial(), policy, learner)

    def act(
        self, state: GPSState, memory: LocalMemory, obs: Float[Array, " obs"], *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Float[Array, " action"], LocalMemory, Place]:
        action, memory, place = self.rounds.act(state.control, memory, obs, key=key, explore=explore)
        return action if explore else self.rounds.clipped(state.policy(obs)), memory, place

    def update(
        self, state: GPSState, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[GPSState, Additions, Metrics]:
        """One round, on the host. A round that a stop of the run has cut short is left out."""
        gathered = self.rounds.gather(state.control, data["env"])
        if gathered is None:
            return state, {}, no_metrics() | {"policy/loss": jnp.zeros(()), "policy/error": jnp.zeros(())}
        first_key, fit_key, prior_key, learn_key = jr.split(key, 4)
        rollouts, past = gathered
        learner, policy = state.learner, state.policy
        if learner is not None:
            learner, _ = refitted(learner, data["env"], key=fit_key)
        if int(state.control.rounds) == 0:
            policy = self._imitating(policy, state.control, rollouts, key=first_key).policy
        reference = linearised(policy, jnp.asarray(rollouts.obs, jnp.float32))
        prior = self.rounds.local_prior(rollouts, past, learner, key=prior_key)
        control, found = self.rounds.improve(state.control, rollouts, prior, reference)
        fit = self._imitating(policy, control, rollouts, key=learn_key)
        numbers = {"policy/loss": fit.loss, "policy/error": fit.error}
        return GPSState(control, fit.policy, learner), {}, metrics(found, rollouts) | numbers

    def _imitating(
        self, policy: MeanPolicy, control: LocalControl, rollouts: Rollouts, *, key: PRNGKeyArray
    ) -> ImitationFit:
        """The network after a round of learning what the controllers do in the states of their rollouts."""
        c = self.config.policy
        low, high = self.rounds.bounds
        taught = lessons(rollouts, control.controllers.policy, np.asarray(low), np.asarray(high))
        sizes = {"learning_rate": c.learning_rate, "steps": c.steps, "batch_size": c.batch_size}
        return imitate(policy, taught, key=key, **sizes)
