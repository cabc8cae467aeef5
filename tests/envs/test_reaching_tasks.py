"""Tasks of reaching and pushing: the arm against MuJoCo, the obstacle's cost, the contact of fingers and block."""

import jax
import jax.numpy as jnp
import jax.random as jr
import mujoco
import numpy as np

from forethought.envs.block_pushing import APART, BLOCK, FINGER, BlockPushing
from forethought.envs.point_mass_obstacle import GOAL, RADIUS, PointMassObstacle
from forethought.envs.reacher import Reacher

ARM_XML = """<mujoco><compiler angle="radian"/><option gravity="0 0 0" integrator="RK4" timestep="0.05"/>
<worldbody><body><inertial pos="0.25 0 0" mass="1" diaginertia="0.01 0.0208333 0.0208333"/>
  <joint name="shoulder" type="hinge" axis="0 0 1" damping="0.2"/>
  <body pos="0.5 0 0"><inertial pos="0.25 0 0" mass="1" diaginertia="0.01 0.0208333 0.0208333"/>
    <joint name="elbow" type="hinge" axis="0 0 1" damping="0.2"/>
    <site name="tip" pos="0.5 0 0"/></body></body></worldbody>
<actuator><motor joint="shoulder" gear="2"/><motor joint="elbow" gear="1"/></actuator></mujoco>"""


def test_reacher_equals_mujoco_step_by_step():
    model = mujoco.MjModel.from_xml_string(ARM_XML)
    data, env, rng = mujoco.MjData(model), Reacher(), np.random.default_rng(0)
    step = jax.jit(lambda physics, action: env.observe(env.advance(physics, action)))
    for _ in range(50):
        arm, target = np.concatenate([rng.uniform(-3, 3, 2), rng.normal(0, 3, 2)]), rng.normal(size=2)
        action = rng.uniform(-1, 1, 2)
        data.qpos[:], data.qvel[:], data.ctrl[:] = arm[:2], arm[2:], action
        mujoco.mj_step(model, data)
        obs = step(jnp.asarray(np.concatenate([arm, target]), jnp.float32), jnp.asarray(action))
        np.testing.assert_allclose(obs[:4], np.concatenate([data.qpos, data.qvel]), atol=2e-5, rtol=1e-4)
        mujoco.mj_forward(model, data)
        np.testing.assert_allclose(obs[6:], data.site_xpos[0, :2] - target, atol=1e-4)


def test_reacher_rewards_a_tip_at_rest_on_its_target():
    obs = jnp.array([0.1, 0.2, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0])
    reward = Reacher().reward_function
    assert float(reward(obs, jnp.zeros(2), obs)) == 0
    np.testing.assert_allclose(reward(obs, jnp.ones(2), obs.at[6].set(0.3).at[2].set(2.0)), -(0.09 + 0.04 + 0.02))


def test_straight_through_the_obstacle_costs_more_than_round_it():
    reward = PointMassObstacle().reward_function

    def cost(points):
        obs = jnp.concatenate([points, jnp.zeros((len(points), 2))], 1)
        return -float(jax.vmap(lambda o: reward(o, jnp.zeros(2), o))(obs).sum())

    x = jnp.linspace(1, -1, 40)
    straight = cost(jnp.stack([x, jnp.zeros(40)], 1))
    assert straight > 1.5 * cost(jnp.stack([x, jnp.where(jnp.abs(x) < 0.7, 0.75, 0.0)], 1))
    goal = jnp.array([*GOAL, 0.0, 0.0])
    assert -0.01 < float(reward(goal, jnp.zeros(2), goal)) < 0 and RADIUS < 1


def pushed(physics, action, steps):
    step = jax.jit(BlockPushing().advance)
    path = [jnp.asarray(physics, jnp.float32)]
    for _ in range(steps):
        path.append(step(path[-1], jnp.asarray(action, jnp.float32)))
    return np.array(path)


def test_fingers_push_the_block_and_never_pass_through_it():
    path = pushed([0.8, 0.02, 0, 0, 0.5, 0.0, 0, 0], [-1.0, 0.0], 40)
    assert path[-1, 4] < 0.2  # it has gone
    fingers = path[:, None, :2] + np.array([[0.0, APART], [0.0, -APART]])
    gaps = np.linalg.norm(fingers - path[:, None, 4:6], axis=-1)
    assert gaps.min() > 0.85 * (FINGER + BLOCK)


def test_block_that_nobody_touches_only_slows_down():
    path = pushed([2.0, 2.0, 0, 0, 0.0, 0.0, 0.3, 0.0], [0.0, 0.0], 20)
    assert (np.diff(path[:, 6]) < 0).all() and path[-1, 6] < 0.01
    np.testing.assert_allclose(path[-1, 4], 0.3 / 5.0, rtol=0.1)  # speed over friction, for 1 kg
    np.testing.assert_array_equal(path[:, 5], 0)


def test_fingers_start_on_the_far_side_of_a_block_away_from_its_place():
    env = BlockPushing()
    starts = np.array(jax.vmap(env.first)(jr.split(jr.key(0), 200)))
    assert (starts[:, 4] >= 0.4).all() and (starts[:, 0] - starts[:, 4] >= 0.2).all()
    assert (np.linalg.norm(starts[:, :2] - starts[:, 4:6], axis=1) > FINGER + BLOCK).all() and not starts[:, 2:4].any()
