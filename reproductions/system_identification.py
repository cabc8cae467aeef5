"""Mass, length and damping of three mechanical systems from 200 noisy steps.

    python reproductions/system_identification.py measure   # writes reproductions/system-identification.json
    python reproductions/system_identification.py show      # table in docs/models.md, from this file

Every seed draws actions, held for four steps, and noise anew. The search starts at twice or half the true parameters.
Beside it: least squares on single steps, from each observation to the next.
"""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from scipy.optimize import least_squares
from writing import DOCS, HERE, load, measure_or_show, put, table, write_raw

from forethought.envs import equations
from forethought.models.parametric import Parametric, SystemIdentification
from forethought.replay.uniform import UniformReplay
from forethought.types import Box, EnvSpec, Given, Transition, never_terminates

SEEDS, STEPS, HOLD = 10, 200, 4
RAW = HERE / "system-identification.json"
GIVEN = Given(lambda obs, action, next_obs: jnp.zeros(()), never_terminates)
SYSTEMS: dict[str, dict[str, Any]] = {
    "pendulum": {
        "equations": equations.pendulum,
        "true": {"mass": 1.2, "length": 0.8, "damping": 0.15},
        "spec": EnvSpec("pendulum", 3, Box((-2.0,), (2.0,))),
        "start": [-1.0, 0.0, 0.0],
        "noise": [0.02, 0.02, 0.1],
    },
    "cart-pole": {
        "equations": equations.cartpole_swingup,
        "true": {"cart_mass": 0.5, "pole_mass": 0.4, "length": 0.6, "damping": 0.2},
        "spec": EnvSpec("cart-pole", 4, Box((-10.0,), (10.0,)), angle_dims=(1,)),
        "start": [0.0, 0.3, 0.0, 0.0],
        "noise": [0.02, 0.02, 0.1, 0.2],
    },
    "bicycle": {
        "equations": equations.bicycle,
        "true": {"mass": 1.2, "length": 2.6, "damping": 0.2},
        "spec": EnvSpec("bicycle", 4, Box((-4.0, -0.5), (4.0, 0.5)), angle_dims=(2,)),
        "start": [0.0, 0.0, 0.0, 5.0],
        "noise": [0.1, 0.1, 0.02, 0.1],
    },
}
SYSTEMS["pendulum, more noise"] = SYSTEMS["pendulum"] | {"noise": [0.05, 0.05, 0.2]}


def guess(true: dict[str, float]) -> dict[str, float]:
    """Twice the first parameter, half the second, and so on."""
    return {name: value * (2.0, 0.5)[i % 2] for i, (name, value) in enumerate(true.items())}


def noisy_steps(system: dict[str, Any], key: Any) -> Transition:
    """`STEPS` steps of the true system, with noise on what is seen."""
    act_key, noise_key = jr.split(key)
    action = jnp.repeat(system["spec"].action.sample((STEPS // HOLD,), key=act_key), HOLD, 0)

    def step(obs: Any, a: Any) -> tuple[Any, Any]:
        obs = system["equations"](system["true"], obs, a)
        return obs, obs

    start = jnp.array(system["start"])
    obs = jnp.concatenate([start[None], jax.lax.scan(step, start, action)[1]])
    obs = obs + jnp.array(system["noise"]) * jr.normal(noise_key, obs.shape)
    no = jnp.zeros(STEPS, bool)
    return Transition(obs[:-1], action, jnp.zeros(STEPS), obs[1:], no, no.at[-1].set(True))


def single_steps(model: Parametric, data: Transition) -> list[float]:
    """Parameters by least squares from each observation to the next, weighed by the spread of the changes."""
    scale = jnp.std(model.spec.difference(data.next_obs, data.obs), 0)
    shown = jax.jit(lambda theta: jax.vmap(lambda o, a: model.simulate(theta, o, a))(data.obs, data.action))
    miss = lambda theta: np.ravel(model.spec.difference(data.next_obs, shown(jnp.asarray(theta, jnp.float32))) / scale)
    slope = jax.jit(jax.jacfwd(lambda t: jnp.ravel(-shown(t) / scale)))
    found = least_squares(miss, np.asarray(model.theta), lambda t: np.asarray(slope(jnp.asarray(t, jnp.float32))))
    return [float(v) for v in model.values(jnp.asarray(found.x)).values()]


def measure() -> dict[str, Any]:
    """By system: per seed the fitted parameters, their standard errors, and what single steps give."""
    systems = {}
    for name, system in SYSTEMS.items():
        model = Parametric(system["equations"], guess(system["true"]), system["spec"], GIVEN)
        learner = SystemIdentification(model, num_stretches=16)

        @jax.jit
        def fit(key: Any, learner: Any = learner, system: Any = system) -> Any:
            data = noisy_steps(system, key)
            fitted, metrics = learner.fit(UniformReplay.empty(learner.model.spec, STEPS).add(data), key=key)
            model = fitted.model
            return list(model.values(model.theta).values()), list(model.standard_errors.values()), metrics, data

        rows = []
        for seed in range(SEEDS):
            values, errors, metrics, data = fit(jr.key(seed))
            rows.append(
                {
                    "fitted": [round(float(v), 6) for v in values],
                    "standard_errors": [round(float(v), 6) for v in errors],
                    "single_steps": [round(v, 6) for v in single_steps(model, data)],
                    "not_determined": int(metrics["model/not_determined"]),
                }
            )
            sys.stderr.write(f"{name} {seed}: {rows[-1]}\n")
        systems[name] = {
            "true": system["true"],
            "guess": guess(system["true"]),
            "noise": system["noise"],
            "seeds": rows,
        }
    return {"steps": STEPS, "systems": systems}


def errors(raw: dict[str, Any], system: str, kind: str = "fitted") -> np.ndarray:
    """Relative errors `[seeds, parameters]`; of `kind` standard_errors, the stated ones."""
    true = np.array(list(raw["systems"][system]["true"].values()))
    found = np.array([row[kind] for row in raw["systems"][system]["seeds"]])
    return found / true if kind == "standard_errors" else found / true - 1


def identification_table(raw: dict[str, Any]) -> str:
    """Errors in per cent."""
    percent = lambda x: f"{100 * x:.2f} %"
    rows = []
    for name, system in raw["systems"].items():
        found, stated = errors(raw, name), errors(raw, name, "standard_errors")
        single = errors(raw, name, "single_steps")
        for i, parameter in enumerate(system["true"]):
            rms = np.sqrt(np.mean(found[:, i] ** 2))
            shown = [np.median(np.abs(found[:, i])), np.max(np.abs(found[:, i])), rms, np.mean(stated[:, i])]
            cells = [percent(x) for x in [*shown, np.median(np.abs(single[:, i]))]]
            rows.append([name, parameter.replace("_", " "), *cells])
    header = ["system", "parameter", "median error", "largest of ten", "RMS", "stated standard error", "single steps"]
    return table(header, rows)


if __name__ == "__main__":
    measure_or_show(
        __doc__,
        lambda: write_raw(RAW, measure()),
        lambda: put(DOCS / "models.md", "system identification", identification_table(load(RAW))),
    )
