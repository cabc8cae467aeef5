"""Coverage of 90 % intervals on a heteroscedastic set: plain Gaussian networks, and the last-layer Laplace posterior.

    python reproductions/bayesian_network.py measure   # writes reproductions/bayesian-network.json
    python reproductions/bayesian_network.py show      # table in docs/models.md, from this file

The change of an observation x in [-3, 3] under an action a in [-1, 1] is sin(2 x) + a / 2 plus noise of standard
deviation 0.05 + 0.3 / (1 + exp(-2 x)). Every seed draws its own training set and network; 4,000 fresh rows judge.
"""

import dataclasses
import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from writing import DOCS, HERE, load, measure_or_show, put, table, write_raw

from forethought.diagnostics.statistics import bootstrap_interval
from forethought.fit import GradientLearner
from forethought.learners.model_planning import ensemble_learner
from forethought.models.bayesian_network import BayesianNetwork, LaplaceLearner
from forethought.presets.parts import EnsembleConfig
from forethought.replay.uniform import UniformReplay
from forethought.types import Box, EnvSpec, Given, Transition, never_terminates

SEEDS, SIZES, TEST_ROWS = 10, (200, 800), 4000
RAW = HERE / "bayesian-network.json"
SPEC = EnvSpec("waves", 1, Box((-1.0,), (1.0,)))
GIVEN = Given(lambda obs, action, next_obs: next_obs[0], never_terminates)
STEPS = {"learning_rate": 1e-3, "epochs": 1, "min_steps": 3000, "batch_size": 32}
ROUNDS, NOISE_STEPS = 20, 500
PLAIN = EnsembleConfig(num_members=1, particles=1, hidden=(64, 64), bootstrap=False, **STEPS)
ARMS = {
    "plain": "plain Gaussian network (`Ensemble`, one member)",
    "noise": "network of the Bayesian one, its noise alone",
    "posterior": "the same with the posterior",
    "bayesian": "Bayesian network: posterior, and noise fitted under it",
}


def rows(n: int, key: Any) -> Transition:
    """`n` transitions."""
    keys = jr.split(key, 3)
    obs, action = jr.uniform(keys[0], (n, 1), minval=-3, maxval=3), SPEC.action.sample((n,), key=keys[1])
    std = 0.05 + 0.3 * jax.nn.sigmoid(2 * obs)
    change = jnp.sin(2 * obs) + 0.5 * action + std * jr.normal(keys[2], (n, 1))
    no = jnp.zeros(n, bool)
    return Transition(obs, action, change[:, 0], obs + change, no, no)


def judged(mean: Any, variance: Any, test: Transition) -> dict[str, Any]:
    """Shares inside the central 90 % interval, in all and where noise is small and large, and mean log-density."""
    z = (test.next_obs - mean) / jnp.sqrt(variance)
    inside, quiet = jnp.abs(z[:, 0]) < 1.6448536, test.obs[:, 0] < 0
    return {
        "coverage": jnp.mean(inside),
        "quiet": jnp.mean(inside, where=quiet),
        "loud": jnp.mean(inside, where=~quiet),
        "log_density": jnp.mean(-0.5 * (z**2 + jnp.log(2 * jnp.pi * variance))),
    }


def one_seed(size: int, key: Any) -> dict[str, dict[str, Any]]:
    """By arm, what its intervals hold."""
    keys = jr.split(key, 5)
    replay, test = UniformReplay.empty(SPEC, size).add(rows(size, keys[0])), rows(TEST_ROWS, keys[1])
    plain, _ = ensemble_learner(SPEC, PLAIN, given=GIVEN, key=keys[2]).fit(replay, key=keys[3])
    belief = jax.vmap(lambda o, a: plain.model.step(plain.model.init(o, key=key), a[None], key=key)[0])
    said = belief(test.obs, test.action)
    found = {"plain": judged(said.mean[:, 0], said.variance[:, 0], test)}
    network = BayesianNetwork(SPEC, given=GIVEN, hidden=PLAIN.hidden, key=keys[2])
    for name, rounds in {"posterior": 0, "bayesian": ROUNDS}.items():
        fitted, _ = LaplaceLearner(
            GradientLearner(network, bootstrap=False, **STEPS), rounds=rounds, noise_steps=NOISE_STEPS
        ).fit(replay, key=keys[4])
        model = fitted.model
        said = model.predictive(test.obs, test.action)
        found[name] = judged(said.mean(), said.variance(), test)
        if name == "posterior":
            x = model.encode(test.obs, test.action)
            noise = jnp.exp(model.logvar(x)) * model.targets.scale**2
            found["noise"] = judged(said.mean(), noise, test)
    return found


def measure() -> dict[str, Any]:
    """By size of the training set, arm and measure: a value for each seed."""
    cells = {}
    for size in SIZES:
        found = eqx.filter_jit(jax.vmap(lambda key, size=size: one_seed(size, key)))(
            jr.split(jr.key(1000 + size), SEEDS)
        )
        cells[str(size)] = jax.tree.map(lambda x: [round(float(v), 4) for v in x], found)
        sys.stderr.write(f"{size}: {jax.tree.map(lambda x: round(float(np.mean(x)), 4), found)}\n")
    return {
        "steps": STEPS,
        "rounds": ROUNDS,
        "noise_steps": NOISE_STEPS,
        "plain": dataclasses.asdict(PLAIN),
        "test_rows": TEST_ROWS,
        "rows": cells,
    }


def coverage_table(raw: dict[str, Any]) -> str:
    """Means over seeds, with bootstrap intervals."""
    cells = []
    for size in raw["rows"]:
        for arm, name in ARMS.items():
            found = raw["rows"][size][arm]
            band = bootstrap_interval(np.array(found["coverage"]), np.mean)
            share = f"{100 * band.estimate:.1f} % ({100 * band.low:.1f}, {100 * band.high:.1f})"
            each = f"{100 * min(found['coverage']):.0f} to {100 * max(found['coverage']):.0f} %"
            parts = [f"{100 * np.mean(found[part]):.1f} %" for part in ("quiet", "loud")]
            cells.append([size, name, share, each, *parts, f"{np.mean(found['log_density']):.2f}"])
    header = ["rows", "model", "inside 90 % intervals", "seeds", "small noise", "large noise", "log-density"]
    return table(header, cells)


if __name__ == "__main__":
    measure_or_show(
        __doc__,
        lambda: write_raw(RAW, measure()),
        lambda: put(DOCS / "models.md", "coverage", coverage_table(load(RAW))),
    )
