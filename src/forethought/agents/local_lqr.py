"""KL-constrained trajectory optimisation under local models (Levine & Abbeel 2014, sec. 3 and 4).

Round by round: so many rollouts from each of a few starts, a linear-Gaussian model of every time step from these, and
for each start the controller of least expected cost within a KL of the one that made the rollouts.

Deviations from the paper and the authors' code (gps):
- the reward is the given function of (obs, action, next_obs); a step's cost is expanded through its local model,
  around every rollout;
- one mixture of Gaussians for all starts, fitted to the latest `prior_episodes`;
- the first controllers are white noise around zero, not an LQR of a guessed model;
- controls are clipped to their bounds before they are executed and stored;
- the multiplier is searched as `planners.trajectory_kl` says.

Away from its starts the agent takes the controller of the nearest one; evaluations are without noise.
"""

import equinox as eqx
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ..core import AbstractLearner, Additions, Clock, Data
from ..learners.episodes import Place
from ..learners.local_control import LocalControl, metrics, no_metrics
from ..learners.local_rounds import AbstractLocalAgent, LocalMemory, LocalRounds, local_rounds, prior_learner, refitted
from ..presets.local_lqr import LocalLQRConfig
from ..types import EnvSpec, Given, Metrics


class LocalLQRState(eqx.Module):
    """The controllers, and the model where one is the prior."""

    control: LocalControl
    learner: AbstractLearner | None


class LocalLQR(AbstractLocalAgent[LocalLQRState]):
    """One local controller for each start."""

    spec: EnvSpec
    config: LocalLQRConfig = eqx.field(static=True)
    given: Given
    rounds: LocalRounds

    def __init__(self, spec: EnvSpec, config: LocalLQRConfig | None = None, *, given: Given | None = None):
        """Raises ValueError for invalid sizes, discrete actions, and without time limit or given reward."""
        self.spec = spec
        self.config = LocalLQRConfig() if config is None else config
        self.given = Given() if given is None else given
        self.rounds = local_rounds(spec, self.config.control, self.given)

    def init(self, *, key: PRNGKeyArray) -> LocalLQRState:
        return LocalLQRState(self.rounds.initial(), prior_learner(self.spec, self.config.control, self.given, key=key))

    def act(
        self, state: LocalLQRState, memory: LocalMemory, obs: Float[Array, " obs"], *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Float[Array, " action"], LocalMemory, Place]:
        return self.rounds.act(state.control, memory, obs, key=key, explore=explore)

    def update(
        self, state: LocalLQRState, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[LocalLQRState, Additions, Metrics]:
        """One round, on the host. A round that a stop of the run has cut short is left out."""
        gathered = self.rounds.gather(state.control, data["env"])
        if gathered is None:
            return state, {}, no_metrics()
        fit_key, prior_key = jr.split(key)
        learner = state.learner
        if learner is not None:
            learner, _ = refitted(learner, data["env"], key=fit_key)
        rollouts, past = gathered
        prior = self.rounds.local_prior(rollouts, past, learner, key=prior_key)
        control, found = self.rounds.improve(state.control, rollouts, prior)
        return LocalLQRState(control, learner), {}, metrics(found, rollouts)
