"""A trained policy on its own: predict, save, load."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from .catalogue import AGENTS
from .core import AbstractAgent, AbstractEnv
from .core.programs import compiled, shared
from .envs.interface import Interface
from .envs.make import OWN, make
from .errors import UserError, checked_path, clear_errors
from .models.simulator import Simulator
from .presets.bounds import Seed, checked_number
from .presets.values import from_dict
from .run.progress import broadcast, where_rows
from .storage import checkpoint, records
from .types import Box, Discrete, EnvSpec, Given, never_terminates


class Policy:
    """Chooses actions for one observation or a batch, in the environment's own form, and keeps each row's memory.

    `deterministic` leaves out exploration noise; planners still draw random candidates, from `seed`.
    """

    def __init__(self, agent: AbstractAgent, state: Any, *, seed: int = 0, meta: dict[str, Any] | None = None):
        self.agent, self.state, self.meta = agent, state, meta or {}
        self._key, self._count = jr.key(checked_number(Seed, seed, "seed")), 0
        self._interface = Interface.of(agent.spec, self.meta.get("spaces"))
        self._memory: Any = None
        self._rows = 0

        self._act, self._begin = shared(_programs, agent)

    def reset(self) -> None:
        """Forgets the episode: call it when the environment was reset."""
        self._memory = None

    def predict(
        self, obs: Any, *, deterministic: bool = True, episode_start: bool | np.ndarray | None = None
    ) -> np.ndarray:
        """The action that the environment's `step` takes after `obs`, or a batch of them for a batch of observations.

        `obs` is what a Gymnasium environment hands out, Dicts and Tuples included, or a batch as its vector
        environments stack them (a list of Dicts or Tuples too); of a JAX environment, `[obs]` or `[n, obs]`.
        `episode_start` says for which rows `obs` is the first of an episode; a new batch size starts all afresh.
        Raises UserError if the observation has the wrong shape, is not finite or lies outside a Discrete space.
        """
        rows, batch = self._interface.observations(obs)
        if self._memory is None or self._rows != len(rows):
            self._rows = len(rows)
            self._memory = broadcast(self.agent.init_memory(self.state), self._rows)
        elif episode_start is not None and np.any(episode_start):
            fresh = jnp.broadcast_to(jnp.asarray(episode_start, bool), (self._rows,))
            self._memory = self._begin(self.state, fresh, self._memory)
        key = jr.fold_in(self._key, self._count)
        self._count += 1
        action, self._memory = self._act(self.state, self._memory, jnp.asarray(rows), key, not deterministic)
        return self._interface.actions(np.asarray(action), batch)

    def save(self, path: str | Path) -> Path:
        """Writes arrays and their description to one `.npz` file; returns its path."""
        path = checked_path(path)
        path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
        if "agent" not in self.meta:
            raise UserError("this policy does not know what it was made of; save the run's policy instead")
        checkpoint.save(path, self.state, {"policy": self.meta})
        return path

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        env: Any = None,
        agent: AbstractAgent | None = None,
        reward: Any = None,
        termination: Any = None,
        seed: int = 0,
    ) -> Self:
        """The policy in a file that `save` wrote, or in an exported folder. Imports and calls nothing that it names.

        What the policy plans with and the file only names must be handed in: `env` where reward or termination are
        the environment's own (our own tasks are known), `reward` and `termination` where they were functions of
        yours, `agent` where it was. Raises UserError if something is missing, or the file is none, damaged, or does
        not fit.
        """
        path = checked_path(path)
        if path.is_dir():
            path /= "policy.npz"
        meta = checkpoint.read_meta(path)
        if "policy" not in meta:
            raise UserError(f"{path} holds no policy; give a file that `forethought export` or `save` wrote")
        meta = _checked(path, meta["policy"])
        chosen = agent
        if chosen is None:
            if meta["agent"] not in AGENTS:
                raise UserError(f"{path} needs your own agent {meta['agent']}; hand it in: Policy.load(..., agent=...)")
            entry = AGENTS[meta["agent"]]
            given = _given_again(path, meta, env, {"reward": reward, "termination": termination})
            config = from_dict(entry.config_type, meta["config"], f"{path}: config")
            with clear_errors(f"{path}"), _described(path):
                chosen = entry.build(_spec_from(meta["spec"]), config, given=given, rules=given.model)
        with clear_errors(f"{path}"), _described(path):
            like = eqx.filter_eval_shape(lambda: chosen.init(key=jr.key(0)))
        state, _ = checkpoint.load(path, like)
        return cls(chosen, state, seed=seed, meta=meta)


def _checked(path: str | Path, meta: Any) -> dict[str, Any]:
    """The manifest of a policy. Raises UserError naming the first invalid field."""
    where, remedy = str(path), "export the policy again"
    records.check(meta, records.PolicyRecord, where, remedy=remedy)
    records.check(meta["given"], records.GivenRecord, f"{where}: given", remedy=remedy)
    spec = records.check_spec(meta["spec"], f"{where}: spec", remedy)
    unknown = sorted(set(spec) - {field.name for field in dataclasses.fields(EnvSpec)})
    if unknown:
        raise UserError(f"{where}: spec.{unknown[0]} is unknown to this version; upgrade it, or {remedy}")
    return meta


@contextlib.contextmanager
def _described(path: str | Path) -> Iterator[None]:
    """Turns what a description that contradicts itself runs into (sizes that no array can have) into a UserError."""
    try:
        yield
    except (UserError, ValueError):
        raise
    except Exception as error:
        first = str(error).partition("\n")[0]
        raise UserError(f"{path} describes no policy that can be built ({first}); export the policy again") from error


def _programs(agent: AbstractAgent) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Acting for a batch, and the memory of the rows that begin an episode, compiled."""

    def act(state: Any, memory: Any, obs: Array, key: Array, explore: bool) -> tuple[Array, Any]:
        one = lambda m, o, k: agent.act(state, m, o, key=k, explore=explore)[:2]
        return jax.vmap(one)(memory, obs, jr.split(key, obs.shape[0]))

    def begin(state: Any, fresh: Array, memory: Any) -> Any:
        return where_rows(fresh, broadcast(agent.init_memory(state), fresh.shape[0]), memory)

    return compiled(act), compiled(begin)


