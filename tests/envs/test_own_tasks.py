"""The package's own tasks, against the simulators that they reproduce."""

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import jax.random as jr
import mujoco
import numpy as np
import pytest

from forethought.envs.acrobot import Acrobot
from forethought.envs.cartpole_swingup import CartPoleSwingUp
from forethought.envs.make import TASKS
from forethought.envs.mountain_car import MountainCar, MountainCarContinuous
from forethought.envs.pendulum import Pendulum
from forethought.envs.pets_cartpole import PetsCartPole
from forethought.envs.point_mass import PointMass
from forethought.envs.task import TaskState
from forethought.types import Box, pointwise

PETS_XML = """<mujoco><compiler inertiafromgeom="true"/>
<option gravity="0 0 -9.81" integrator="RK4" timestep="0.02"/>
<worldbody><body name="cart">
  <joint name="slider" type="slide" axis="1 0 0" limited="true" range="-2.5 2.5" damping="1"/>
  <geom type="capsule" quat="0.707 0 0.707 0" size="0.1 0.1" contype="0" conaffinity="0"/>
  <body name="pole"><joint name="hinge" type="hinge" axis="0 1 0" limited="false" damping="1"/>
  <geom type="capsule" fromto="0 0 0 0.001 0 -0.6" size="0.049 0.3" contype="0" conaffinity="0"/></body>
</body></worldbody>
<actuator><motor joint="slider" gear="100" ctrlrange="-3 3" ctrllimited="true"/></actuator></mujoco>"""


def state(physics):
    return TaskState(jnp.asarray(physics, jnp.float32), jnp.zeros((), jnp.int32))


def step_of(env):
    return jax.jit(lambda s, a: env.step(s, a, key=jr.key(0)))


def mujoco_step(model, data, physics, control):
    data.qpos[:], data.qvel[:], data.ctrl[0] = physics[:2], physics[2:], control
    mujoco.mj_step(model, data, nstep=2)
    return np.concatenate([data.qpos, data.qvel])


@pytest.mark.parametrize(("low", "high", "tolerance"), [(0.0, 2.2, 3e-6), (2.4, 2.56, 3e-5), (2.5, 2.501, 3e-5)])
def test_pets_cartpole_equals_mujoco_step_by_step_on_the_rail_and_at_its_ends(low, high, tolerance):
    model = mujoco.MjModel.from_xml_string(PETS_XML)
    data, step, rng = mujoco.MjData(model), step_of(PetsCartPole()), np.random.default_rng(0)
    pushed_back = 0
    for _ in range(100):
        x = rng.choice([-1, 1]) * rng.uniform(low, high)
        physics = np.array([x, rng.uniform(-4, 4), *rng.normal(0, 3, 2)], np.float32)
        control = np.float32(rng.uniform(-3, 3))
        wanted = mujoco_step(model, data, physics, control)
        pushed_back += np.abs(x) > 2.5
        _, obs, *_ = step(state(physics), jnp.array([control]))
        np.testing.assert_allclose(obs, wanted, atol=tolerance, rtol=tolerance)
    assert (pushed_back > 20) == (low > 2)


def test_pets_cartpole_stays_on_its_rail_under_full_force():
    step, now = step_of(PetsCartPole()), state([0, 0, 0, 0])
    for _ in range(100):
        now, obs, *_ = step(now, jnp.array([3.0]))
        assert obs[0] < 2.7
    assert abs(obs[0] - 2.5) < 0.01


@pytest.mark.parametrize(
    ("physics", "action", "wanted"), [((0.0, np.pi, 0, 0), 0.0, 1.0), ((0.0, 0.0, 0, 0), 2.0, np.exp(-4) - 0.04)]
)
def test_pets_reward_is_one_upright_over_the_middle_and_pays_for_control(physics, action, wanted):
    obs = jnp.array(physics, jnp.float32)
    np.testing.assert_allclose(PetsCartPole().reward_function(obs, jnp.array([action]), obs), wanted, rtol=1e-5)


