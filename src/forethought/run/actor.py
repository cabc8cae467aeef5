"""Acting in several environments at once, a fixed number of refinements or to a deadline."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from ..core import AbstractAgent, AbstractPlanningAgent
from ..core.programs import compiled, shared
from ..errors import UserError


class Latency:
    """How long actions took against their deadline, in milliseconds."""

    def __init__(self, deadline_ms: float):
        self.deadline_ms, self.taken = deadline_ms, []

    def summary(self) -> dict[str, float]:
        """`p50_ms`, `p99_ms`, `misses` (actions later than the deadline) and `actions`; empty before any."""
        if not self.taken:
            return {}
        taken = np.asarray(self.taken)
        return {
            "deadline_ms": self.deadline_ms,
            "p50_ms": float(np.percentile(taken, 50)),
            "p99_ms": float(np.percentile(taken, 99)),
            "misses": int(np.sum(taken > self.deadline_ms)),
            "actions": len(taken),
        }

    def sentence(self) -> str:
        """The summary in words."""
        found = self.summary()
        if not found:
            return "no action was timed"
        return (
            f"latency of {found['actions']} actions: median {found['p50_ms']:.1f} ms, 99 % within "
            f"{found['p99_ms']:.1f} ms, {found['misses']} later than {found['deadline_ms']:g} ms"
        )


class _Programs(NamedTuple):
    """Acting in several environments at once; `refine` is `begin` to `best` cut into its parts, for planning agents."""

    act: Callable[..., Any]  # (state, memory, obs, keys)
    begin: Callable[..., Any]  # (state, memory, obs, keys)
    refine: Callable[..., Any]  # (state, search, keys, count)
    best: Callable[..., Any]  # (state, memory, search, keys)


def _programs(agent: Any, explore: bool) -> _Programs:
    act = lambda s: lambda m, o, k: agent.act(s, m, o, key=k, explore=explore)
    begin = lambda s: lambda m, o, k: agent.begin(s, m, o, key=k)
    refine = lambda s, i: lambda x, k: agent.refine(s, x, key=jr.fold_in(k, i), explore=explore)
    best = lambda s: lambda m, x, k: agent.best(s, m, x, key=k, explore=explore)
    return _Programs(
        compiled(lambda s, m, o, k: jax.vmap(act(s))(m, o, k)),
        compiled(lambda s, m, o, k: jax.vmap(begin(s))(m, o, k)),
        compiled(lambda s, search, k, i: jax.vmap(refine(s, i))(search, k)),
        compiled(lambda s, m, x, k: jax.vmap(best(s))(m, x, k)),
    )


class Actor:
    """Batched, compiled `act`; with `plan_ms`, refines until the time is up instead of a fixed number of times."""

    def __init__(self, agent: AbstractAgent, *, explore: bool, plan_ms: float | None = None):
        """Raises UserError if the agent cannot plan to a deadline, ValueError for one that is not positive."""
        self.plan_ms, self.latency = plan_ms, Latency(plan_ms or 0.0)
        self._programs = shared(_programs, agent, explore)
        if plan_ms is None:
            return
        if not plan_ms > 0:
            raise ValueError(f"plan_ms={plan_ms} must be above 0 milliseconds")
        if not isinstance(agent, AbstractPlanningAgent):
            raise UserError(
                f"{type(agent).__name__} has no search that can be cut short, so it takes no deadline: leave it out"
            )
        self._refine_ms = self._best_ms = 0.0  # the longest of late, forgotten slowly

    def __call__(self, state: Any, memory: Any, obs: Array, keys: PRNGKeyArray) -> tuple[Array, Any, Any]:
        """Actions `[num_envs, *action]`, memories and extras."""
        if self.plan_ms is None:
            return self._programs.act(state, memory, obs, keys)
        begun = time.perf_counter()
        keys = jax.vmap(lambda k: jr.split(k, 3))(keys)
        search = self._programs.begin(state, memory, obs, keys[:, 0])
        count = 0
        # Stops when another refinement and the answer, as long as they took lately, would not be done in time.
        while count == 0 or (time.perf_counter() - begun) * 1e3 + self._refine_ms + self._best_ms < self.plan_ms:
            started = time.perf_counter()
            # An array: every new Python number would be compiled anew.
            search = jax.block_until_ready(self._programs.refine(state, search, keys[:, 1], jnp.asarray(count)))
            self._refine_ms = max((time.perf_counter() - started) * 1e3, 0.95 * self._refine_ms)
            count += 1
        started = time.perf_counter()
        answer = jax.block_until_ready(self._programs.best(state, memory, search, keys[:, 2]))
        self._best_ms = max((time.perf_counter() - started) * 1e3, 0.95 * self._best_ms)
        self.latency.taken.append((time.perf_counter() - begun) * 1e3)
        return answer

    def warm_up(self, state: Any, memory: Any, obs: Array, keys: PRNGKeyArray) -> None:
        """Compiles before the clock runs, so that the first action does not miss its deadline."""
        for _ in range(2):
            self(state, memory, obs, keys)
            self._refine_ms = self._best_ms = 0.0  # the first call compiled
        self.latency.taken.clear()
