"""Soft actor-critic (Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications", Algorithm 1).

After every environment action: `updates_per_step` gradient steps of two critics, a squashed Gaussian actor and the
temperature, each on a batch drawn uniformly from all transitions so far.

Deviations from the paper:
- the temperature's loss is linear in the logarithm of the temperature, as in the authors' code;
- the critics may be any number, joined by their mean, with layer norm or with bounded targets (off by default);
- weights are drawn from truncated normals; the actor's last layer starts small.
"""

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from ..core import AbstractAgent, Additions, Clock, Data, Round, Schedule
from ..learners.sac import SAC as Learner
from ..learners.sac import SACState
from ..presets.sac import SACConfig
from ..replay.uniform import UniformReplay
from ..types import EnvSpec, Metrics


class SAC(AbstractAgent[SACState, None]):
    """Learns from replayed transitions after every action; acts by a draw, in evaluations by the squashed mean."""

    spec: EnvSpec
    config: SACConfig = eqx.field(static=True)
    learner: Learner

    def __init__(self, spec: EnvSpec, config: SACConfig | None = None):
        """Raises ValueError for Discrete actions and invalid settings."""
        self.spec, self.config = spec, SACConfig() if config is None else config
        self.learner = Learner(spec, self.config)

    @property
    def schedule(self) -> Schedule:
        first = self.config.random_steps
        return Schedule(first, (Round("policy", self.spec.action_repeat, first, inline=True),))

    def data(self, capacity: int, num_envs: int) -> Data:
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs)}

    def init(self, *, key: PRNGKeyArray) -> SACState:
        return self.learner.init(key=key)

    def init_memory(self, state: SACState) -> None:
        return None

    def act(
        self, state: SACState, memory: None, obs: Float[Array, " obs"], *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Array, None, None]:
        policy = self.learner.policy(state, obs)
        return policy.executed(policy.sample(key=key) if explore else policy.mode()), None, None

    def update(
        self, state: SACState, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[SACState, Additions, Metrics]:
        draw = lambda key: data["env"].sample(self.config.batch_size, key=key)
        state, metrics = self.learner.updates(state, draw, key=key)
        return state, {}, metrics
