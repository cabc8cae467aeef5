"""What a driver yields, and the rules that both drivers share: when to update, and which key is used for what."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import AbstractAgent, AbstractEnv, AbstractReplay
from ..errors import EnvironmentFault, TrainingFault, UserError
from ..types import Metrics, Transition

# Streams of randomness. Every draw of a run is `fold_in` of (run key, stream, counter), so it does not depend on
# how the run was cut into calls: this is what makes resuming exact.
INIT, RESET, ACT, STEP, UPDATE, EVALUATE = range(6)


def stream(key: PRNGKeyArray, name: int, count: Int[Array, ""] | int) -> PRNGKeyArray:
    """The key for draw number `count` of a stream."""
    return jr.fold_in(jr.fold_in(key, name), count)


def reset_key(agent: AbstractAgent, key: PRNGKeyArray, episode: Int[Array, ""] | int) -> PRNGKeyArray:
    """What episode number `episode` of training is reset with."""
    return stream(key, RESET, episode if agent.starts is None else episode % agent.starts)


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


OVERFLOW = "the sum of an episode's rewards overflows float32; scale the rewards"


class Fault(eqx.Module):
    """The first step with a non-finite number: `code` 0 none, 1 action, 2 observation or reward, 3 sum of rewards."""

    code: Int[Array, ""]
    step: Int[Array, ""]  # environment step of the run
    action: Array  # [num_envs, *action] of that step

    @classmethod
    def none(cls, action: Array) -> "Fault":
        """Nothing met yet; `action` gives shape and type."""
        zero = jnp.zeros((), jnp.int32)
        return cls(zero, zero, jnp.zeros_like(action))

    def note(self, transition: Transition, env_steps: Array, returns: Array | None = None) -> "Fault":
        """Itself, or what is not finite in this step if it is the first; leaves `[num_envs, ...]`.

        `returns` are the sums of rewards in the episodes so far.
        """
        action = ~jnp.all(jnp.isfinite(transition.action))
        seen = ~jnp.all(jnp.isfinite(transition.next_obs)) | ~jnp.all(jnp.isfinite(transition.reward))
        sums = jnp.zeros((), bool) if returns is None else ~jnp.all(jnp.isfinite(returns))
        code = jnp.where(action, 1, jnp.where(seen, 2, jnp.where(sums, 3, 0)))
        new = Fault(code.astype(jnp.int32), env_steps, transition.action)
        return jax.tree.map(lambda n, o: jnp.where((self.code == 0) & (new.code > 0), n, o), new, self)

    def error(self, env: str) -> UserError | None:
        """What to raise, or None."""
        code, step = np.ravel(np.asarray(self.code)), np.ravel(np.asarray(self.step))
        if not code.any():
            return None
        k = int(np.argmax(code > 0))
        action = np.asarray(self.action).reshape(len(code), -1)[k].tolist()
        if code[k] == 1:
            return TrainingFault(
                f"the agent chose the non-finite action {action} at step {step[k]} of the run on {env}"
            )
        where = f"at step {step[k]} of the run, after action {action}"
        if code[k] == 3:
            return EnvironmentFault(f"{env}: {OVERFLOW} ({where})")
        return EnvironmentFault(f"{env} returned a non-finite observation or reward {where}")


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


def kept_extras(agent: AbstractAgent, said: Any, count: int) -> Any:
    """Extras for the replay, leaves `[count, ...]`: what `act` said, zeros where it was not asked, None where the agent
    keeps none."""
    if agent.extras is None:
        return None
    return broadcast(jax.tree.map(jnp.zeros_like, agent.extras), count) if said is None else said


def sound_step(env: AbstractEnv, out: tuple, steps: Array) -> tuple[Any, Array, Array, Array, Array, Array]:
    """What one traced `counted_step` returned, its flags as bools, and its simulator steps.

    Raises EnvironmentFault where shapes or types are not those of the interface.
    """
    wanted = (("observation", 1, (env.spec.obs_dim,), "fiub"), ("reward", 2, (), "fiub"))
    for name, i, shape, kinds in (*wanted, ("terminated", 3, (), "bui"), ("truncated", 4, (), "bui")):
        got = jnp.asarray(out[i])
        if got.shape != shape or got.dtype.kind not in kinds:
            kind = "bool" if kinds[0] == "b" else "float32"
            raise EnvironmentFault(
                f"environment {env.spec.name}: step returned {name} as {got.dtype} of shape {got.shape}, wanted {kind} "
                f"of shape {shape}; mend the environment"
            )
    state, obs, reward, *flags = out
    terminated, truncated = (jnp.asarray(flag) != 0 for flag in flags)
    return state, obs, reward, terminated, truncated, steps


def over_rows(function: Callable[..., Any], *trees: Any) -> Any:
    """`function` of each row of `trees`, leaves `[rows, ...]`.

    A single row is not vmapped: a `cond` inside then runs one branch, where under vmap it runs both and selects.
    """
    rows = jnp.shape(next(x for x in jax.tree.leaves(trees) if eqx.is_array(x)))[0]
    if rows > 1:
        return jax.vmap(function)(*trees)
    return jax.tree.map(lambda x: x[None], function(*jax.tree.map(lambda x: x[0], trees)))


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


def strongly_typed(tree: Any) -> Any:
    """`tree` without weakly typed arrays, which would make every jitted function compile twice."""

    def fix(x: Any) -> Any:
        if not eqx.is_array(x) or jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return x
        with jax.enable_x64(True):  # float64 leaves stay so, whatever the caller's setting
            return jax.lax.convert_element_type(x, x.dtype)

    return jax.tree.map(fix, tree)


def check_metrics(metrics: Metrics, *, update: int, env_steps: int) -> None:
    """Raises TrainingFault naming the first metric that is not finite."""
    for name, value in metrics.items():
        if not np.all(np.isfinite(np.asarray(value))):
            raise TrainingFault(
                f"{name} became {np.asarray(value).tolist()} in update {update} at step {env_steps}; "
                "a smaller learning rate is the usual remedy"
            )
