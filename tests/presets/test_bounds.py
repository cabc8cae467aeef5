"""Numbers of the Python interface: whole floats and NumPy's numbers are taken, nothing wraps, errors are one line."""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny import CONFIGS, Averaging, Walk, empty_data

import forethought
from forethought.agents.dreamer_v1 import DreamerV1
from forethought.agents.dreamer_v3 import DreamerV3
from forethought.catalogue import AGENTS
from forethought.errors import UserError
from forethought.fit import GradientLearner
from forethought.learners.schedule import GradientSteps
from forethought.presets.bounds import Fraction, Natural, Part, Positive, Real, Seed, checked_number
from forethought.presets.dreamer_v3 import DreamerV3Config
from forethought.presets.run import RunConfig
from forethought.presets.values import checked, merged
from forethought.run.jit import JitDriver
from forethought.setup import build


@pytest.mark.parametrize("value", [3, 3.0, 3e0, np.int64(3), np.float32(3), np.array(3), jnp.asarray(3)])
def test_a_whole_number_of_any_type_is_an_int(value):
    found = checked_number(int, value, "steps")
    assert found == 3 and type(found) is int


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        (int, 2.5, "steps=2.5 must be a whole number"),
        (int, True, "steps=True must be a whole number"),
        (int, "7", "steps='7' must be a whole number"),
        (int, None, "steps=None must be a whole number"),
        (int, [1], r"steps=\[1\] must be a whole number"),
        (int, np.zeros(2), "must be a whole number"),
        (int, math.nan, "steps=nan must be a finite number"),
        (int, math.inf, "steps=inf must be a finite number"),
        (int, 0, "steps=0 must be at least 1"),
        (int, 2**31, "steps=2147483648 must be at most 2147483647"),
        (Natural, -1, "steps=-1 must be at least 0"),
        (Seed, 2**32, "steps=4294967296 must be at most 4294967295"),
        (float, -0.5, "steps=-0.5 must be at least 0"),
        (float, 1e39, "steps=1e[+]39 must be at most 3.4e[+]38"),
        (float, 10**400, "must be at most"),
        (float, 1j, "steps=1j must be a number"),
        (Positive, 0, "steps=0 must be above 0"),
        (Positive | None, math.nan, "steps=nan must be a finite number"),
        (Fraction, 1.5, "steps=1.5 must be at most 1"),
        (Part, 1.0, "steps=1.0 must be below 1"),
        (Real, -math.inf, "steps=-inf must be a finite number"),
    ],
)
def test_another_number_is_refused_in_one_line(kind, value, says):
    with pytest.raises(UserError, match=says) as caught:
        checked_number(kind, value, "steps")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("agent", AGENTS)
def test_all_presets_are_within_their_own_bounds(agent):
    for name, config in AGENTS[agent].presets.items():
        assert checked(config) == config, name


def test_a_run_takes_whole_floats_and_records_whole_numbers():
    run = build("pets", Walk, config=CONFIGS["pets"], run=RunConfig(steps=1e2, seed=np.float64(3.0))).run
    assert (run.steps, type(run.steps), run.seed, type(run.seed)) == (100, int, 3, int)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ({"seed": 2**32 + 5}, "seed=4294967301 must be at most"),
        ({"seed": 2**32 - 1, "num_seeds": 2}, "the last seed, 4294967296, must be at most"),
        ({"num_seeds": 10**9}, "num_seeds=1000000000 must be at most 1000000"),
        ({"steps": 1.5}, "steps=1.5 must be a whole number"),
        ({"checkpoint_seconds": math.nan}, "checkpoint_seconds=nan"),
        ({"stop_at_return": "high"}, "stop_at_return='high' must be a number"),
        ({"video": 3}, "video=3 must be of type bool"),
        ({"device": "tpu"}, "device='tpu' must be one of 'auto', 'cpu', 'gpu'"),
    ],
)
def test_a_run_of_other_numbers_is_refused(run, says):
    with pytest.raises(UserError, match=says):
        build("pets", Walk, config=CONFIGS["pets"], run=RunConfig(**run))


