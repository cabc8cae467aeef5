"""Agents with local controllers: rounds in the step driver, trust region, resuming, and what they refuse."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny import GIVEN, Walk, copied, empty_data, history, run_to, same_bits, updated

from forethought.agents.gps import GPS
from forethought.agents.local_lqr import LocalLQR
from forethought.core import AbstractAgent, Schedule
from forethought.envs.hosted import HostedJaxEnv
from forethought.learners.episodes import Place
from forethought.learners.local_rounds import LocalMemory
from forethought.models.simulator import Simulator
from forethought.presets.gps import GPSConfig, ImitationConfig
from forethought.presets.local_control import LocalControlConfig
from forethought.presets.local_lqr import LocalLQRConfig
from forethought.presets.parts import EnsembleConfig, GPConfig
from forethought.replay.uniform import UniformReplay
from forethought.run.jit import JitDriver
from forethought.run.steps import StepDriver
from forethought.storage import checkpoint
from forethought.types import Box, Discrete, EnvSpec, Given

STARTS, ROLLOUTS, T = 2, 3, 7
ROUND = STARTS * ROLLOUTS * T
CONTROL = LocalControlConfig(starts=STARTS, rollouts=ROLLOUTS, clusters=2, cluster_rows=20, prior_episodes=12)
TEACH = ImitationConfig(hidden=(8,), steps=400, batch_size=32)


class Twice(AbstractAgent):
    """Does nothing, from two starts in turn."""

    spec: EnvSpec = Walk().spec

    @property
    def schedule(self):
        return Schedule(0, (), num_start_states=2)

    def data(self, capacity, num_envs):
        return {"env": UniformReplay.empty(self.spec, capacity, num_envs)}

    def init(self, *, key):
        return jnp.zeros(())

    def init_memory(self, state):
        return jnp.zeros(())

    def act(self, state, memory, obs, *, key, explore):
        return jnp.zeros(1), memory, None

    def update(self, state, data, *, round, clock, key):
        return state, {}, {}


@pytest.mark.slow
def test_a_round_under_action_repeat_is_as_many_simulator_steps_as_its_episodes_last():
    spec = dataclasses.replace(Walk().spec, action_repeat=3)
    agent = LocalLQR(spec, LocalLQRConfig(control=CONTROL), given=GIVEN)
    assert agent.rounds.steps == 3 and agent.schedule.rounds[0].every == STARTS * ROLLOUTS * T


def drive(agent, num_envs: int = 1):
    driver = StepDriver(agent, HostedJaxEnv(Walk(), num_envs))
    return driver, driver.start(agent.data(4 * agent.schedule.rounds[0].every, num_envs), seed=0)


def rounds_of(driver, progress, count: int):
    """The metrics of each round, and the progress after the last."""
    found = []
    for last in driver.train(progress, total_steps=count * driver.agent.schedule.rounds[0].every):
        if last.metrics:
            found.append({name: float(value) for name, value in last.metrics["controllers"].items()})
    return found, last


@pytest.fixture(scope="module")
def gps():
    """Three rounds, with a run cut in the middle of an episode of the second beside it."""
    agent = GPS(Walk().spec, GPSConfig(CONTROL, TEACH), given=GIVEN)
    driver, start = drive(agent)
    found, end = rounds_of(driver, copied(start), 3)
    return agent, driver, start, found, end


@pytest.fixture(scope="module")
def local():
    """Three rounds in six environments side by side."""
    agent = LocalLQR(Walk().spec, LocalLQRConfig(CONTROL), given=GIVEN)
    driver, start = drive(agent, num_envs=STARTS * ROLLOUTS)
    found, end = rounds_of(driver, start, 3)
    return agent, found, end


@pytest.mark.slow
def test_kl_is_within_its_bound_and_uses_it_up_in_every_round(gps, local):
    for rounds in (gps[3], local[1]):
        assert len(rounds) == 3
        assert all(0.9 <= r["local/kl_share_least"] <= r["local/kl_share_most"] <= 1.1 for r in rounds)
        assert all(r["local/improved"] == 1 for r in rounds)


@pytest.mark.slow
def test_rollouts_get_cheaper_round_by_round(gps, local):
    for rounds in (gps[3], local[1]):
        returns = [r["local/return"] for r in rounds]
        assert returns[0] < returns[1] < returns[2]


@pytest.mark.slow
def test_episodes_of_training_go_round_the_starts(gps):
    rows = history(gps[4])
    firsts = rows.obs[::T]
    assert len(np.unique(firsts, axis=0)) == STARTS
    np.testing.assert_array_equal(firsts[::2], np.broadcast_to(firsts[0], firsts[::2].shape))
    assert len(np.unique(rows.extras.episode)) == 3 * STARTS * ROLLOUTS


@pytest.mark.slow
def test_network_does_what_the_controllers_do_and_is_what_is_evaluated(gps):
    agent, *_, end = gps
    state, rows = end.agent_state, history(end)
    control = state.control
    act = jax.jit(lambda o, m, k: agent.act(state, m, o, key=k, explore=False)[0])
    obs = jnp.asarray(rows.obs[-T])  # a first observation
    memory = agent.init_memory(state)
    np.testing.assert_array_equal(act(obs, memory, jr.key(0)), act(obs, memory, jr.key(1)))
    np.testing.assert_allclose(act(obs, memory, jr.key(0)), jnp.clip(state.policy(obs), -1, 1), atol=1e-6)
    at = int(control.nearest(obs))
    wanted = control.controllers.policy.K[at, 0] @ obs + control.controllers.policy.k[at, 0]
    np.testing.assert_allclose(act(obs, memory, jr.key(0)), np.clip(wanted, -1, 1), atol=0.2)


@pytest.mark.slow
def test_run_cut_in_two_and_saved_between_equals_one_that_was_not(gps, tmp_path):
    _, driver, start, _, end = gps
    first = run_to(driver, copied(start), ROUND + 10)
    checkpoint.save(tmp_path / "cut.npz", first, {})
    loaded, _ = checkpoint.load(tmp_path / "cut.npz", copied(start))
    after = run_to(driver, loaded, 3 * ROUND)
    assert same_bits(after.agent_state, end.agent_state)


@pytest.mark.slow
def test_a_round_with_too_few_whole_episodes_is_left_out(gps):
    agent, _, start, *_ = gps
    state, metrics = updated(agent, start.agent_state, start.data["env"], key=jr.key(0))
    assert state is start.agent_state and set(metrics) == set(gps[3][0]) and not any(metrics.values())


@pytest.mark.slow
def test_evaluated_local_controllers_are_those_of_the_nearest_start_without_noise(local):
    agent, _, end = local
    control, state = end.agent_state.control, end.agent_state
    obs = control.firsts[1] + 0.01
    memory = agent.init_memory(state)
    policy = control.controllers.policy
    for seed in (0, 1):
        action, after, place = agent.act(state, memory, obs, key=jr.key(seed), explore=False)
        np.testing.assert_allclose(action, jnp.clip(policy.K[1, 0] @ obs + policy.k[1, 0], -1, 1), rtol=1e-5)
        assert after.start == 1 and after.place.time == 1 and place.time == 0
    late = LocalMemory(jnp.asarray(1), Place(jnp.asarray(7), jnp.asarray(T - 1)))  # where the bounds do not bind
    noisy = [agent.act(state, late, jnp.zeros(2), key=jr.key(seed), explore=True)[0] for seed in (0, 1)]
    assert noisy[0] != noisy[1]


def alone(**change):
    """Two rounds of local controllers with other settings."""
    agent = LocalLQR(Walk().spec, LocalLQRConfig(dataclasses.replace(CONTROL, **change)), given=GIVEN)
    return rounds_of(*drive(agent, num_envs=STARTS * ROLLOUTS), 2)


@pytest.mark.slow
def test_a_network_can_be_the_prior():
    small = EnsembleConfig(num_members=1, particles=1, propagation="E", hidden=(8,), min_steps=50, bootstrap=False)
    found, end = alone(prior="network", network=small)
    assert found[1]["local/return"] > found[0]["local/return"]
    assert np.isfinite(end.agent_state.control.controllers.planned).all()


@pytest.mark.slow
def test_gaussian_processes_can_be_the_prior():
    found, end = alone(prior="gp", gp=GPConfig(max_points=40, max_rows=40, restarts=1, iterations=20))
    assert found[1]["local/return"] > found[0]["local/return"]
    assert np.isfinite(end.agent_state.control.controllers.planned).all()
    assert float(np.abs(end.agent_state.learner.model.factors.beta).max()) > 0


@pytest.mark.slow
def test_without_trust_region_the_bound_is_not_kept_and_without_prior_there_are_still_local_models():
    found, end = alone(prior="none", trust_region=False)
    assert found[0]["local/kl_share_most"] > 1.1
    assert np.isfinite(end.agent_state.control.controllers.planned).all()


@pytest.mark.parametrize("num_envs", [1, 3])
def test_both_drivers_reset_to_the_starts_that_an_agent_goes_round(num_envs):
    agent = Twice()
    seen = []
    for driver in (JitDriver(agent, Walk(), num_envs=num_envs), StepDriver(agent, HostedJaxEnv(Walk(), num_envs))):
        end = run_to(driver, driver.start(empty_data(num_envs=num_envs), seed=0), 21 * num_envs)
        rows = history(end).obs.reshape(-1, num_envs, 2)
        seen.append(rows[::T].reshape(-1, 2))
    np.testing.assert_array_equal(*seen)
    assert len(np.unique(seen[0].round(5), axis=0)) == 2


@pytest.mark.parametrize(
    ("spec", "given", "change", "message"),
    [
        (EnvSpec("bits", 2, Discrete(2), 7), GIVEN, {}, "continuous actions"),
        (EnvSpec("endless", 2, Box((-1.0,), (1.0,))), GIVEN, {}, "no time limit"),
        (Walk().spec, Given(), {}, "learn no reward"),
        (Walk().spec, Given(GIVEN.reward, None, Simulator(Walk())), {}, "cannot plan on the true dynamics"),
        (Walk().spec, GIVEN, {"rollouts": 1}, "rollouts=1"),
        (Walk().spec, GIVEN, {"kl_step": 0.0}, "kl_step=0.0"),
    ],
)
@pytest.mark.parametrize("kind", [LocalLQR, GPS])
def test_what_local_controllers_cannot_do_is_refused(kind, spec, given, change, message):
    control = dataclasses.replace(CONTROL, **change)
    config = LocalLQRConfig(control) if kind is LocalLQR else GPSConfig(control)
    with pytest.raises(ValueError, match=message):
        kind(spec, config, given=given)
