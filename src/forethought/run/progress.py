"""What a driver yields, and what both drivers share: keys, the bookkeeping of a step, additions to data sets."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import AbstractAgent, AbstractEnv, AbstractReplay, Additions, Clock, HostStep
from ..core.programs import compiled
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
    starts = agent.schedule.num_start_states
    return stream(key, RESET, episode if starts is None else episode % starts)


def round_key(key: PRNGKeyArray, index: int, count: Int[Array, ""] | int) -> PRNGKeyArray:
    """What call number `count` of round number `index` is called with."""
    return stream(key, UPDATE if index == 0 else EVALUATE + index, count)


class Episodes(eqx.Module):
    """The latest finished episodes, in a ring."""

    returns: Float[Array, " ring"]
    lengths: Int[Array, " ring"]  # environment steps
    ends: Int[Array, " ring"]  # environment step of the run at which the episode ended
    count: Int[Array, ""]  # episodes finished so far

    @classmethod
    def empty(cls, ring: int) -> "Episodes":
        """No episode yet."""
        zeros = lambda *shape: jnp.zeros(shape, jnp.int32)  # buffers of their own, to be donated
        return cls(jnp.zeros(ring), zeros(ring), zeros(ring), zeros())

    def add(self, over: Array | np.ndarray, returns: Array, lengths: Array, step: Array) -> "Episodes":
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
    data: dict[str, AbstractReplay]  # what is learned from, by name; `env` is what was met
    env: "EnvCarry"
    key: PRNGKeyArray
    clock: Clock
    episodes: Episodes
    fault: Fault
    metrics: dict[str, Metrics]  # by round, of its latest call; without the rounds not called since the last yield

    @property
    def env_steps(self) -> Int[Array, ""]:
        """Simulator steps so far, action repeats included."""
        return self.clock.env_steps

    @property
    def updates(self) -> Int[Array, ""]:
        """Calls of all rounds so far."""
        return jnp.sum(self.clock.calls)


class EnvCarry(eqx.Module):
    """The environments in the middle of their episodes; leaves `[num_envs, ...]`."""

    state: Any  # None where they are stepped from Python
    obs: Float[Array, "num_envs obs"]
    memory: Any
    returns: Float[Array, " num_envs"]
    lengths: Int[Array, " num_envs"]
    episode: Int[Array, " num_envs"]  # episode i + num_envs * k is the k-th of environment i

    @classmethod
    def first(cls, agent: AbstractAgent, agent_state: Any, env_state: Any, obs: Array) -> "EnvCarry":
        """Before the first step of the first episodes."""
        n = len(obs)
        memory = broadcast(agent.init_memory(agent_state), n)
        return cls(env_state, obs, memory, jnp.zeros(n), jnp.zeros(n, jnp.int32), jnp.arange(n, dtype=jnp.int32))


def first_progress(
    agent: AbstractAgent,
    agent_state: Any,
    data: dict[str, AbstractReplay],
    carry: EnvCarry,
    key: PRNGKeyArray,
    *,
    ring: int,
) -> Progress:
    """The progress of a run before its first step; it remembers the latest `ring` episodes."""
    clock, num_envs = Clock.start(len(agent.schedule.rounds)), len(carry.obs)
    fault = Fault.none(agent.spec.action.sample((num_envs,), key=key))
    return strongly_typed(Progress(agent_state, data, carry, key, clock, Episodes.empty(ring), fault, {}))


class Recorded(NamedTuple):
    """What one step of the environments changes in a progress."""

    carry: EnvCarry
    clock: Clock
    episodes: Episodes
    seen: Transition  # what `env` takes in, of the environments where the step is valid


def recorded(
    agent: AbstractAgent,
    agent_state: Any,
    before: tuple[EnvCarry, Clock, Episodes],
    action: Array,
    memory: Any,
    extras: Any,
    step: HostStep,
    *,
    env_state: Any = None,
    taken: Callable[[Array], Array] = jnp.sum,
) -> Recorded:
    """The bookkeeping of one step, traced: returns, lengths, episodes, memories of fresh episodes, the clock.

    `taken` sums up simulator steps.
    """
    carry, clock, episodes = before
    seen = Transition(carry.obs, action, step.reward, step.next_obs, step.terminated, step.truncated, extras)
    over = step.valid & (step.terminated | step.truncated)
    steps = jnp.where(step.valid, step.steps, 0)
    returns = carry.returns + jnp.where(step.valid, step.reward, 0.0)
    lengths, num_envs = carry.lengths + steps, len(carry.obs)
    after = Clock(clock.env_steps + taken(steps), clock.ticks + 1, clock.calls)
    memory = where_rows(step.fresh, broadcast(agent.init_memory(agent_state), num_envs), memory)
    new = EnvCarry(
        env_state,
        step.obs,
        memory,
        jnp.where(over, 0.0, returns),
        jnp.where(over, 0, lengths),
        carry.episode + num_envs * over,
    )
    return Recorded(new, after, episodes.add(over, returns, lengths, after.env_steps), seen)


def called(
    agent: AbstractAgent, index: int, state: Any, data: dict[str, AbstractReplay], *, clock: Clock, key: PRNGKeyArray
) -> tuple[Any, Additions, Metrics]:
    """What a call of a round answers: state, additions, metrics.

    Raises UserError for additions to a data set that there is not, and for a metric that is no scalar.
    """
    name = agent.schedule.rounds[index].name
    draw = round_key(key, index, clock.calls[index])
    state, additions, metrics = agent.update(state, data, round=name, clock=clock, key=draw)
    if unknown := [each for each in additions if each not in data]:
        raise UserError(
            f"round {name}: additions for {', '.join(unknown)}; the agent's data sets are {', '.join(data)}"
        )
    for metric, value in metrics.items():
        if np.ndim(value):
            shape = np.shape(value)
            raise UserError(f"round {name}: metric {metric} has shape {shape}, wanted a scalar, such as its mean")
    return state, additions, metrics


def appended(data: dict[str, AbstractReplay], additions: Additions) -> dict[str, AbstractReplay]:
    """The data sets with what a round adds to them."""
    return {name: each.extended(additions[name]) if name in additions else each for name, each in data.items()}


append = compiled(lambda _, data, additions: appended(data, additions), donate=True)
"""`append(None, data, additions)`: `appended`, compiled, with the buffers of `data` used again."""


def broadcast(tree: Any, count: int) -> Any:
    """`tree` repeated along a new leading axis."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *jnp.shape(x))), tree)


def no_extras(agent: AbstractAgent, agent_state: Any, carry: EnvCarry) -> Any:
    """What stands for the extras of steps whose actions the agent did not choose: zeros, leaves `[num_envs, ...]`."""
    act = lambda m, o: agent.act(agent_state, m, o, key=jr.key(0), explore=True)[2]
    example = jax.eval_shape(jax.vmap(act), carry.memory, carry.obs)
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), example)


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


def where_rows(mask: Array | np.ndarray, new: Any, old: Any) -> Any:
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
    for name, value in jax.device_get(metrics).items():
        if not np.all(np.isfinite(value)):
            remedy = "a smaller learning rate is the usual remedy"
            if update == 1:
                remedy = "so early, rewards or observations are too large: scale them"
            raise TrainingFault(
                f"{name} became {np.asarray(value).tolist()} in update {update} at step {env_steps}; {remedy}"
            )
