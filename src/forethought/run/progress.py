"""What a driver yields, and the rules that both drivers share: when to update, and which key is used for what."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import AbstractAgent, AbstractReplay
from ..types import Metrics

# Streams of randomness. Every draw of a run is `fold_in` of (run key, stream, counter), so it does not depend on
# how the run was cut into calls: this is what makes resuming exact.
INIT, RESET, ACT, STEP, UPDATE, EVALUATE = range(6)


def stream(key: PRNGKeyArray, name: int, count: Int[Array, ""] | int) -> PRNGKeyArray:
    """The key for draw number `count` of a stream."""
    return jr.fold_in(jr.fold_in(key, name), count)


class Episodes(eqx.Module):
    """The latest finished episodes, in a ring."""

    returns: Float[Array, " ring"]
    lengths: Int[Array, " ring"]  # environment steps
    ends: Int[Array, " ring"]  # environment step of the run at which the episode ended
    count: Int[Array, ""]  # episodes finished so far

    @classmethod
    def empty(cls, ring: int) -> "Episodes":
        """No episode yet."""
        zeros = jnp.zeros(ring, jnp.int32)
        return cls(jnp.zeros(ring), zeros, zeros, jnp.zeros((), jnp.int32))

    def add(self, over: Array, returns: Array, lengths: Array, step: Array) -> "Episodes":
        """With the episodes of the environments where `over` appended; arguments are `[num_envs]`."""
        ring = self.returns.shape[0]
        place = self.count + jnp.cumsum(over) - 1
        place = jnp.where(over, place % ring, ring)  # out of range: dropped
        put = lambda store, new: store.at[place].set(new, mode="drop")
        return Episodes(
            put(self.returns, returns),
            put(self.lengths, lengths),
            put(self.ends, jnp.broadcast_to(step, lengths.shape)),
            self.count + jnp.sum(over),
        )

    def since(self, count: int) -> list[tuple[int, float, int, int]]:
        """`(episode, return, length, ended at step)` of the episodes after the first `count`, oldest first."""
        total, ring = int(self.count), self.returns.shape[0]
        returns, lengths, ends = np.asarray(self.returns), np.asarray(self.lengths), np.asarray(self.ends)
        return [
            (k, float(returns[k % ring]), int(lengths[k % ring]), int(ends[k % ring]))
            for k in range(max(count, total - ring), total)
        ]


class Fault(eqx.Module):
    """The first non-finite number met while collecting: `code` 0 none, 1 action, 2 observation or reward."""

    code: Int[Array, ""]
    step: Int[Array, ""]  # environment step of the run

    @classmethod
    def none(cls) -> "Fault":
        """Nothing met yet."""
        return cls(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


class Progress(eqx.Module):
    """Everything that a run needs to go on: one PyTree, so one call saves it.

    Its buffers are donated to the driver: a `Progress` is valid until the generator is advanced. Copy it to keep it.
    """

    agent_state: Any
    replay: AbstractReplay
    env: Any  # what the driver carries of the environments: states, observations, memories, running returns
    key: PRNGKeyArray
    env_steps: Int[Array, ""]  # simulator steps, action repeats included
    updates: Int[Array, ""]
    episodes: Episodes
    fault: Fault
    metrics: Metrics  # of the latest update; empty where there was none since the last yield


def updates_due(agent: AbstractAgent, env_steps: int) -> int:
    """How many updates a run should have made after `env_steps`: one at `random_steps`, then every `update_every`."""
    first, every = agent.random_steps, agent.update_every
    if every is None:
        return int(0 < first <= env_steps)
    if first == 0:
        return env_steps // every
    return 0 if env_steps < first else 1 + (env_steps - first) // every


def steps_to_next_update(agent: AbstractAgent, env_steps: int, total_steps: int) -> int:
    """Environment steps until the next update is due, the random phase ends, or the run does."""
    first, every = agent.random_steps, agent.update_every
    if env_steps < first:
        goal = first
    elif every is None:
        goal = total_steps
    else:
        goal = first + ((env_steps - first) // every + 1) * every
    return min(goal, total_steps) - env_steps


def broadcast(tree: Any, count: int) -> Any:
    """`tree` repeated along a new leading axis."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *jnp.shape(x))), tree)


def where_rows(mask: Array, new: Any, old: Any) -> Any:
    """Rows of `new` where `mask`, of `old` elsewhere; leaves `[rows, ...]`, static leaves from `new`."""

    def choose(n: Any, o: Any) -> Any:
        if not eqx.is_array(n):
            return n
        if jnp.issubdtype(n.dtype, jax.dtypes.prng_key):
            data = jnp.where(mask.reshape(-1, *[1] * (jr.key_data(n).ndim - 1)), jr.key_data(n), jr.key_data(o))
            return jr.wrap_key_data(data, impl=jr.key_impl(n))
        return jnp.where(mask.reshape(-1, *[1] * (n.ndim - 1)), n, o)

    return jax.tree.map(choose, new, old)
