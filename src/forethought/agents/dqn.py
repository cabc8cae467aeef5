"""Deep Q-learning with experience replay (Mnih et al. 2015, Algorithm 1) and double targets (van Hasselt et al. 2016).

Deviations from the papers:
- the networks are MLPs on vectors, trained by Adam; the gradient's norm is clipped, and rewards are not;
- by default hidden layers are normalised, errors are squared without a limit, and the target network moves by Polyak
  averaging; `paper-atari` has none of the three;
- the step size may fall to 0 during the run (`decay_steps`).
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import AbstractAgent, Additions, Clock, Data, Round, Schedule
from ..learners.q_learning import QLearning, QLearningState
from ..learners.schedule import remaining
from ..learners.tabular import epsilon_greedy
from ..presets.dqn import DQNConfig
from ..replay.uniform import UniformReplay
from ..types import EnvSpec, Metrics


class DQNState(eqx.Module):
    """What learning changes, and how far the run was at the last update."""

    learned: QLearningState
    env_steps: Int[Array, ""]


class DQN(AbstractAgent[DQNState, None]):
    """Learns from replayed transitions; explores by uniform actions, more and more rarely."""

    spec: EnvSpec
    config: DQNConfig = eqx.field(static=True)
    learner: QLearning

    def __init__(self, spec: EnvSpec, config: DQNConfig | None = None):
        """Raises ValueError for continuous actions and invalid settings."""
        self.spec, self.config = spec, DQNConfig() if config is None else config
        self.learner = QLearning(spec, self.config)

    @property
    def schedule(self) -> Schedule:
        c = self.config
        every = c.update_every * self.spec.action_repeat
        return Schedule(c.random_steps, (Round("values", every, c.random_steps, inline=True),))

    def data(self, capacity: int, num_envs: int) -> Data:
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs)}

    def init(self, *, key: PRNGKeyArray) -> DQNState:
        return DQNState(self.learner.init(key=key), jnp.zeros((), jnp.int32))

    def init_memory(self, state: DQNState) -> None:
        return None

    def act(
        self, state: DQNState, memory: None, obs: Float[Array, " obs"], *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Int[Array, ""], None, None]:
        values = self.learner.values(state.learned, obs)
        epsilon = self.learner.epsilon(state.env_steps) if explore else 0.0
        return epsilon_greedy(values, epsilon, key=key), None, None

    def update(
        self, state: DQNState, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[DQNState, Additions, Metrics]:
        c, draw = self.config, lambda key: data["env"].sample(self.config.batch_size, key=key)
        left = remaining(clock.env_steps, c.decay_steps)
        learned, metrics = self.learner.updates(state.learned, draw, remaining=left, key=key)
        metrics = metrics | {"actor/epsilon": self.learner.epsilon(clock.env_steps)}
        return DQNState(learned, clock.env_steps), {}, metrics
