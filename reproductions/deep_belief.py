"""Next observations of a slippery gridworld: a deep belief network, an MLP of its size, and persistence.

    python reproductions/deep_belief.py measure   # writes reproductions/deep-belief.json
    python reproductions/deep_belief.py show      # table in docs/models.md, from this file

The task `gridworld` (75 bits), where with probability `slip` an action drawn uniformly is executed in place of the
chosen one. Every seed draws free squares and actions uniformly: 2,000 transitions to learn from and 4,000 to judge by.
The error is the squared difference of the expected bits and those that came, summed over an observation's bits. The MLP
has as many weights, two hidden layers, cross-entropy, Adam, and as many gradient steps of as large batches. The deep
belief network's expectation is the mean of 200 draws.
"""

import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from writing import DOCS, HERE, load, measure_or_show, put, table, write_raw

from forethought.diagnostics.statistics import bootstrap_interval
from forethought.envs.gridworld import MAZE, GridWorld, read
from forethought.envs.task import TaskState
from forethought.fit import adam
from forethought.models.deep_belief import DeepBelief, GreedyLearner
from forethought.networks.layers import MLP
from forethought.replay.uniform import UniformReplay
from forethought.types import Given, Transition

SEEDS, SLIPS, TRAINING_ROWS, TEST_ROWS = 10, (0.2, 0.0), 2000, 4000
HIDDEN, DEPTH, STEPS, BATCH, GIBBS, DRAWS = 128, 2, 5000, 64, 5, 200
RAW = HERE / "deep-belief.json"
ENV = GridWorld()
ARMS = {"network": "deep belief network", "mlp": "MLP", "persistence": "nothing changes", "true": "true probabilities"}


FREE = np.argwhere(~(read(MAZE).walls | read(MAZE).goals)).astype(np.float32)


def rows(n: int, slip: float, key: Any) -> tuple[Transition, Any, Any]:
    """`n` transitions, the true probabilities of the next bits `[n, obs]`, and which of all pairs of free square and
    action each row is."""
    keys = jr.split(key, 4)
    index = jr.randint(keys[0], (n,), 0, len(FREE))
    place = jnp.asarray(FREE)[index]
    action, other = (jr.randint(k, (n,), 0, 4) for k in keys[1:3])
    done = jnp.where(jr.uniform(keys[3], (n,)) < slip, other, action)

    def step(place: Any, a: Any) -> Any:
        return ENV.step(TaskState(place, jnp.zeros((), jnp.int32)), a, key=key)[1:4]

    obs = jax.vmap(ENV.observe)(place)
    next_obs, reward, terminated = jax.vmap(step)(place, done)
    each = jax.vmap(lambda p: jax.vmap(lambda a: step(p, a)[0])(jnp.arange(4)))(place) / 255.0
    true = (1 - slip) * jnp.take_along_axis(each, action[:, None, None], 1)[:, 0] + slip * jnp.mean(each, 1)
    return Transition(obs, action, reward, next_obs, terminated, jnp.zeros(n, bool)), true, index * 4 + action


def count(tree: Any) -> int:
    """Numbers in a tree."""
    return sum(x.size for x in jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array)))


def mlp_like(model: DeepBelief) -> int:
    """The width at which an MLP of two layers has at most as many numbers as `model`."""
    condition, bits = model.layers[0].to_hidden.shape[0], ENV.spec.obs_dim
    size = lambda w: condition * w + w + w * w + w + w * bits + bits
    return max(w for w in range(1, 1000) if size(w) <= count(model))


def fitted_mlp(width: int, data: Transition, condition: Any, bits: Any, key: Any) -> MLP:
    """Trained on the cross-entropy of every bit; its step size falls as that of the deep belief network."""
    network = MLP(condition.shape[1], bits.shape[1], (width, width), norm="none", activation="silu", key=key)
    steps, optimiser = STEPS * DEPTH, adam(3e-3)

    def loss(network: MLP, pick: Any) -> Any:
        logit = network(condition[pick])
        return jnp.mean(jnp.sum(jax.nn.softplus(logit) - bits[pick] * logit, -1))

    def step(i: Any, carry: Any) -> Any:
        network, state = eqx.combine(carry[0], static), carry[1]
        slope = eqx.filter_grad(loss)(network, jr.randint(jr.fold_in(key, i), (BATCH,), 0, len(bits)))
        updates, state = optimiser.update(slope, state)
        updates = jax.tree.map(lambda u: 0.1 ** (i / steps) * u, updates)
        return eqx.filter(eqx.apply_updates(network, updates), eqx.is_array), state

    dynamic, static = eqx.partition(network, eqx.is_array)
    return eqx.combine(jax.lax.fori_loop(0, steps, step, (dynamic, optimiser.init(dynamic)))[0], static)


