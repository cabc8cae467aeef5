"""Tasks whose velocities are hidden, and the pendulum in the wind."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.envs.cartpole_swingup import CartPoleSwingUp
from forethought.envs.make import TASKS, list_envs, make
from forethought.envs.partial import NoVelocity
from forethought.envs.pendulum import Pendulum
from forethought.envs.pendulum_wind import TURN, PendulumWind
from forethought.envs.point_mass import PointMass
from forethought.envs.task import TaskState
from forethought.errors import UserError

KEY = jr.key(0)
MOVING = sorted(name for name, kind in TASKS.items() if kind().velocity_dims)


def rollout(env, actions, start=None):
    """All observations, rewards, terminated and truncated of `actions`."""

    def step(state, at):
        action, key = at
        state, *rest = env.step(state, action, key=key)
        return state, rest

    state, first = env.reset(key=KEY, start=start)
    _, (obs, *rest) = jax.lax.scan(step, state, (actions, jr.split(KEY, len(actions))))
    return np.concatenate([first[None], obs]), *map(np.asarray, rest)


@pytest.mark.parametrize("name", MOVING)
def test_without_velocities_the_task_goes_on_as_it_does(name):
    part, whole = make(f"{name}-no-velocity"), make(name)
    actions = whole.spec.action.sample((12,), key=KEY)
    (seen, *rest), (all_of_it, *wanted) = rollout(part, actions), rollout(whole, actions)
    shown = [d for d in range(whole.spec.obs_dim) if d not in whole.velocity_dims]
    np.testing.assert_array_equal(seen, all_of_it[:, shown])
    for got, want in zip(rest, wanted):
        np.testing.assert_array_equal(got, want)
    assert part.spec.name == f"{name}-no-velocity" and part.spec.obs_dim == len(shown) == seen.shape[1]
    assert part.spec.max_episode_steps == whole.spec.max_episode_steps and part.spec.action == whole.spec.action
    assert part.reward_function is None and part.state_from(seen[0]) is None
    assert part.spec.name in list_envs()["forethought"]


@pytest.mark.parametrize("env", [Pendulum(), CartPoleSwingUp(), PendulumWind(), PointMass(3)])
def test_what_is_hidden_does_not_show_at_once_but_does_later(env):
    part, still = NoVelocity(env), env.reset(key=KEY)[0].physics
    hidden = len(env.velocity_dims)
    moving = still.at[-hidden:].add(0.5)
    start = lambda physics: TaskState(physics, jnp.int32(0))
    actions = jnp.zeros((2, *env.spec.action.shape))
    one, other = (rollout(part, actions, start(physics))[0] for physics in (still, moving))
    np.testing.assert_array_equal(one[0], other[0])
    assert np.abs(one[1:] - other[1:]).max() > 1e-3


def test_angles_keep_their_place_among_what_is_left():
    assert make("cartpole-swingup-no-velocity").spec.angle_dims == (1,)
    assert make("pendulum-no-velocity").spec.angle_dims == ()


@pytest.mark.parametrize(
    ("id", "words"),
    [
        ("catch-no-velocity", "catch does not say which observations are velocities"),
        ("pendulum-pixels-no-velocity", "pendulum-pixels does not say"),
        ("Pendulum-v1-no-velocity", "does not say which"),
        ("pendulun-no-velocity", "did you mean pendulum"),
    ],
)
def test_tasks_without_velocities_to_hide_are_one_line(id, words):
    with pytest.raises(UserError, match=words) as caught:
        make(id)
    assert "\n" not in str(caught.value)


def test_wind_pushes_as_half_the_motor_and_turns_with_its_probability():
    env = PendulumWind()
    start = lambda wind: TaskState(jnp.array([0.3, 0.0, wind]), jnp.int32(0))
    calm = TaskState(jnp.array([0.3, 0.0]), jnp.int32(0))
    for wind in (-1.0, 1.0):
        pushed = env.step(start(wind), jnp.zeros(1), key=KEY)[1]
        np.testing.assert_allclose(pushed[:3], Pendulum().step(calm, jnp.array([wind]), key=KEY)[1], atol=1e-6)
    winds = jax.vmap(lambda key: env.step(start(1.0), jnp.zeros(1), key=key)[1][3])(jr.split(KEY, 20_000))
    assert set(np.unique(winds)) == {-1.0, 1.0}
    spread = np.sqrt(TURN * (1 - TURN) / 20_000)
    assert abs(float((winds < 0).mean()) - TURN) < 4 * spread
    firsts = jax.vmap(lambda key: env.reset(key=key)[1][3])(jr.split(KEY, 1000))
    assert abs(float(firsts.mean())) < 4 / np.sqrt(1000)


def test_motor_and_wind_are_bounded_one_by_one():
    env, strong = PendulumWind(), jnp.array([9.0])
    with_wind = env.step(TaskState(jnp.array([0.3, 0.0, 1.0]), jnp.int32(0)), strong, key=KEY)[1][2]
    against = env.step(TaskState(jnp.array([0.3, 0.0, -1.0]), jnp.int32(0)), strong, key=KEY)[1][2]
    np.testing.assert_allclose(with_wind - against, 2 * 3 * 0.05, rtol=1e-4)  # 3 / (m l^2) x torque x time step
