"""Parameters of equations from noisy steps, and plans made with them."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.agents.planning import PlanningAgent
from forethought.envs import equations
from forethought.envs.cartpole_swingup import CartPoleSwingUp
from forethought.envs.pendulum import Pendulum
from forethought.envs.task import TaskState
from forethought.errors import UserError
from forethought.models.output_error import cut
from forethought.models.parametric import Parametric, SystemIdentification
from forethought.planners.icem import ICEM
from forethought.presets.pets import PETSConfig
from forethought.replay.uniform import UniformReplay
from forethought.run.evaluate import JitEvaluator
from forethought.run.jit import JitDriver
from forethought.types import Box, EnvSpec, Given, Transition, never_terminates

SPEC = EnvSpec("pendulum", 3, Box((-2.0,), (2.0,)))
LINE = EnvSpec("line", 1, Box((-1.0,), (1.0,)))
GIVEN = Given(lambda obs, action, next_obs: next_obs[0], never_terminates)
TRUE = {"mass": 1.2, "length": 0.8, "damping": 0.15}
NOISE = jnp.array([0.02, 0.02, 0.1])
CUT = jax.jit(cut, static_argnames=("length", "most", "num_envs"))


def noisy_steps(spec, step, start, noise, num_steps=200, seed=0) -> Transition:
    """One episode of `step` under actions that are held for four steps, with noise on what is seen."""
    act_key, noise_key = jr.split(jr.key(seed))
    action = jnp.repeat(spec.action.sample((num_steps // 4,), key=act_key), 4, 0)
    obs = [jnp.asarray(start)]
    step = jax.jit(step)
    for a in action:
        obs.append(step(obs[-1], a))
    obs = jnp.stack(obs)
    obs = obs + noise * jr.normal(noise_key, obs.shape)
    no = jnp.zeros(num_steps, bool)
    return Transition(obs[:-1], action, jnp.zeros(num_steps), obs[1:], no, no.at[-1].set(True))


def fitted(learner, data, capacity=256):
    """The learner after one fit, as the compiled drivers make it, and its metrics."""
    replay = UniformReplay.empty(learner.model.spec, capacity).add(data)
    return jax.jit(lambda replay, key: learner.fit(replay, key=key))(replay, jr.key(0))


@pytest.fixture(scope="module")
def pendulum():
    data = noisy_steps(SPEC, lambda o, a: equations.pendulum(TRUE, o, a), [-1.0, 0.0, 0.0], NOISE)
    guess = {"mass": 2.4, "length": 0.4, "damping": 0.3}
    return fitted(SystemIdentification(Parametric(equations.pendulum, guess, SPEC, GIVEN), num_stretches=10), data)


def test_mass_length_and_damping_are_found_within_two_per_cent_of_200_noisy_steps(pendulum):
    found = pendulum[0].model.parameters()
    assert found == pytest.approx(TRUE, rel=0.02)
    assert float(pendulum[1]["model/mass"]) == pytest.approx(found["mass"])


def test_stated_errors_are_of_the_size_of_the_real_ones(pendulum):
    model = pendulum[0].model
    away = {n: (v - TRUE[n]) / float(model.standard_errors[n]) for n, v in model.parameters().items()}
    assert max(map(abs, away.values())) < 4 and max(map(abs, away.values())) > 0.05, away
    assert all(0 < float(model.standard_errors[n]) < 0.05 * TRUE[n] for n in TRUE)


def test_the_noise_on_observations_is_found_and_is_what_would_be_seen(pendulum):
    model = pendulum[0].model
    np.testing.assert_allclose(model.noise, NOISE, rtol=0.15)
    belief = model.init(jnp.array([1.0, 0.0, 0.0]), key=jr.key(0))
    np.testing.assert_allclose(model.observation(belief).variance()[0], model.noise**2, rtol=1e-5)


def test_imagination_is_the_equations_with_candidates_side_by_side(pendulum):
    model = pendulum[0].model
    obs, action = jr.normal(jr.key(0), (1, 4, 3)), jr.normal(jr.key(1), (1, 4, 1))
    belief, said = model.step(obs, action, key=jr.key(2))
    for i in range(4):
        np.testing.assert_allclose(
            belief[0, i], equations.pendulum(model.parameters(), obs[0, i], action[0, i]), atol=1e-4
        )
    np.testing.assert_allclose(said.reward, belief[..., 0])
    np.testing.assert_array_equal(said.continuation, jnp.ones((1, 4)))


def test_parameters_that_only_act_together_are_named():
    step = lambda p, obs, action: obs + p["gain"] * p["push"] * action - p["drag"] * obs
    data = noisy_steps(LINE, lambda o, a: step({"gain": 0.5, "push": 0.5, "drag": 0.1}, o, a), [0.0], 0.01)
    guess = {"gain": 1.0, "push": 1.0, "drag": 0.3}
    learner, metrics = fitted(SystemIdentification(Parametric(step, guess, LINE, GIVEN), num_stretches=10), data)
    values = learner.model.values(learner.model.theta)
    assert float(values["gain"] * values["push"]) == pytest.approx(0.25, rel=0.02)
    assert float(values["drag"]) == pytest.approx(0.1, rel=0.05)
    assert int(metrics["model/not_determined"]) == 2
    with pytest.raises(UserError, match=r"gain and push cannot be told apart by these data; fix gain"):
        learner.model.parameters()


def rows(obs, next_obs, ends=()):
    obs, next_obs = (jnp.array(x, jnp.float32)[:, None] for x in (obs, next_obs))
    ended = jnp.zeros(len(obs), bool).at[jnp.array(ends, int)].set(True)
    return Transition(obs, obs, obs[:, 0], next_obs, jnp.zeros_like(ended), ended)


def test_stretches_follow_what_was_reached_and_stop_at_ends_and_seams():
    # Two steps of an episode, its end, two steps of another; then a seam of the ring, and a row not in use.
    data = rows([0, 1, 2, 5, 6, 9, 0], [1, 2, 3, 6, 7, 10, 0], ends=[2])
    found = CUT(data, jnp.arange(7) < 6, length=2, most=6, num_envs=1, key=jr.key(0))
    seen = [tuple(o[s].ravel().tolist()) for o, s in zip(found.obs, found.seen)]
    assert seen == [(0, 1), (2, 3), (5, 6, 7), (9, 10), (), ()]  # 2 is counted once: in the stretch that it opens
    assert found.goes_on.tolist() == [True, False, False, False, False, False]


def test_environments_that_take_turns_are_told_apart():
    data = rows([0, 10, 1, 11, 2, 12], [1, 11, 2, 12, 3, 13])
    found = CUT(data, jnp.ones(6, bool), length=3, most=2, num_envs=2, key=jr.key(0))
    assert found.obs[..., 0].tolist() == [[0, 1, 2, 3], [10, 11, 12, 13]] and bool(found.seen.all())


@pytest.mark.parametrize(
    ("env", "function", "parameters"),
    [
        (Pendulum(), equations.pendulum, {"mass": 1.0, "length": 1.0, "damping": 0.0}),
        (
            CartPoleSwingUp(),
            equations.cartpole_swingup,
            {"cart_mass": 0.5, "pole_mass": 0.5, "length": 0.5, "damping": 0.1},
        ),
    ],
)
def test_equations_with_the_numbers_of_a_task_are_its_steps(env, function, parameters):
    physics, action = (
        1.5 * jr.normal(jr.key(0), (env.first(jr.key(0)).shape[0],)),
        env.spec.action.sample(key=jr.key(1)),
    )
    _, obs, *_ = jax.jit(env.step)(TaskState(physics, jnp.zeros((), jnp.int32)), action, key=jr.key(0))
    found = jax.jit(lambda o: function(parameters, o, action))(env.observe(physics))
    np.testing.assert_allclose(found, obs, atol=2e-5)


@pytest.mark.slow
def test_pets_swings_the_pendulum_up_after_one_fit():
    env = Pendulum()
    guess = {"mass": 3.0, "length": 2.0, "damping": 0.1}
    model = Parametric(equations.pendulum, guess, env.spec, Given(env.reward_function, never_terminates))
    planner = ICEM(env.spec.action, horizon=20, population=40, elites=8, iterations=2)
    agent = PlanningAgent(
        env.spec,
        PETSConfig(random_steps=200, update_every=200),
        given=Given(env.reward_function, never_terminates),
        planner=planner,
        learner=SystemIdentification(model, num_stretches=10),
    )
    driver = JitDriver(agent, env)
    *_, end = driver.train(driver.start({"env": UniformReplay.empty(env.spec, 200)}, seed=0), total_steps=200)
    returns = JitEvaluator(agent, env, num_episodes=2)(end.agent_state, key=jr.key(1)).returns
    assert float(returns.mean()) > -450  # planning in the guess instead returns about -1200
    assert float(end.agent_state.learner.model.values(end.agent_state.learner.model.theta)["mass"]) == pytest.approx(
        1.0, rel=0.02
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"guess": {}}, "guess is empty"),
        ({"guess": {"mass": -1.0}}, "guess mass=-1.0 must be finite and above 0"),
        ({"signed": ("wind",)}, "signed='wind' is no parameter"),
        ({"given": Given(None, never_terminates)}, "do not say the reward of line"),
        ({"equations": lambda p, o, a: jnp.zeros(2)}, r"return shape \(2,\) .* wanted \(1,\)"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change, message):
    parts = {"equations": lambda p, o, a: p["mass"] * o, "guess": {"mass": 1.0}, "spec": LINE, "given": GIVEN}
    with pytest.raises(ValueError, match=message):
        Parametric(**(parts | change))
    with pytest.raises(ValueError, match="length=0 must be at least 1"):
        SystemIdentification(Parametric(**parts), length=0)