def test_a_config_of_other_numbers_is_refused():
    model = dataclasses.replace(CONFIGS["pets"].model, epochs=0)
    with pytest.raises(UserError, match=r"model.epochs=0 must be at least 1"):
        build("pets", Walk, config=dataclasses.replace(CONFIGS["pets"], model=model), run=RunConfig())


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: forethought.make_env("pendulum", num_envs=1.5), "num_envs=1.5"),
        (lambda: forethought.make_env("pendulum", action_repeat=math.nan), "action_repeat=nan"),
        (lambda: forethought.check_env("pendulum", num_steps=math.inf), "num_steps=inf"),
        (lambda: forethought.check_env("pendulum", seed=2**32), "seed=4294967296"),
        (lambda: forethought.doctor("nowhere", horizon=10**8), "horizon=100000000 must be at most 10000"),
        (lambda: forethought.Policy(None, None, seed=-1), "seed=-1"),
        (lambda: forethought.train("pets", Walk, steps="many"), "steps='many' must be a whole number"),
        (lambda: forethought.train("pets", Walk, seed=2**32 + 5), "seed=4294967301 must be at most"),
    ],
)
def test_every_number_of_the_python_interface_is_checked(call, says):
    with pytest.raises(UserError, match=says):
        call()


def test_the_last_seeds_go_side_by_side_with_keys_of_their_own():
    driver = JitDriver(Averaging(), Walk(), num_seeds=2)
    eqx.filter_eval_shape(lambda: driver.start(empty_data(), seed=2**32 - 2))
    seeds = (3, 2**31, 2**32 - 1)
    together = jr.key_data(jax.vmap(jr.key)(jnp.array(seeds, jnp.uint32)))
    assert [row.tolist() for row in together] == [jr.key_data(jr.key(seed)).tolist() for seed in seeds]


def test_changes_are_merged_by_dotted_names_and_nested_tables_alike():
    base = AGENTS["pets"].preset("default")
    dotted = merged(base, {"model.hidden": [32, 32], "update-every": 1e2})
    assert dotted == merged(base, {"model": {"hidden": (32, 32)}, "update_every": 100})
    assert dotted.model.hidden == (32, 32) and dotted.model.epochs == base.model.epochs
    assert dotted.update_every == 100 and dotted.planner == base.planner


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model.hiden": [8]}, "unknown setting model.hiden; did you mean model.hidden"),
        ({"modle": {"hidden": [8]}}, "unknown setting modle; did you mean model"),
        ({"hidden": [8]}, "unknown setting hidden; did you mean model.hidden"),
        ({"model": 3}, "model=3 must be a table of settings"),
        ({"model.hidden.0": 3}, "unknown setting model.hidden.0; model.hidden is a single value"),
        ({"model.hidden": 32}, r"model.hidden=32 must be a list, such as \[200, 200\]"),
        ({"model.hidden": ["a"]}, r"model.hidden\[0\]='a' must be a whole number"),
        ({"planner.kind": "magic"}, "planner.kind='magic' must be one of 'cem'"),
        ([("a", 1)], "must be a table of settings"),
        ({"model.weight_decay": -1}, "model.weight_decay=-1 must be at least 0"),
        ({"model": {"hidden": [8]}, "model.hidden": [9]}, "setting model.hidden is given twice; leave one out"),
        ({7: 1}, "unknown setting 7"),
    ],
)
def test_unknown_and_wrong_settings_are_named_with_the_nearest(changes, says):
    with pytest.raises(UserError, match=says):
        merged(AGENTS["pets"].preset("default"), changes)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "make",
    [
        lambda bad: DreamerV1(
            Walk().spec, dataclasses.replace(AGENTS["dreamer-v1"].preset("default"), action_noise=bad)
        ),
        lambda bad: DreamerV3(Walk().spec, DreamerV3Config(horizon=bad)),
        lambda bad: GradientSteps.of(bad, 16, 16, 1),
        lambda bad: GradientLearner(None, learning_rate=bad),
        lambda bad: GradientLearner(None, data_noise=bad),
    ],
    ids=["action_noise", "horizon", "train_ratio", "learning_rate", "data_noise"],
)
def test_parts_cannot_be_constructed_with_numbers_that_are_not_finite(make, bad):
    with pytest.raises(ValueError, match=str(bad)):
        make(bad)