def test_pendulum_equals_gymnasium_step_by_step():
    peer = gymnasium.make("Pendulum-v1").unwrapped
    peer.reset(seed=0)
    step, rng = step_of(Pendulum()), np.random.default_rng(0)
    for _ in range(100):
        physics = np.array([rng.uniform(-7, 7), rng.uniform(-8, 8)], np.float32)
        action = rng.uniform(-2, 2, 1).astype(np.float32)
        peer.state = physics.astype(np.float64)
        wanted_obs, wanted_reward, *_ = peer.step(action)
        _, obs, reward, *_ = step(state(physics), action)
        np.testing.assert_allclose(obs, wanted_obs, atol=2e-6)
        np.testing.assert_allclose(reward, wanted_reward, atol=2e-5)


def assert_discrete_task_equals(env, peer, physics_of, tolerance):
    peer.reset(seed=0)
    step, rng = step_of(env), np.random.default_rng(0)
    ends = 0
    for _ in range(150):
        physics = np.array(physics_of(rng), np.float32)
        action = int(rng.integers(3)) if not isinstance(env.spec.action, Box) else rng.uniform(-1, 1, 1)
        peer.state = physics.astype(np.float64)
        wanted_obs, wanted_reward, wanted_end, *_ = peer.step(action)
        _, obs, reward, terminated, _ = step(state(physics), jnp.asarray(action))
        np.testing.assert_allclose(obs, wanted_obs, atol=tolerance, rtol=tolerance)
        np.testing.assert_allclose(reward, wanted_reward, atol=1e-5)
        assert bool(terminated) == wanted_end
        ends += wanted_end
    assert 0 < ends < 150


def test_acrobot_equals_gymnasium_step_by_step():
    peer = gymnasium.make("Acrobot-v1").unwrapped
    assert_discrete_task_equals(
        Acrobot(), peer, lambda rng: [*rng.uniform(-3.1, 3.1, 2), *rng.normal(0, 4, 2)], tolerance=2e-4
    )


@pytest.mark.parametrize(
    ("env", "peer"),
    [(MountainCar(), "MountainCar-v0"), (MountainCarContinuous(), "MountainCarContinuous-v0")],
)
def test_mountain_car_equals_gymnasium_step_by_step(env, peer):
    assert_discrete_task_equals(
        env, gymnasium.make(peer).unwrapped, lambda rng: [rng.uniform(-1.2, 0.55), rng.uniform(-0.07, 0.07)], 1e-6
    )


def test_swing_up_cart_pole_keeps_its_energy_without_force_and_friction(monkeypatch):
    from forethought.envs import cartpole_swingup as task

    monkeypatch.setattr(task, "FRICTION", 0.0)

    def energy(p):
        _, theta, v, w = np.asarray(p, np.float64)
        kinetic = 0.5 * 1.0 * v**2 + 0.5 * 0.5 * (0.5**2 / 3) * w**2 + 0.5 * 0.5 * 0.5 * v * w * np.cos(theta)
        return kinetic - 0.5 * 9.82 * 0.25 * np.cos(theta)

    physics = jnp.array([0.0, 2.0, 0.3, -1.0])
    start, advance = energy(physics), jax.jit(CartPoleSwingUp().advance)
    for _ in range(10):
        physics = advance(physics, jnp.zeros(1))
    np.testing.assert_allclose(energy(physics), start, atol=1e-3)


def test_point_mass_is_an_exact_double_integrator():
    now, *_ = PointMass().step(state([0, 0, 1, 0]), jnp.array([1.0, -0.5]), key=jr.key(0))
    np.testing.assert_allclose(now.physics, [0.1 + 0.005, -0.0025, 1.1, -0.05], rtol=1e-6)


@pytest.fixture(params=sorted(TASKS))
def env(request):
    return TASKS[request.param]()


@eqx.filter_jit
def random_episode(env, key, num_steps):
    reset_key, action_key = jr.split(key)
    now, obs = env.reset(key=reset_key)

    def body(carry, action):
        now, obs = carry
        now, *rest = env.step(now, action, key=jr.key(0))
        return (now, rest[0]), (obs, action, *rest)

    return jax.lax.scan(body, (now, obs), env.spec.action.sample((num_steps,), key=action_key))[1]


def test_reward_and_termination_functions_equal_what_step_returns(env):
    obs, action, next_obs, reward, terminated, _ = random_episode(env, jr.key(1), 64)
    got = pointwise(env.reward_function, env.spec.action)(obs, action, next_obs)
    np.testing.assert_allclose(got, reward, atol=1e-5)
    ends = jax.vmap(env.termination_function)(obs, action, next_obs)
    np.testing.assert_array_equal(ends, terminated)
    assert reward.dtype == jnp.float32 and obs.shape == (64, env.spec.obs_dim)


