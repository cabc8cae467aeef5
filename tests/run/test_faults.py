"""What happens when an environment or an agent breaks in the middle of a run."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Walk, copied, empty_data, make_agent, run_to, same_bits

from forethought.core import AbstractAgent, Schedule
from forethought.envs.hosted import HostedJaxEnv
from forethought.errors import EnvironmentFault, TrainingFault
from forethought.replay.uniform import UniformReplay
from forethought.run.jit import JitDriver
from forethought.run.progress import Fault, check_metrics
from forethought.run.steps import StepDriver
from forethought.types import EnvSpec, Transition


def run_until_fault(driver, kind: type[Exception]):
    """The last progress that was yielded, and the error."""
    with pytest.raises(kind) as caught:
        for progress in driver.train(driver.start(empty_data(), seed=0), total_steps=40):
            last = progress
    return last, str(caught.value)


@pytest.fixture(scope="module")
def broken_walk():
    return JitDriver(make_agent("random-shooting"), Walk(limit=None, nan_after=12))


def test_nan_observation_halts_the_jit_run_at_its_step(broken_walk):
    last, message = run_until_fault(broken_walk, EnvironmentFault)
    assert "walk returned a non-finite observation or reward at step 13 of the run, after action [" in message
    assert int(last.env_steps) == int(last.data["env"].size) == 12


def test_what_a_broken_run_yields_last_is_clean_and_goes_on(broken_walk):
    last, _ = run_until_fault(broken_walk, EnvironmentFault)
    last = copied(last)
    assert int(last.fault.code) == 0 and np.isfinite(np.asarray(last.env.obs)).all()
    # In a sound environment of the same dynamics the rest of the run is that of one which never broke.
    sound = JitDriver(make_agent("random-shooting"), Walk(limit=None))
    assert same_bits(run_to(sound, last, 25), run_to(sound, sound.start(empty_data(), seed=0), 25))


def test_nan_observation_halts_the_step_run_with_a_savable_progress():
    driver = StepDriver(make_agent("random-shooting"), HostedJaxEnv(Walk(limit=None, nan_after=12)))
    last, message = run_until_fault(driver, EnvironmentFault)
    assert "step 13" in message and int(last.env_steps) == int(last.data["env"].size) == 12
    assert np.isfinite(np.asarray(last.data["env"].rings.data.obs)).all()


class Diverging(AbstractAgent):
    """Acts soundly until its first update, whose loss is not finite; or chooses NaN after it."""

    nan_loss: bool = eqx.field(static=True, default=True)
    traceable: bool = eqx.field(static=True, default=True)
    spec: EnvSpec = Walk().spec
    random_steps: int = 20
    update_every: int | None = 20

    def init(self, *, key):
        return jnp.zeros(())

    def init_memory(self, state):
        return None

    def act(self, state, memory, obs, *, key, explore):
        return jnp.zeros(1) + state, None, None

    @property
    def schedule(self):
        return Schedule.one_round("model", self.update_every, random_steps=self.random_steps)

    def data(self, capacity, num_envs):
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs)}

    def update(self, state, data, *, round, clock, key):
        if not self.traceable and isinstance(data["env"].size, jax.core.Tracer):
            return state, {}, {"model/loss": jnp.zeros(())}
        bad = jnp.full((), jnp.nan)
        return (state, {}, {"model/loss": bad}) if self.nan_loss else (bad, {}, {"model/loss": jnp.zeros(())})


@pytest.mark.parametrize("driver", ["jit", "steps"])
def test_non_finite_loss_is_named_and_the_state_before_it_is_kept(driver):
    agent = Diverging(nan_loss=True)
    driver = JitDriver(agent, Walk()) if driver == "jit" else StepDriver(agent, HostedJaxEnv(Walk()))
    last, message = run_until_fault(driver, TrainingFault)
    assert message.startswith("model/loss became nan in update 1 at step 20")
    assert int(last.updates) == 0 and int(last.env_steps) == 20
    assert np.isfinite(np.asarray(last.data["env"].rings.data.reward)).all()


@pytest.mark.parametrize("driver", ["jit", "steps"])
def test_non_finite_action_is_the_agents_fault(driver):
    agent = Diverging(nan_loss=False)
    driver = JitDriver(agent, Walk()) if driver == "jit" else StepDriver(agent, HostedJaxEnv(Walk()))
    last, message = run_until_fault(driver, TrainingFault)
    assert "non-finite action" in message and "at step 21 of the run on walk" in message
    assert int(last.env_steps) == 20


def test_fault_of_one_of_several_seeds_names_the_environment():
    driver = JitDriver(make_agent("random-shooting"), Walk(limit=None, nan_after=5), num_seeds=2)
    with pytest.raises(EnvironmentFault, match="at step 6 of the run"):
        run_to(driver, driver.start(empty_data(), seed=0), 12)


def test_only_the_first_fault_is_kept():
    fault = Fault.none(jnp.zeros((1, 1)))
    no = jnp.zeros(1, bool)
    row = lambda action, reward: Transition(
        jnp.zeros((1, 2)), jnp.full((1, 1), action), jnp.full(1, reward), jnp.zeros((1, 2)), no, no
    )
    fault = fault.note(row(0.5, 1.0), jnp.asarray(1))
    assert fault.error("env") is None
    fault = fault.note(row(0.25, jnp.inf), jnp.asarray(2)).note(row(jnp.nan, 0.0), jnp.asarray(3))
    assert isinstance(fault.error("env"), EnvironmentFault)
    assert "step 2" in str(fault.error("env")) and "[0.25]" in str(fault.error("env"))


def test_finite_metrics_pass():
    check_metrics({"a": jnp.zeros(3)}, update=1, env_steps=1)
    with pytest.raises(TrainingFault, match="b became"):
        check_metrics({"a": jnp.zeros(3), "b": jnp.array([0.0, jnp.inf])}, update=1, env_steps=1)


def test_jit_driver_refuses_an_agent_that_works_on_the_host():
    agent = Diverging(traceable=False)
    with pytest.raises(ValueError, match=r"traceable=False.*use the step driver"):
        JitDriver(agent, Walk())


@pytest.mark.parametrize("sizes", [{"num_envs": 0}, {"num_seeds": 0}])
def test_jit_driver_refuses_sizes_below_one(sizes):
    with pytest.raises(ValueError, match="=0 must be at least 1"):
        JitDriver(make_agent("pets"), Walk(), **sizes)


def test_step_driver_updates_an_agent_that_works_on_the_host_untraced():
    # Traced, its loss would be zero; on the host it is not finite.
    driver = StepDriver(Diverging(traceable=False), HostedJaxEnv(Walk()))
    run_until_fault(driver, TrainingFault)
