"""What agents with tables share: choosing actions, one-step learning, and which pairs have been met."""

import dataclasses
from typing import Generic, NamedTuple, Self

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core import AbstractAgent, AbstractReplay, Data, Round, Schedule, State
from ..models.tabular import pair_and_outcome, sizes
from ..replay.uniform import UniformReplay
from ..types import EnvSpec

ActionValues = Float[Array, "states actions"]


class AbstractOnlineAgent(AbstractAgent[State, None], Generic[State]):
    """An agent that learns from every real step as it comes, and remembers nothing within an episode."""

    @property
    def schedule(self) -> Schedule:
        return Schedule(0, (Round("values", 0, inline=True),), single_env=True)

    def data(self, capacity: int, num_envs: int) -> Data:
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs)}

    def init_memory(self, state: State) -> None:
        return None


class Step(NamedTuple):
    """One real step, in numbers; `outcome` is the next state, or the number of states for the end."""

    state: Int[Array, ""]
    action: Int[Array, ""]
    reward: Float[Array, ""]
    outcome: Int[Array, ""]


def latest_step(spec: EnvSpec, replay: AbstractReplay) -> Step:
    """The last step of the replay."""
    row = replay.latest(1)
    state, action, outcome = (x[0] for x in pair_and_outcome(spec, row))
    return Step(state, action, row.reward[0], outcome)


def best_action(values: Float[Array, " actions"], *, key: PRNGKeyArray) -> Int[Array, ""]:
    """One of the actions of the highest value, all alike likely."""
    return jnp.argmax(jnp.where(values == values.max(), jr.uniform(key, values.shape), -1.0))


def epsilon_greedy(values: Float[Array, " actions"], epsilon: float | Array, *, key: PRNGKeyArray) -> Int[Array, ""]:
    """A uniform action with probability `epsilon`, else a best one."""
    best_key, chance_key, any_key = jr.split(key, 3)
    anything = jr.randint(any_key, (), 0, len(values))
    return jnp.where(jr.uniform(chance_key) < epsilon, anything, best_action(values, key=best_key))


def best_after(q: ActionValues, outcome: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
    """The value of the best action in an outcome; 0 at the end."""
    end = q.shape[0]
    return jnp.where(outcome == end, 0.0, q[jnp.minimum(outcome, end - 1)].max(-1))


def q_learning_error(q: ActionValues, step: Step, discount: float) -> Float[Array, ""]:
    """r + discount max_a Q(s', a) - Q(s, a) (Watkins 1989)."""
    return step.reward + discount * best_after(q, step.outcome) - q[step.state, step.action]


class Met(eqx.Module):
    """The states that have been visited, in the order of their first visits, and how often each pair was tried."""

    order: Int[Array, " states"]
    visited: Int[Array, ""]  # how many entries of `order` are in use
    tries: Int[Array, "states actions"]

    @classmethod
    def nothing(cls, spec: EnvSpec) -> Self:
        """Before the first step."""
        states, actions = sizes(spec)
        zero = jnp.zeros((), jnp.int32)
        return cls(jnp.zeros(states, jnp.int32), zero, jnp.zeros((states, actions), jnp.int32))

    def add(self, state: Int[Array, ""], action: Int[Array, ""]) -> Self:
        """With one more try of a pair."""
        new = ~self.tries[state].any()
        order = self.order.at[jnp.where(new, self.visited, len(self.order))].set(state, mode="drop")
        tries = self.tries.at[state, action].add(1)
        return dataclasses.replace(self, order=order, visited=self.visited + new, tries=tries)

    def draw_state(self, uniform: Float[Array, ""]) -> Int[Array, ""]:
        """A visited state, by a number that is uniform in [0, 1)."""
        place = jnp.floor(uniform * self.visited).astype(jnp.int32)
        return self.order[jnp.clip(place, 0, jnp.maximum(self.visited - 1, 0))]


def draw_action(allowed: Bool[Array, " actions"], uniform: Float[Array, " actions"]) -> Int[Array, ""]:
    """One of the allowed actions, all alike likely; any where none is."""
    return jnp.argmax(jnp.where(allowed, uniform, -1.0))
