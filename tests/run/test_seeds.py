"""Several seeds as one program, shared out over devices: each seed goes on as it does alone."""

import os
import pathlib
import subprocess
import sys

import pytest

from forethought.run.seeds import devices_for

TESTS = pathlib.Path(__file__).parents[1]
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from forethought.cli import machine

machine.prepare()  # for the cache of compiled programs
import jax
import numpy as np
from agents.test_mbpo import CONFIG
from forethought.agents.mbpo import MBPO
from forethought.envs.repeat import ActionRepeat
from forethought.run.jit import JitDriver
from forethought.run.seeds import of_seed
from tiny import Walk, run_to

assert len(jax.devices()) == 2
env = ActionRepeat(Walk(limit=5), 2)  # the last step of an episode is a single one
agent = MBPO(env.spec, CONFIG)


def trained(num_seeds, seed=0):
    driver = JitDriver(agent, env, num_seeds=num_seeds)
    progress = driver.start(agent.data(40, 1), seed=seed)
    for progress in driver.train(progress, total_steps=STEPS, pause_every=10):
        pass
    return driver, progress


driver, four = trained(4)
assert {len(x.devices()) for x in jax.tree.leaves(four.agent_state)} == {2}
assert driver.traces["collect"] <= 2, driver.traces  # random steps and others
for seed in range(4):
    alone = trained(None, seed)[1]
    part = of_seed(four.agent_state, seed, 4), of_seed(four.data, seed, 4)
    assert {len(x.devices()) for x in jax.tree.leaves(part)} == {1}
    assert int(alone.env_steps) == int(four.env_steps)
    for a, b in zip(jax.tree.leaves((alone.agent_state, alone.data)), jax.tree.leaves(part), strict=True):
        np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), atol=2e-4)
print("alike")
"""


def test_four_seeds_on_two_devices_are_four_runs():
    program = PROGRAM.replace("STEPS", "14")
    given = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", program, str(TESTS)], env=given, capture_output=True, text=True)
    assert done.stdout.strip() == "alike", done.stderr[-3000:]


@pytest.mark.parametrize(("seeds", "devices", "wanted"), [(8, 2, 2), (3, 2, 1), (6, 4, 3), (1, 8, 1), (30, 16, 15)])
def test_every_device_takes_as_many_seeds(monkeypatch, seeds, devices, wanted):
    monkeypatch.setattr("jax.devices", lambda: list(range(devices)))
    assert devices_for(seeds) == wanted
