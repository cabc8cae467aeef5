"""FrozenLake and Taxi, solved from samples of a learned table.

    python reproductions/toy_text.py measure   # writes reproductions/model-samples/toy-text.json
    python reproductions/toy_text.py show      # the table in docs/algorithms/model-samples.md, from this file

For each seed, uniformly random actions fill a replay. The table is fitted to it, and each method learns from samples of
the table alone: one round, no other real step. What its greedy policy is worth is worked out exactly from the true
probabilities that these environments hold, over as many steps as an episode may have; so is the most that any policy
is worth.
"""

import dataclasses
import sys
from typing import Any

import equinox as eqx
import gymnasium
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from writing import DOCS, HERE, load, measure_or_show, put, table, write_raw

from forethought.agents.model_samples import ModelSamples
from forethought.core import Clock
from forethought.envs.make import make
from forethought.presets.model_samples import ModelSamplesConfig
from forethought.presets.values import to_dict
from forethought.replay.uniform import UniformReplay
from forethought.types import EnvSpec, Transition

SEEDS = range(3)
METHODS = ("q-learning", "sarsa", "monte-carlo", "policy-iteration")
RAW = HERE / "model-samples" / "toy-text.json"
LIMITS = {"FrozenLake-v1": 100, "Taxi-v4": 200}
SETTINGS = {
    "FrozenLake-v1": (50_000, ModelSamplesConfig(samples=500_000)),
    "Taxi-v4": (100_000, ModelSamplesConfig(samples=2_000_000, step_size=0.05)),
}
# Whole episodes as targets: noisier, and all that comes after one wrong action counts against the right one before it.
MORE = {
    "FrozenLake-v1": {"monte-carlo": {"samples": 2_000_000, "step_size": 0.002}},
    "Taxi-v4": {"monte-carlo": {"samples": 20_000_000, "step_size": 0.02, "horizon": 50}},
}


def truth(env: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chance of going on in each state, expected reward, and where episodes begin."""
    inner: Any = gymnasium.make(env).unwrapped
    states, actions = inner.observation_space.n, inner.action_space.n
    going_on, reward = np.zeros((states, actions, states)), np.zeros((states, actions))
    for state, by_action in inner.P.items():
        for action, branches in by_action.items():
            for chance, following, gain, over in branches:
                going_on[state, action, following] += chance * (not over)
                reward[state, action] += chance * gain
    return going_on, reward, np.asarray(inner.initial_state_distrib, float)


def worth(env: str, policy: np.ndarray | None) -> float:
    """The expected return of an episode under a policy `[states]`; None: under the best of all."""
    going_on, reward, start = truth(env)
    values = np.zeros(len(start))
    for _ in range(LIMITS[env]):
        q = reward + going_on @ values
        values = q.max(-1) if policy is None else q[np.arange(len(start)), policy]
    return float(start @ values)


def random_steps(env: str, spec: EnvSpec, steps: int, seed: int) -> UniformReplay:
    """A replay of so many steps with uniformly random actions."""
    world, rng, rows = gymnasium.make(env), np.random.default_rng(seed), []
    obs, _ = world.reset(seed=seed)
    for _ in range(steps):
        action = int(rng.integers(spec.action.feature_dim))
        following, reward, terminated, truncated, _ = world.step(action)
        rows.append((obs, action, reward, following, terminated, truncated))
        obs = world.reset()[0] if terminated or truncated else following
    columns = [np.array(column) for column in zip(*rows)]
    seen, action, reward, following, *over = columns
    number = lambda x: jnp.asarray(x[:, None], jnp.float32)
    more = jnp.asarray(reward, jnp.float32), number(following), *map(jnp.asarray, over)
    return UniformReplay.empty(spec, steps).add(Transition(number(seen), jnp.asarray(action, jnp.int32), *more))


def learned(agent: ModelSamples, replay: Any, key: Any) -> Any:
    """The agent's state after one round on a replay."""
    state = agent.init(key=key)
    return agent.update(state, {"env": replay}, round="values", clock=Clock.start(1), key=key)[0]


def measure() -> dict[str, Any]:
    """By environment and method, the worth of the greedy policy of each seed."""
    found: dict[str, Any] = {}
    for env, (steps, config) in SETTINGS.items():
        spec = make(env, host=True).spec
        replays = [random_steps(env, spec, steps, seed) for seed in SEEDS]
        cells: dict[str, Any] = {"best": round(worth(env, None), 4)}
        threshold, configs = gymnasium.spec(env).reward_threshold, {}
        for method in METHODS:
            one = dataclasses.replace(config, method=method, **MORE[env].get(method, {}))
            agent, configs[method] = ModelSamples(spec, one), to_dict(one)
            update = eqx.filter_jit(lambda replay, key, agent=agent: learned(agent, replay, key))
            states = [update(replay, jr.key(seed)) for seed, replay in zip(SEEDS, replays)]
            cells[method] = [round(worth(env, np.asarray(state.q).argmax(-1)), 4) for state in states]
            sys.stderr.write(f"{env}, {method}: {cells[method]} (best {cells['best']}, threshold {threshold})\n")
        found[env] = cells | {"threshold": threshold, "steps": steps, "configs": configs}
    return {"seeds": list(SEEDS), "environments": found}


def worth_table(raw: dict[str, Any]) -> str:
    """The worth of the policies, seed by seed."""
    rows = []
    for env, cells in raw["environments"].items():
        for method in METHODS:
            listed = ", ".join(f"{x:.3g}" for x in cells[method])
            threshold = "none" if cells["threshold"] is None else f"{cells['threshold']:g}"
            samples = "" if method == "policy-iteration" else f"{cells['configs'][method]['samples']:,}"
            cell = [f"`{env}`", f"{cells['steps']:,}", method, samples, listed]
            rows.append([*cell, f"{cells['best']:.3g}", threshold])
    heads = [
        "environment",
        "random steps",
        "method",
        "steps of the model",
        "return of each seed's policy",
        "the most possible",
    ]
    return table([*heads, "Gymnasium's threshold"], rows)


if __name__ == "__main__":
    measure_or_show(
        __doc__,
        lambda: write_raw(RAW, measure()),
        lambda: put(DOCS / "algorithms" / "model-samples.md", "toy text", worth_table(load(RAW))),
    )
