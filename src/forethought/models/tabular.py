"""Models that are tables, for tasks of numbered states: counts of all outcomes, and the latest outcome alone."""

import abc
import dataclasses
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core import AbstractModel
from ..types import Discrete, EnvSpec, Prediction, Tables, Transition


class TableBelief(eqx.Module):
    """Where each particle stands; the number of states stands for the end, which is never left."""

    state: Int[Array, "particles *batch"]


class AbstractTable(AbstractModel[TableBelief]):
    """A table of what each action in each state leads to. Outcomes are numbered like states, the last one is the end.

    A pair that nothing is known of leads to the end, with reward 0.
    """

    spec: eqx.AbstractVar[EnvSpec]

    @abc.abstractmethod
    def known(self) -> Bool[Array, "states actions"]:
        """Which pairs have been tried."""

    @abc.abstractmethod
    def add(self, state: Array, action: Array, reward: Array, outcome: Array) -> Self:
        """With one more transition in it; `outcome` is the next state, or the number of states for the end."""

    @abc.abstractmethod
    def outcomes(self, state: Array, action: Array) -> tuple[Float[Array, " outcomes"], Float[Array, " outcomes"]]:
        """Probability of each outcome of one pair, states first and then the end, and its expected reward."""

    @abc.abstractmethod
    def draw(self, state: Array, action: Array, uniform: Array) -> tuple[Int[Array, ""], Float[Array, ""]]:
        """An outcome of one pair and its reward, drawn by a number that is uniform in [0, 1)."""

    @abc.abstractmethod
    def into(self, state: Array) -> Float[Array, "states actions"]:
        """With which probability each pair leads to `state`."""

    def tables(self) -> Tables:
        """All that the model expects, for exact planning. Raises ValueError for a model without data, unless traced."""
        known, states, actions = self.known(), *sizes(self.spec)
        if not isinstance(known, Tracer) and not known.any():
            raise ValueError("the table is empty: no transition was added, so there is nothing to plan in; add data")
        grid = jnp.arange(states)[:, None], jnp.arange(actions)[None]
        chance, reward = jax.vmap(jax.vmap(self.outcomes, (None, 0)), (0, None))(grid[0][:, 0], grid[1][0])
        return Tables(chance[..., :states], jnp.sum(chance * reward, -1))

    def init(self, obs: Float[Array, "1"], *, key: PRNGKeyArray) -> TableBelief:
        return TableBelief(self.spec.state_number(obs)[None])

    def step(self, belief: TableBelief, action: Array, *, key: PRNGKeyArray) -> tuple[TableBelief, Prediction]:
        end, _ = sizes(self.spec)
        flat = belief.state.reshape(-1)
        drawn = jax.vmap(self.draw)(flat.clip(0, end - 1), action.reshape(-1), jr.uniform(key, flat.shape))
        outcome, reward = (x.reshape(belief.state.shape) for x in drawn)
        over = belief.state == end
        outcome, reward = jnp.where(over, end, outcome), jnp.where(over, 0.0, reward)
        return TableBelief(outcome), Prediction(reward, (outcome != end).astype(jnp.float32))

    def observation(self, belief: TableBelief) -> None:
        return None

    def drawn(self, belief: TableBelief) -> Float[Array, "particles *batch 1"]:
        """The numbers of the states; of a particle at the end, that of the last state."""
        return belief.state.clip(0, sizes(self.spec)[0] - 1)[..., None].astype(jnp.float32)