def one_seed(slip: float, key: Any) -> dict[str, dict[str, Any]]:
    """By arm: squared error of the expected bits, and how many bits are wrong where they are rounded."""
    keys = jr.split(key, 6)
    (data, _, _), (test, true, pair) = rows(TRAINING_ROWS, slip, keys[0]), rows(TEST_ROWS, slip, keys[1])
    given = Given(ENV.reward_function, ENV.termination_function)
    model = DeepBelief(ENV.spec, given=given, hidden=HIDDEN, depth=DEPTH, gibbs_steps=GIBBS, key=keys[2])
    learner = GreedyLearner(model, steps=STEPS, batch_size=BATCH, learning_rate=1e-2, divergence_steps=GIBBS)
    model = learner.fit(UniformReplay.empty(ENV.spec, TRAINING_ROWS).add(data), key=keys[3])[0].model
    condition, test_condition = model.condition(data.obs, data.action), model.condition(test.obs, test.action)
    mlp = fitted_mlp(mlp_like(model), data, condition, model.bits(data.next_obs), keys[4])
    pairs = jnp.repeat(jax.vmap(ENV.observe)(jnp.asarray(FREE)), 4, 0), jnp.tile(jnp.arange(4), len(FREE))
    expected = {
        "network": model.expected(*pairs, draws=DRAWS, key=keys[5])[pair],
        "mlp": jax.nn.sigmoid(mlp(test_condition)),
        "persistence": model.bits(test.obs),
        "true": true,
    }
    came = model.bits(test.next_obs)
    error = lambda p: jnp.mean(jnp.sum((p - came) ** 2, -1))
    return {arm: {"error": error(p), "wrong_bits": error((p > 0.5) * 1.0)} for arm, p in expected.items()}


def measure() -> dict[str, Any]:
    """By slip, arm and measure: a value for each seed."""
    cells = {}
    for slip in SLIPS:
        run = eqx.filter_jit(lambda key, slip=slip: one_seed(slip, key))
        found = []
        for seed in range(SEEDS):
            found.append(jax.tree.map(lambda x: round(float(x), 5), run(jr.key(100 + seed))))
            sys.stderr.write(f"slip {slip}, seed {seed}: {found[-1]}\n")
        cells[str(slip)] = jax.tree.map(lambda *each: list(each), *found)
    example = DeepBelief(
        ENV.spec, given=Given(ENV.reward_function, ENV.termination_function), hidden=HIDDEN, key=jr.key(0)
    )
    sizes = {"deep_belief": count(example), "mlp_width": mlp_like(example)}
    return {
        "hidden": HIDDEN,
        "depth": DEPTH,
        "gibbs": GIBBS,
        "steps_per_layer": STEPS,
        "batch": BATCH,
        "draws": DRAWS,
        "sizes": sizes,
        "slips": cells,
    }


def error_table(raw: dict[str, Any]) -> str:
    """Means over seeds, with bootstrap intervals."""
    cells = []
    for slip, found in raw["slips"].items():
        for arm, name in ARMS.items():
            band = bootstrap_interval(np.array(found[arm]["error"]), np.mean)
            ratio = np.array(found[arm]["error"]) / np.maximum(found["mlp"]["error"], 1e-9)
            over = f"{np.mean(ratio):.3f} ({min(ratio):.3f} to {max(ratio):.3f})" if float(slip) else ""
            error = f"{band.estimate:.4f} ({band.low:.4f}, {band.high:.4f})"
            cells.append([slip, name, error, over, f"{np.mean(found[arm]['wrong_bits']):.4f}"])
    return table(["slip", "", "squared error", "in errors of the MLP (seeds)", "wrong bits"], cells)


if __name__ == "__main__":
    measure_or_show(
        __doc__,
        lambda: write_raw(RAW, measure()),
        lambda: put(DOCS / "models.md", "deep belief", error_table(load(RAW))),
    )