def describe_spec(spec: EnvSpec) -> dict[str, Any]:
    """A spec as JSON can hold it."""
    action = {"n": spec.action.n} if isinstance(spec.action, Discrete) else dataclasses.asdict(spec.action)
    fields = {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec) if f.name != "action"}
    return {**fields, "action": action}


def _spec_from(values: dict[str, Any]) -> EnvSpec:
    action = values["action"]
    space = Discrete(action["n"]) if "n" in action else Box(tuple(action["low"]), tuple(action["high"]))
    image = values.get("image")
    tuples = {"angle_dims": tuple(values["angle_dims"]), "image": None if image is None else tuple(image)}
    return EnvSpec(**{**values, "action": space, **tuples})


def _given_again(path: str | Path, meta: dict[str, Any], env: Any, functions: dict[str, Any]) -> Given:
    """The functions that the policy plans with: handed in, the environment's own, or none."""
    given, world = meta["given"], None
    if "env" in given.values() or "model" in given:
        if env is None and meta["env"] not in OWN:
            raise UserError(f"{path} plans with functions of {meta['env']}; hand it in: Policy.load(..., env=...)")
        kwargs = meta.get("env_kwargs") if env is None or (isinstance(env, str) and env == meta["env"]) else None
        repeat = meta["spec"]["action_repeat"]
        world = make(meta["env"] if env is None else env, action_repeat=repeat, env_kwargs=kwargs)
    own = {"reward": world and world.reward_function, "termination": world and world.termination_function}
    for kind, function in functions.items():
        if function is None and given[kind] == "never":
            functions = functions | {kind: never_terminates}
        elif function is None and given[kind] == "env":
            functions = functions | {kind: own[kind]}
        elif function is None and given[kind] != "learned":
            raise UserError(f"{path} plans with your {kind} function {given[kind]}; hand it in: {kind}=...")
    model = Simulator(world) if "model" in given and isinstance(world, AbstractEnv) else None
    return Given(functions["reward"], functions["termination"], model)
