"""Dyna-Q and Dyna-Q+ (Sutton 1990, "Integrated architectures for learning, planning, and reacting"; as in Sutton &
Barto 2018, sections 8.2 and 8.3).

After every real step: one step of Q-learning from it, the model learns it, and `planning_steps` more of Q-learning from
steps that the model imagines, of a visited state and one of its tried actions, both drawn uniformly. Dyna-Q+ plans with
a bonus for pairs that were not tried for long, and with untried actions.

Deviations from the book:
- an action of the best is drawn where several are, in planning too;
- the model may count all outcomes (`model`), where the book's holds the latest;
- `trust` plans only with pairs of which the model agrees with what was met (off by default);
- the bonus counts steps from a pair's last real try, or from the beginning of the run if there was none.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core import Additions, Clock, Data
from ..learners import tabular
from ..learners.tabular import AbstractOnlineAgent, Met, Step
from ..models.tabular import AbstractTable, CountTable, sizes, table_of
from ..planners import checks
from ..presets.dyna_q import DynaQConfig
from ..replay.uniform import UniformReplay
from ..types import EnvSpec, Metrics


class DynaQState(eqx.Module):
    """All that is learned."""

    q: tabular.ActionValues
    model: AbstractTable
    met: Met
    tried_at: Int[Array, "states actions"]  # real step
    clock: Int[Array, ""]  # real steps so far
    trusted: Bool[Array, "states actions"]
    seen: CountTable | None  # outcomes that were met, to hold the model against; None where it is trusted anyway


class DynaQ(AbstractOnlineAgent[DynaQState]):
    """Learns from every step as it comes, and plans in between."""

    spec: EnvSpec
    config: DynaQConfig = eqx.field(static=True)
    table: AbstractTable  # without data

    def __init__(self, spec: EnvSpec, config: DynaQConfig | None = None, *, model: AbstractTable | None = None):
        """`model` takes the place of the configured one. Raises ValueError for invalid numbers, and for tasks
        without numbered states and actions."""
        self.spec = spec
        self.config = c = DynaQConfig() if config is None else config
        sizes(spec)
        for name in ("step_size", "discount", "epsilon"):
            checks.fraction(name, getattr(c, name))
        checks.fraction("trust.max_error", c.trust.max_error)
        checks.whole_number("planning_steps", c.planning_steps, 0)
        checks.whole_number("trust.min_count", c.trust.min_count)
        checks.not_negative("trust.reward_tolerance", c.trust.reward_tolerance)
        checks.not_negative("bonus", c.bonus)
        own = table_of(spec, c.model)
        self.table = own if model is None else model

    def data(self, capacity: int, num_envs: int) -> Data:
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs)}

    def init(self, *, key: PRNGKeyArray) -> DynaQState:
        shape = sizes(self.spec)
        seen = CountTable.empty(self.spec) if self.config.trust.max_error < 1 else None
        zero, tried_at = jnp.zeros((), jnp.int32), jnp.zeros(shape, jnp.int32)
        return DynaQState(
            jnp.zeros(shape), self.table, Met.nothing(self.spec), tried_at, zero, jnp.zeros(shape, bool), seen
        )

    def model(self, state: DynaQState) -> AbstractTable:
        return state.model

    def act(
        self, state: DynaQState, memory: None, obs: Float[Array, "1"], *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Int[Array, ""], None, None]:
        values = state.q[self.spec.state_number(obs)]
        return tabular.epsilon_greedy(values, self.config.epsilon if explore else 0.0, key=key), None, None

    def update(
        self, state: DynaQState, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[DynaQState, Additions, Metrics]:
        """Learns from the last step, and plans."""
        c, step = self.config, tabular.latest_step(self.spec, data["env"])
        error = tabular.q_learning_error(state.q, step, c.discount)
        q = state.q.at[step.state, step.action].add(c.step_size * error)
        state = self._noted(state, step)
        q = self._planned(q, state, key)
        metrics = {
            "value/td_error": jnp.abs(error),
            "model/pairs": jnp.sum(state.met.tries > 0).astype(jnp.float32),
            "model/trusted": jnp.sum(state.trusted).astype(jnp.float32),
        }
        state = DynaQState(q, state.model, state.met, state.tried_at, state.clock, state.trusted, state.seen)
        return state, {}, metrics

    def _noted(self, state: DynaQState, step: Step) -> DynaQState:
        """The state with one more real step in the model and in all that is remembered of real steps."""
        trust, pair = self.config.trust, (step.state, step.action)
        model, met = state.model.add(*pair, step.reward, step.outcome), state.met.add(*pair)
        seen = None if state.seen is None else state.seen.add(*pair, step.reward, step.outcome)
        sound = met.tries[pair] >= trust.min_count
        if seen is not None:
            sound &= disagreement(model, seen, *pair, trust.reward_tolerance) <= trust.max_error
        trusted = state.trusted.at[pair].set(sound)
        tried_at = state.tried_at.at[pair].set(state.clock + 1)
        return DynaQState(state.q, model, met, tried_at, state.clock + 1, trusted, seen)

    def _planned(self, q: tabular.ActionValues, state: DynaQState, key: PRNGKeyArray) -> tabular.ActionValues:
        """The values after `planning_steps` imagined steps."""
        c = self.config
        if not c.planning_steps:
            return q
        allowed = state.trusted | (state.met.tries == 0) if c.plan_untried else state.trusted

        def imagine(q: tabular.ActionValues, uniform: Float[Array, " draws"]) -> tuple[tabular.ActionValues, None]:
            place = state.met.draw_state(uniform[0])
            action = tabular.draw_action(allowed[place], uniform[2:])
            outcome, reward = state.model.draw(place, action, uniform[1])
            if c.plan_untried:
                untried = state.met.tries[place, action] == 0
                outcome, reward = jnp.where(untried, place, outcome), jnp.where(untried, 0.0, reward)
            if c.bonus:
                reward += c.bonus * jnp.sqrt((state.clock - state.tried_at[place, action]).astype(jnp.float32))
            error = tabular.q_learning_error(q, Step(place, action, reward, outcome), c.discount)
            return q.at[place, action].add(jnp.where(allowed[place, action], c.step_size * error, 0.0)), None

        uniform = jr.uniform(key, (c.planning_steps, 2 + q.shape[1]))
        return jax.lax.scan(imagine, q, uniform)[0]


def disagreement(
    model: AbstractTable, seen: CountTable, state: Array, action: Array, tolerance: float
) -> Float[Array, ""]:
    """How far the model's outcomes of a pair are from those seen, in 0..1: the total variation between the two, an
    outcome whose reward differs by more than `tolerance` counting as two."""
    (imagined, its_reward), (real, reward) = (x.outcomes(state, action) for x in (model, seen))
    return 1.0 - jnp.sum(jnp.where(jnp.abs(its_reward - reward) <= tolerance, jnp.minimum(imagined, real), 0.0))
