"""A trained policy on its own: predict, save, load."""

from pathlib import Path
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from .core import AbstractAgent
from .errors import UserError
from .run.progress import broadcast, where_rows
from .types import Box


class Policy:
    """Chooses actions for one observation `[obs]` or a batch `[n, obs]`, and keeps each row's episode memory.

    `deterministic` leaves out exploration noise; planners still draw random candidates, from `seed`.
    """

    def __init__(self, agent: AbstractAgent, state: Any, *, seed: int = 0, meta: dict[str, Any] | None = None):
        self.agent, self.state, self.meta = agent, state, meta or {}
        self._key, self._count = jr.key(seed), 0
        self._memory: Any = None
        self._rows = 0

        def act(state: Any, memory: Any, obs: Array, key: Array, explore: bool) -> tuple[Array, Any]:
            one = lambda m, o, k: agent.act(state, m, o, key=k, explore=explore)[:2]
            return jax.vmap(one)(memory, obs, jr.split(key, obs.shape[0]))

        self._act = eqx.filter_jit(act)
        self._begin = eqx.filter_jit(
            lambda state, fresh, memory: where_rows(fresh, broadcast(agent.init_memory(state), fresh.shape[0]), memory)
        )

    def reset(self) -> None:
        """Forgets the episode: call it when the environment was reset."""
        self._memory = None

    def predict(
        self, obs: Any, *, deterministic: bool = True, episode_start: bool | np.ndarray | None = None
    ) -> np.ndarray:
        """The action `[*action]` for `obs [obs]`, or actions `[n, *action]` for `obs [n, obs]`.

        `episode_start` says for which rows `obs` is the first of an episode; a new batch size starts all afresh.
        Raises UserError if the observation has the wrong shape or is not finite.
        """
        obs = np.asarray(obs, np.float32)
        size = self.agent.spec.obs_dim
        if obs.ndim not in (1, 2) or obs.shape[-1] != size:
            raise UserError(f"obs has shape {obs.shape}, wanted ({size},) or (n, {size})")
        if not np.all(np.isfinite(obs)):
            raise UserError(f"obs is not finite: {obs.tolist()}")
        rows = obs.reshape(-1, size)
        if self._memory is None or self._rows != len(rows):
            self._rows = len(rows)
            self._memory = broadcast(self.agent.init_memory(self.state), self._rows)
        elif episode_start is not None and np.any(episode_start):
            fresh = jnp.broadcast_to(jnp.asarray(episode_start, bool), (self._rows,))
            self._memory = self._begin(self.state, fresh, self._memory)
        key = jr.fold_in(self._key, self._count)
        self._count += 1
        action, self._memory = self._act(self.state, self._memory, jnp.asarray(rows), key, not deterministic)
        action = np.asarray(action)
        if isinstance(self.agent.spec.action, Box):
            bounds = self.agent.spec.action
            action = np.clip(action, np.asarray(bounds.low, np.float32), np.asarray(bounds.high, np.float32))
        return action if obs.ndim == 2 else action[0]

    def save(self, path: str | Path) -> Path:
        """Writes arrays and their description to one `.npz` file; returns its path."""
        from .storage import checkpoint

        path = Path(path)
        path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
        if "agent" not in self.meta:
            raise UserError("this policy does not know what it was made of; save the run's policy instead")
        checkpoint.save(path, self.state, {"policy": self.meta})
        return path

    @classmethod
    def load(cls, path: str | Path, *, env: Any = None, agent: AbstractAgent | None = None, seed: int = 0) -> Self:
        """The policy in a file that `save` wrote. Runs no code from the file.

        `env` stands in for an environment that cannot be found by its name (an object that was handed to `train`),
        `agent` for an agent that was. Raises UserError if the file is none, damaged, or does not fit.
        """
        from .presets.run import RunConfig
        from .presets.values import from_dict
        from .setup import build
        from .storage import checkpoint

        meta = checkpoint.read_meta(path)
        if "policy" not in meta:
            raise UserError(f"{path} holds no policy; give a file that `forethought export` or `save` wrote")
        meta = meta["policy"]
        from .catalogue import AGENTS

        config = from_dict(AGENTS[meta["agent"]].config_type, meta["config"]) if meta["agent"] in AGENTS else None
        run = RunConfig(
            reward=meta["given"]["reward"] if agent is None else "learned",
            termination=meta["given"]["termination"] if agent is None else "learned",
            action_repeat=meta["action_repeat"],
            oracle="model" in meta["given"],
        )
        setup = build(agent or meta["agent"], meta["env"] if env is None else env, config=config, run=run)
        like = eqx.filter_eval_shape(lambda: setup.agent.init(key=jr.key(0)))
        state, _ = checkpoint.load(path, like)
        return cls(setup.agent, state, seed=seed, meta=meta)
