"""Exact planning in tables: a policy's worth, value iteration, policy iteration (Sutton & Barto 2018, chapter 4)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from ..types import Tables
from . import checks

NEVER_ENDS = (
    "with discount=1 values exist only where every policy comes to an end, and here a goal may be out of reach; give a "
    "discount below 1, or a model that ends"
)


class Solution(eqx.Module):
    """What a planner found."""

    action_values: Float[Array, "states actions"]
    rounds: Int[Array, ""]  # sweeps over all states, or policies
    settled: Bool[Array, ""]  # whether it came to rest before the rounds were over

    @property
    def values(self) -> Float[Array, " states"]:
        """Of the best action in each state."""
        return self.action_values.max(-1)

    @property
    def policy(self) -> Int[Array, " states"]:
        """The first of the best actions in each state."""
        return jnp.argmax(self.action_values, -1)


def backup(tables: Tables, values: Float[Array, " states"], discount: float) -> Float[Array, "states actions"]:
    """r + discount E[V(s')] of every pair; the end is worth 0."""
    return tables.reward + discount * tables.transition @ values


def evaluate(tables: Tables, policy: Float[Array, "states actions"], discount: float) -> Float[Array, " states"]:
    """The values of a policy, given as probabilities: the linear equations of Bellman, solved.

    Raises ValueError where they have no solution, unless traced: with discount=1, a policy that never ends.
    """
    check(tables, discount)
    values = _worth(tables, policy, discount)
    if not isinstance(values, Tracer) and not jnp.isfinite(values).all():
        raise ValueError(f"the policy has no finite values: {NEVER_ENDS}")
    return values


def value_iteration(tables: Tables, *, discount: float, tolerance: float = 1e-6, max_sweeps: int = 10_000) -> Solution:
    """Sweeps of optimal backups until none changes a value by more than `tolerance`, or by that share of the largest.

    Raises ValueError for tables that are empty or no probabilities and, unless traced, where values do not settle.
    """
    check(tables, discount)
    checks.whole_number("max_sweeps", max_sweeps)

    def sweep(carry: tuple) -> tuple:
        values, count, _ = carry
        new = backup(tables, values, discount).max(-1)
        change = jnp.max(jnp.abs(new - values)) / jnp.maximum(1.0, jnp.max(jnp.abs(new)))
        return new, count + 1, change

    carry = (jnp.zeros(tables.reward.shape[0]), jnp.zeros((), jnp.int32), jnp.array(jnp.inf))
    go_on = lambda carry: (carry[1] < max_sweeps) & (carry[2] > tolerance)
    values, count, change = jax.lax.while_loop(go_on, sweep, carry)
    return _checked(Solution(backup(tables, values, discount), count, change <= tolerance), "sweeps")


def policy_iteration(tables: Tables, *, discount: float, max_policies: int = 1000) -> Solution:
    """Solves for the values of a policy and makes it greedy, until no action is better than the one it takes.

    Raises ValueError for tables that are empty or no probabilities and, unless traced, where values do not settle.
    """
    check(tables, discount)
    checks.whole_number("max_policies", max_policies)
    states, actions = tables.reward.shape

    def improve(carry: tuple) -> tuple:
        policy, _, count, _ = carry
        q = backup(tables, _worth(tables, jax.nn.one_hot(policy, actions), discount), discount)
        taken = q[jnp.arange(states), policy]
        # Rounding must not swap actions of equal worth for ever.
        better = q.max(-1) > taken + 1e-5 * jnp.maximum(1.0, jnp.abs(taken))
        return jnp.where(better, jnp.argmax(q, -1), policy), q, count + 1, ~better.any() & jnp.isfinite(q).all()

    begin = jnp.argmax(tables.reward, -1), jnp.zeros((states, actions)), jnp.zeros((), jnp.int32), jnp.array(False)
    go_on = lambda carry: (carry[2] < max_policies) & ~carry[3] & jnp.isfinite(carry[1]).all()
    _, q, count, settled = jax.lax.while_loop(go_on, improve, begin)
    return _checked(Solution(q, count, settled), "policies")


def check(tables: Tables, discount: float) -> None:
    """Raises ValueError for a discount outside 0..1, and for tables that are empty or no probabilities."""
    checks.fraction("discount", discount)
    states, actions = tables.reward.shape
    if not states or not actions:
        raise ValueError(f"the tables are empty: {states} states, {actions} actions; give at least one of each")
    if tables.transition.shape != (states, actions, states):
        raise ValueError(f"transition has shape {tables.transition.shape}, wanted {(states, actions, states)}")
    if isinstance(tables.transition, Tracer):
        return
    total = tables.transition.sum(-1)
    wrong = (tables.transition.min(-1) < 0) | (total > 1 + 1e-5) | ~jnp.isfinite(total + tables.reward)
    if wrong.any():
        state, action = (int(i) for i in jnp.argwhere(wrong)[0])
        raise ValueError(
            f"transition[{state}, {action}] sums to {float(total[state, action]):g} with lowest "
            f"{float(tables.transition[state, action].min()):g} and reward {float(tables.reward[state, action]):g}; "
            "wanted probabilities with a sum of at most 1, and a finite reward"
        )


def _worth(tables: Tables, policy: Float[Array, "states actions"], discount: float) -> Float[Array, " states"]:
    """The values of a policy; NaN where it has none."""
    going_on = jnp.einsum("sa,sat->st", policy, tables.transition)
    values = jnp.linalg.solve(jnp.eye(len(policy)) - discount * going_on, jnp.sum(policy * tables.reward, -1))
    if discount < 1:
        return values
    # Rounding hides that the equations are singular, so whether all ends is looked up.
    ends = going_on.sum(-1) < 1 - 1e-5
    ends = jax.lax.fori_loop(0, len(policy), lambda _, ends: ends | (going_on @ ends.astype(jnp.float32) > 0), ends)
    return jnp.where(ends.all(), values, jnp.nan)


def _checked(solution: Solution, rounds: str) -> Solution:
    if not isinstance(solution.settled, Tracer) and not solution.settled:
        raise ValueError(f"values do not settle within {int(solution.rounds)} {rounds}: {NEVER_ENDS}")
    return solution
