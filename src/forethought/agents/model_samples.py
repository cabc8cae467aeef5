"""Planning by samples of a learned table (Sutton & Barto 2018, chapters 5, 6 and 8): Monte-Carlo control, Sarsa and
Q-learning, which learn from what the model imagines exactly as they would from the world. Real steps teach the model
alone.

Deviations from the book:
- many imagined episodes go on side by side, and updates that meet in one pair are averaged;
- imagined episodes begin with any pair that was tried, and are cut after `horizon` steps;
- the step size falls with a pair's updates down to `step_size`, anew in each round, since the model has changed;
- in imagined episodes the share of random actions falls to 0 in each round;
- an action that was never tried is imagined as the end, with reward 0;
- `value-iteration` and `policy-iteration` plan with the model's probabilities instead, exactly.
"""

from typing import get_args

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import AbstractAgent, Additions, Clock, Data, Schedule
from ..learners import model_samples, tabular
from ..models.tabular import CountTable
from ..planners import checks
from ..planners.exact import policy_iteration, value_iteration
from ..presets.model_samples import Method, ModelSamplesConfig
from ..replay.uniform import UniformReplay
from ..types import EnvSpec, Metrics


class SamplesState(eqx.Module):
    """All that is learned."""

    q: tabular.ActionValues
    model: CountTable


class ModelSamples(AbstractAgent[SamplesState, None]):
    """Fits its table to all real steps so far, and learns values from the table."""

    spec: EnvSpec
    config: ModelSamplesConfig = eqx.field(static=True)

    def __init__(self, spec: EnvSpec, config: ModelSamplesConfig | None = None):
        """Raises ValueError for invalid numbers, and for tasks without numbered states and actions."""
        self.spec = spec
        self.config = c = ModelSamplesConfig() if config is None else config
        if c.method not in get_args(Method):
            raise ValueError(f"method={c.method!r} must be one of {', '.join(get_args(Method))}")
        for name in ("step_size", "sample_epsilon", "discount", "epsilon"):
            checks.fraction(name, getattr(c, name))
        for name in ("update_every", "samples", "walkers", "horizon"):
            checks.whole_number(name, getattr(c, name))
        CountTable.empty(spec)

    @property
    def schedule(self) -> Schedule:
        return Schedule.one_round("values", self.config.update_every, random_steps=self.config.random_steps)

    def data(self, capacity: int, num_envs: int) -> Data:
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs)}

    def init(self, *, key: PRNGKeyArray) -> SamplesState:
        model = CountTable.empty(self.spec)
        return SamplesState(jnp.zeros(model.known().shape), model)

    def init_memory(self, state: SamplesState) -> None:
        return None

    def model(self, state: SamplesState) -> CountTable:
        return state.model

    def act(
        self, state: SamplesState, memory: None, obs: Float[Array, "1"], *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Int[Array, ""], None, None]:
        values = state.q[self.spec.state_number(obs)]
        return tabular.epsilon_greedy(values, self.config.epsilon if explore else 0.0, key=key), None, None

    def update(
        self, state: SamplesState, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[SamplesState, Additions, Metrics]:
        """Fits the model to all rows, and learns values from it."""
        model = CountTable.empty(self.spec).fitted(*data["env"].rows())
        q, known = self._planned(state.q, model, key), model.known()
        change = jnp.sum(jnp.abs(q - state.q) * known) / jnp.maximum(known.sum(), 1)
        metrics = {"value/change": change, "model/pairs": known.sum().astype(jnp.float32)}
        return SamplesState(q, model), {}, metrics

    def _planned(self, q: tabular.ActionValues, model: CountTable, key: PRNGKeyArray) -> tabular.ActionValues:
        c = self.config
        if c.method == "value-iteration":
            return value_iteration(model.tables(), discount=c.discount).action_values
        if c.method == "policy-iteration":
            return policy_iteration(model.tables(), discount=c.discount).action_values
        how = model_samples.Sampling(c.samples, c.walkers, c.horizon, c.step_size, c.sample_epsilon, c.discount)
        if c.method == "monte-carlo":
            return model_samples.monte_carlo(q, model, how, key=key)
        return model_samples.temporal_difference(q, model, how, sarsa=c.method == "sarsa", key=key)