class CountTable(AbstractTable):
    """Counts of outcomes: their shares are the probabilities, the mean of their rewards is the reward.

    With a `prior` above 0 the model is Bayesian: each row of probabilities has a Dirichlet prior with that weight on
    every outcome, the end among them. Probabilities are then expected ones, an outcome never seen has the mean reward
    of its pair, and `posterior` draws a whole model from what is known.
    """

    spec: EnvSpec = eqx.field(static=True)
    prior: float = eqx.field(static=True)
    count: Float[Array, "states actions outcomes"]
    reward: Float[Array, "states actions outcomes"]  # sum

    @classmethod
    def empty(cls, spec: EnvSpec, *, prior: float = 0.0) -> Self:
        """Without data. Raises ValueError for a task without numbered states and actions, or a prior below 0."""
        states, actions = sizes(spec)
        if not prior >= 0:
            raise ValueError(f"prior={prior} must be at least 0")
        nothing = jnp.zeros((states, actions, states + 1))
        return cls(spec, prior, nothing, nothing)

    def fitted(self, rows: Transition, in_use: Bool[Array, " n"]) -> Self:
        """With those transitions `[n, ...]` added that are `in_use`."""
        place = pair_and_outcome(self.spec, rows)
        weight = in_use.astype(jnp.float32)
        count = self.count.at[place].add(weight)
        reward = self.reward.at[place].add(jnp.where(in_use, rows.reward, 0.0))
        return dataclasses.replace(self, count=count, reward=reward)

    def known(self) -> Bool[Array, "states actions"]:
        return self.count.any(-1)

    def add(self, state: Array, action: Array, reward: Array, outcome: Array) -> Self:
        count = self.count.at[state, action, outcome].add(1.0)
        return dataclasses.replace(self, count=count, reward=self.reward.at[state, action, outcome].add(reward))

    def outcomes(self, state: Array, action: Array) -> tuple[Float[Array, " outcomes"], Float[Array, " outcomes"]]:
        count, reward = self.count[state, action], self.reward[state, action]
        weight, total = count + self.prior, count.sum()
        at_end = jnp.arange(len(count)) == len(count) - 1
        chance = jnp.where(weight.sum() > 0, weight / jnp.maximum(weight.sum(), 1e-30), at_end)
        usual = reward.sum() / jnp.maximum(total, 1.0)
        return chance, jnp.where(count > 0, reward / jnp.maximum(count, 1.0), usual)

    def draw(self, state: Array, action: Array, uniform: Array) -> tuple[Int[Array, ""], Float[Array, ""]]:
        chance, reward = self.outcomes(state, action)
        cumulative = jnp.cumsum(chance)
        outcome = jnp.sum(cumulative <= uniform * cumulative[-1], dtype=jnp.int32)
        return outcome, reward[outcome]

    def into(self, state: Array) -> Float[Array, "states actions"]:
        count, total = self.count[:, :, state], self.count.sum(-1)
        weight = total + self.prior * self.count.shape[-1]
        return (count + self.prior) / jnp.maximum(weight, 1e-30)

    def posterior(self, *, key: PRNGKeyArray) -> Tables:
        """A decision process drawn from the posterior. Raises ValueError for a model without a prior."""
        if self.prior == 0:
            raise ValueError("prior=0 has no posterior to draw from; give the table a prior above 0")
        chance = jr.dirichlet(key, self.count + self.prior)
        reward = jax.vmap(jax.vmap(lambda s, a: self.outcomes(s, a)[1], (None, 0)), (0, None))
        states, actions = sizes(self.spec)
        expected = reward(jnp.arange(states), jnp.arange(actions))
        return Tables(chance[..., :states], jnp.sum(chance * expected, -1))


class LatestOutcome(AbstractTable):
    """What each pair led to the last time: exact in a task without chance, and quick to notice that one has changed."""

    spec: EnvSpec = eqx.field(static=True)
    outcome: Int[Array, "states actions"]  # -1: never tried
    reward: Float[Array, "states actions"]

    @classmethod
    def empty(cls, spec: EnvSpec) -> Self:
        """Without data. Raises ValueError for a task without numbered states and actions."""
        return cls(spec, jnp.full(sizes(spec), -1, jnp.int32), jnp.zeros(sizes(spec)))

    def known(self) -> Bool[Array, "states actions"]:
        return self.outcome >= 0

    def add(self, state: Array, action: Array, reward: Array, outcome: Array) -> Self:
        found = self.outcome.at[state, action].set(outcome)
        return dataclasses.replace(self, outcome=found, reward=self.reward.at[state, action].set(reward))

    def outcomes(self, state: Array, action: Array) -> tuple[Float[Array, " outcomes"], Float[Array, " outcomes"]]:
        outcome, reward = self.draw(state, action, jnp.zeros(()))
        count = len(self.outcome) + 1
        return jax.nn.one_hot(outcome, count), jnp.full(count, reward)

    def draw(self, state: Array, action: Array, uniform: Array) -> tuple[Int[Array, ""], Float[Array, ""]]:
        outcome = self.outcome[state, action]
        return jnp.where(outcome < 0, len(self.outcome), outcome), self.reward[state, action]

    def into(self, state: Array) -> Float[Array, "states actions"]:
        return (self.outcome == state).astype(jnp.float32)


