"""Prioritised sweeping (Moore & Atkeson 1993; as in Sutton & Barto 2018, section 8.4).

The model learns every real step, and the pair is queued by how much its value would change. Then, up to
`planning_steps` times: the first of the queue is updated, and all pairs that lead to its state are queued.

Deviations from the book:
- updates are expected ones over the model's outcomes, which in a task without chance is the book's;
- a pair that leads to an updated state is queued as Moore and Atkeson do, by how much that state's value has changed,
  times the probability and the discount; the book takes the error of the pair's own value;
- the queue is an array of priorities, of which the largest is looked up; an action of the best is drawn where several
  are.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import Additions, Clock, Data
from ..learners import tabular
from ..learners.tabular import AbstractOnlineAgent
from ..models.tabular import AbstractTable, sizes, table_of
from ..planners import checks
from ..presets.prioritised_sweeping import PrioritisedSweepingConfig
from ..replay.uniform import UniformReplay
from ..types import EnvSpec, Metrics


class SweepingState(eqx.Module):
    """All that is learned."""

    q: tabular.ActionValues
    model: AbstractTable
    priority: Float[Array, "states actions"]  # 0: not queued


class PrioritisedSweeping(AbstractOnlineAgent[SweepingState]):
    """Learns from every step as it comes, and sweeps backwards from what surprised it."""

    spec: EnvSpec
    config: PrioritisedSweepingConfig = eqx.field(static=True)
    table: AbstractTable  # without data

    def __init__(self, spec: EnvSpec, config: PrioritisedSweepingConfig | None = None):
        """Raises ValueError for invalid numbers, and for tasks without numbered states and actions."""
        self.spec = spec
        self.config = c = PrioritisedSweepingConfig() if config is None else config
        for name in ("step_size", "discount", "epsilon"):
            checks.fraction(name, getattr(c, name))
        checks.whole_number("planning_steps", c.planning_steps)
        checks.positive("threshold", c.threshold)
        self.table = table_of(spec, c.model)

    def data(self, capacity: int, num_envs: int) -> Data:
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs)}

    def init(self, *, key: PRNGKeyArray) -> SweepingState:
        nothing = jnp.zeros(sizes(self.spec))
        return SweepingState(nothing, self.table, nothing)

    def model(self, state: SweepingState) -> AbstractTable:
        return state.model

    def act(
        self, state: SweepingState, memory: None, obs: Float[Array, "1"], *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Int[Array, ""], None, None]:
        values = state.q[self.spec.state_number(obs)]
        return tabular.epsilon_greedy(values, self.config.epsilon if explore else 0.0, key=key), None, None

    def update(
        self, state: SweepingState, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[SweepingState, Additions, Metrics]:
        """Learns from the last step, and sweeps."""
        c, step = self.config, tabular.latest_step(self.spec, data["env"])
        model = state.model.add(*step)
        error = self._error(state.q, model, step.state, step.action)
        priority = state.priority.at[step.state, step.action].max(self._queued(jnp.abs(error)))

        def sweep(carry: tuple) -> tuple:
            q, priority, count = carry
            first = jnp.unravel_index(jnp.argmax(priority), priority.shape)
            worth = q[first[0]].max()
            q = q.at[first].add(c.step_size * self._error(q, model, *first))
            change = c.discount * model.into(first[0]) * jnp.abs(q[first[0]].max() - worth)
            priority = jnp.maximum(priority.at[first].set(0.0), self._queued(change))
            return q, priority, count + 1

        go_on = lambda carry: (carry[2] < c.planning_steps) & (carry[1].max() > 0)
        q, priority, count = jax.lax.while_loop(go_on, sweep, (state.q, priority, jnp.zeros((), jnp.int32)))
        metrics = {
            "value/error": jnp.abs(error),
            "plan/updates": count.astype(jnp.float32),
            "plan/queued": jnp.sum(priority > 0).astype(jnp.float32),
        }
        return SweepingState(q, model, priority), {}, metrics

    def _queued(self, change: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return jnp.where(change > self.config.threshold, change, 0.0)

    def _error(self, q: tabular.ActionValues, model: AbstractTable, state: Array, action: Array) -> Float[Array, ""]:
        """How far the value of a pair is from what the model expects."""
        chance, reward = model.outcomes(state, action)
        values = jnp.append(q.max(-1), 0.0)
        return jnp.sum(chance * (reward + self.config.discount * values)) - q[state, action]