def test_truncates_at_the_time_limit_and_only_there(env):
    limit = env.spec.max_episode_steps
    now, _ = env.reset(key=jr.key(0))
    action = env.spec.action.sample(key=jr.key(1))
    for steps, wanted in ((limit - 2, False), (limit - 1, True)):
        at = eqx.tree_at(lambda s: s.steps, now, jnp.asarray(steps, jnp.int32))
        *_, terminated, truncated = step_of(env)(at, action)
        assert bool(truncated) == wanted and not terminated


def test_reset_to_a_chosen_state_starts_the_clock_anew_and_the_key_decides_all_else(env):
    first, obs = env.reset(key=jr.key(3))
    again, same = env.reset(key=jr.key(3))
    other, _ = env.reset(key=jr.key(4))
    np.testing.assert_array_equal(obs, same)
    assert not np.array_equal(first.physics, other.physics)
    used = eqx.tree_at(lambda s: s.steps, first, jnp.asarray(7, jnp.int32))
    chosen, seen = env.reset(key=jr.key(4), start=used)
    np.testing.assert_array_equal(seen, obs)
    assert chosen.steps == 0 and again.steps == 0


def test_state_from_an_observation_is_seen_as_that_observation(env):
    _, obs = env.reset(key=jr.key(5))
    np.testing.assert_allclose(env.observe(env.state_from(obs).physics), obs, atol=1e-6)


def test_vmap_equals_a_loop_and_actions_are_clipped_to_their_bounds(env):
    states, _ = jax.vmap(lambda key: env.reset(key=key))(jr.split(jr.key(6), 3))
    actions = env.spec.action.sample((3,), key=jr.key(7))
    step = step_of(env)
    batch = jax.jit(jax.vmap(step))(states, actions)
    for i in range(3):
        one = step(jax.tree.map(lambda x, i=i: x[i], states), actions[i])
        for got, wanted in zip(jax.tree.leaves(batch), jax.tree.leaves(one)):
            np.testing.assert_allclose(got[i], wanted, rtol=1e-5, atol=1e-6)
    if isinstance(env.spec.action, Box):
        one = jax.tree.map(lambda x: x[0], states)
        high = jnp.array(env.spec.action.high)
        for a, b in zip(*(jax.tree.leaves(step(one, x)) for x in (high, 10 * high))):
            np.testing.assert_array_equal(a, b)


def test_gradients_flow_through_a_step_of_continuous_tasks(env):
    if isinstance(env.spec.action, Box):
        now, _ = env.reset(key=jr.key(8))
        slope = jax.jit(jax.grad(lambda a: env.step(now, a, key=jr.key(0))[1].sum()))(
            jnp.full(env.spec.action.shape, 0.1)
        )
        assert np.isfinite(slope).all() and np.abs(slope).sum() > 0


def test_frames_are_rgb_and_show_a_difference_between_states(env):
    frames = [env.render(env.reset(key=jr.key(k))[0]) for k in (0, 1)]
    assert frames[0].shape == (320, 480, 3) and frames[0].dtype == np.uint8
    assert (frames[0] != frames[1]).any()


def test_point_mass_of_many_dimensions_is_that_many_independent_ones_of_one():
    many, one = PointMass(5), PointMass(1)
    assert (many.spec.obs_dim, many.spec.action.shape, many.spec.name) == (10, (5,), "point-mass-5d")
    physics, action = np.linspace(-1, 1, 10), np.linspace(-0.9, 0.9, 5)
    now, obs, reward, *_ = many.step(state(physics), jnp.asarray(action), key=jr.key(0))
    total = 0.0
    for d in range(5):
        _, alone, part, *_ = one.step(state(physics[[d, 5 + d]]), jnp.asarray(action[d : d + 1]), key=jr.key(0))
        np.testing.assert_allclose(obs[jnp.array([d, 5 + d])], alone, atol=1e-6)
        total += part
    np.testing.assert_allclose(reward, total, rtol=1e-5)
    assert many.render(now).shape == one.render(one.reset(key=jr.key(0))[0]).shape == (320, 480, 3)
    with pytest.raises(ValueError, match="dims=0"):
        PointMass(0)