class GivenTable(AbstractTable):
    """A model that is given and learns nothing: the true tables, or wrong ones."""

    spec: EnvSpec = eqx.field(static=True)
    cumulative: Float[Array, "states actions outcomes"]  # of the probabilities, along the last axis
    reward: Float[Array, "states actions"]  # expected

    @classmethod
    def of(cls, spec: EnvSpec, tables: Tables) -> Self:
        """The model that `tables` are. Raises ValueError if they are not of the task's size."""
        if tables.reward.shape != sizes(spec):
            raise ValueError(
                f"the tables are of {tables.reward.shape} states and actions, {spec.name} has {sizes(spec)}"
            )
        ends = jnp.maximum(1.0 - tables.transition.sum(-1, keepdims=True), 0.0)
        return cls(spec, jnp.cumsum(jnp.concatenate([tables.transition, ends], -1), -1), tables.reward)

    def known(self) -> Bool[Array, "states actions"]:
        return jnp.ones(self.reward.shape, bool)

    def add(self, state: Array, action: Array, reward: Array, outcome: Array) -> Self:
        return self

    def outcomes(self, state: Array, action: Array) -> tuple[Float[Array, " outcomes"], Float[Array, " outcomes"]]:
        chance = jnp.diff(self.cumulative[state, action], prepend=0.0)
        return chance, jnp.full_like(chance, self.reward[state, action])

    def draw(self, state: Array, action: Array, uniform: Array) -> tuple[Int[Array, ""], Float[Array, ""]]:
        cumulative = self.cumulative[state, action]
        return jnp.sum(cumulative <= uniform * cumulative[-1], dtype=jnp.int32), self.reward[state, action]

    def into(self, state: Array) -> Float[Array, "states actions"]:
        return jnp.diff(self.cumulative, axis=-1, prepend=0.0)[:, :, state]


class WrongTable(AbstractTable):
    """A model made wrong on purpose, to see what an agent does about it: `wrong` pairs lead to `outcome` instead."""

    spec: EnvSpec = eqx.field(static=True)
    inner: AbstractTable
    wrong: Bool[Array, "states actions"]
    outcome: Int[Array, "states actions"]

    @classmethod
    def at_random(cls, inner: AbstractTable, share: float, *, key: PRNGKeyArray) -> Self:
        """`share` of the pairs of `inner`, drawn, lead to a state that is drawn too. Raises ValueError outside 0..1."""
        if not 0 <= share <= 1:
            raise ValueError(f"share={share} must lie in 0..1")
        wrong_key, outcome_key = jr.split(key)
        shape = sizes(inner.spec)
        wrong = jr.uniform(wrong_key, shape) < share
        return cls(inner.spec, inner, wrong, jr.randint(outcome_key, shape, 0, shape[0]))

    def known(self) -> Bool[Array, "states actions"]:
        return self.inner.known()

    def add(self, state: Array, action: Array, reward: Array, outcome: Array) -> Self:
        return dataclasses.replace(self, inner=self.inner.add(state, action, reward, outcome))

    def outcomes(self, state: Array, action: Array) -> tuple[Float[Array, " outcomes"], Float[Array, " outcomes"]]:
        chance, reward = self.inner.outcomes(state, action)
        wrong = jax.nn.one_hot(self.outcome[state, action], len(chance))
        expected = jnp.full_like(reward, jnp.sum(chance * reward))
        here = self.wrong[state, action]
        return jnp.where(here, wrong, chance), jnp.where(here, expected, reward)

    def draw(self, state: Array, action: Array, uniform: Array) -> tuple[Int[Array, ""], Float[Array, ""]]:
        outcome, reward = self.inner.draw(state, action, uniform)
        return jnp.where(self.wrong[state, action], self.outcome[state, action], outcome), reward

    def into(self, state: Array) -> Float[Array, "states actions"]:
        return jnp.where(self.wrong, self.known() & (self.outcome == state), self.inner.into(state))


def sizes(spec: EnvSpec) -> tuple[int, int]:
    """How many states and actions there are. Raises ValueError for a task that does not number them."""
    if spec.num_states is None or not isinstance(spec.action, Discrete):
        seen = f"a vector of {spec.obs_dim}" if spec.num_states is None else "a number"
        raise ValueError(
            f"a table needs numbered states and actions; in {spec.name} an observation is {seen} and an action of "
            f"{spec.action}; take pets, dreamer-v3 or another agent with networks"
        )
    return spec.num_states, spec.action.n


def pair_and_outcome(spec: EnvSpec, rows: Transition) -> tuple[Array, Array, Array]:
    """State, action and outcome of transitions `[*batch, ...]`: the number of the next state, or of the end."""
    outcome = jnp.where(rows.terminated, spec.num_states or 0, spec.state_number(rows.next_obs))
    return spec.state_number(rows.obs), rows.action, outcome


def table_of(spec: EnvSpec, kind: str) -> AbstractTable:
    """A table without data. Raises ValueError unless `kind` is latest or counts, and for tasks without numbers."""
    kinds = {"latest": LatestOutcome, "counts": CountTable}
    if kind not in kinds:
        raise ValueError(f"model={kind!r} must be latest or counts")
    return kinds[kind].empty(spec)
