"""Runs of equal agents and environments share their compiled functions."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from tiny import Averaging, Walk, copied, empty_data, make_agent, run_to, same_bits

import forethought
from forethought.core import programs
from forethought.envs.hosted import HostedJaxEnv
from forethought.policy import Policy
from forethought.presets.run import RunConfig
from forethought.run.evaluate import JitEvaluator
from forethought.run.host_evaluate import HostEvaluator
from forethought.run.jit import JitDriver
from forethought.run.steps import StepDriver
from forethought.types import Given, never_terminates


@pytest.fixture(autouse=True)
def none_kept():
    programs.forget()
    yield
    programs.forget()


@pytest.fixture
def compiled():
    """What JAX traces and compiles from now on, as the names of its events."""
    events = []

    def note(event, seconds, **more):
        events.append(event.rpartition("/")[2])

    jax.monitoring.register_event_duration_secs_listener(note)
    yield events
    jax.monitoring.unregister_event_duration_listener(note)


def test_second_run_of_another_seed_traces_nothing_and_learns_as_if_it_were_alone():
    first = JitDriver(Averaging(), Walk())
    run_to(first, first.start(empty_data(), seed=0), 30)
    assert first.traces == {"collect": 2, "update": 1}
    second = JitDriver(Averaging(), Walk())
    shared = run_to(second, second.start(empty_data(), seed=1), 30)
    assert second.traces == {"collect": 0, "update": 0}
    programs.forget()
    alone = JitDriver(Averaging(), Walk())
    assert same_bits(run_to(alone, alone.start(empty_data(), seed=1), 30), shared)
    assert alone.traces == {"collect": 2, "update": 1}


def test_second_run_in_the_step_driver_traces_nothing_and_learns_as_if_it_were_alone(compiled):
    def run():
        driver = StepDriver(Averaging(), HostedJaxEnv(Walk()))
        return run_to(driver, driver.start(empty_data(), seed=1), 22)

    alone = run()
    assert "jaxpr_trace_duration" in compiled
    compiled.clear()
    again = run()
    assert "jaxpr_trace_duration" not in compiled
    assert same_bits(again, alone)


@pytest.mark.slow
def test_second_whole_run_of_another_seed_compiles_nothing(compiled, tmp_path):
    def train(seed):
        run = RunConfig(steps=40, seed=seed, final_episodes=2, video=False)
        return forethought.train(Averaging(), Walk(), run=run, out=tmp_path / str(seed), quiet=True)

    assert train(0).status == "finished" and "backend_compile_duration" in compiled
    compiled.clear()
    assert train(1).status == "finished" and "backend_compile_duration" not in compiled


@pytest.mark.parametrize(
    "make",
    [
        lambda agent, env: JitDriver(agent, env)._programs,
        lambda agent, env: StepDriver(agent, HostedJaxEnv(env))._programs,
        lambda agent, env: StepDriver(agent, HostedJaxEnv(env)).actor._programs,
        lambda agent, env: JitEvaluator(agent, env, num_episodes=2)._go,
        lambda agent, env: HostEvaluator(agent, HostedJaxEnv(env), num_episodes=2).actor._programs,
        lambda agent, env: Policy(agent, None)._act,
    ],
)
def test_another_reward_is_another_program_and_the_same_reward_is_not(make):
    programs_of = lambda reward: make(make_agent("pets", given=Given(reward, never_terminates)), Walk())
    reward = lambda weight: lambda obs, action, next_obs: weight * next_obs[0]
    assert programs_of(reward(1.0)) is programs_of(reward(1.0))
    assert programs_of(reward(1.0)) is not programs_of(reward(2.0))


def test_other_sizes_are_other_programs():
    one = JitDriver(Averaging(), Walk())._programs
    assert JitDriver(Averaging(), Walk(), num_envs=2)._programs is not one
    assert JitDriver(Averaging(), Walk(), num_seeds=2)._programs is not one
    assert JitDriver(Averaging(update_every=10), Walk())._programs is not one
    assert JitDriver(Averaging(), Walk(limit=8))._programs is not one


class Pulled(Walk):
    """A walk with a force that is an array."""

    force: jax.Array = eqx.field(default_factory=lambda: jnp.zeros(2))


def test_environments_that_hold_arrays_share_where_these_are_equal():
    compiled = lambda force: HostedJaxEnv(Pulled(force=jnp.array(force)))._compiled
    assert compiled([0.0, 1.0]) is compiled([0.0, 1.0])
    assert compiled([0.0, 1.0]) is not compiled([0.0, 2.0])


def test_driver_in_use_goes_on_after_its_programs_were_dropped():
    driver = JitDriver(Averaging(), Walk())
    start = driver.start(empty_data(), seed=0)
    whole = run_to(driver, copied(start), 30)
    programs.forget()
    assert same_bits(run_to(driver, copied(start), 30), whole)
    assert driver.traces == {"collect": 2, "update": 1}
