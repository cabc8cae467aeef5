"""Observations of a picture and a vector: Gymnasium's Dict, and tasks of our own."""

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gymnasium import spaces
from latent_world import SMALL
from tiny import updated

from forethought.agents.dreamer_v3 import DreamerV3
from forethought.envs.check import check_env
from forethought.envs.host import GymnasiumEnv
from forethought.envs.make import make
from forethought.errors import EnvironmentFault, UserError
from forethought.presets.dreamer_v3 import DreamerV3Config
from forethought.replay.sequence import SequenceReplay
from forethought.types import Transition

KEY = jr.key(0)
PICTURE = spaces.Box(0, 255, (8, 8, 3), np.uint8)
JOINTS, TOUCH = spaces.Box(-5, 5, (2,), np.float32), spaces.Box(-5, 5, (1,), np.float64)


class Robot(gymnasium.Env):
    """Sees the number of the step in a picture and in two vectors, of which one comes before the picture."""

    def __init__(self, space: dict | None = None):
        self.observation_space = spaces.Dict(space or {"a-joints": JOINTS, "camera": PICTURE, "touch": TOUCH})
        self.action_space, self.steps = spaces.Box(-1, 1, (1,), np.float32), 0

    def obs(self):
        joints = np.array([self.steps, -self.steps], np.float32) / 10
        picture = np.zeros((8, 8, 3), np.uint8)
        picture[0, self.steps % 8, 1] = 200
        return {"touch": np.array([0.5]), "camera": picture, "a-joints": joints}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.obs(), {}

    def step(self, action):
        self.steps += 1
        return self.obs(), float(action[0]), False, self.steps >= 9, {}


def wanted(steps):
    picture = np.zeros((8, 8, 3))
    picture[0, steps % 8, 1] = 200
    return np.concatenate([picture.reshape(-1), [steps / 10, -steps / 10, 0.5]])


def test_the_picture_comes_first_and_the_vectors_behind_it_in_their_order():
    host = make(Robot, num_envs=2)
    assert host.spec.image == (8, 8, 3) and host.spec.obs_dim == 195 and host.spec.vector_dim == 3
    np.testing.assert_allclose(host.start(list(jr.split(KEY))), [wanted(0)] * 2, atol=1e-6)
    step = host.step(np.zeros((2, 1)), step_key=KEY, reset_key=lambda i: KEY)
    np.testing.assert_allclose(step.next_obs, [wanted(1)] * 2, atol=1e-6)


@pytest.mark.parametrize("mode", list(gymnasium.vector.AutoresetMode))
def test_vector_environments_show_the_same_and_the_true_last_observation(mode):
    env = make(gymnasium.vector.SyncVectorEnv([Robot, Robot], autoreset_mode=mode))
    np.testing.assert_allclose(env.start(list(jr.split(KEY))), [wanted(0)] * 2, atol=1e-6)
    for t in range(1, 10):
        step = env.step(np.zeros((2, 1)), step_key=KEY, reset_key=lambda i: KEY)
        np.testing.assert_allclose(step.next_obs, [wanted(t)] * 2, atol=1e-6)
    assert step.truncated.all()


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"left": PICTURE, "right": PICTURE}, "2 pictures .'left', 'right'.*wanted at most one"),
        ({"camera": PICTURE, "graph": spaces.Sequence(JOINTS)}, "observation 'graph' is a Sequence"),
        ({"camera": spaces.Box(0, 1, (8, 8, 3), np.float32)}, "observation 'camera': float32.*uint8"),
        ({"camera": PICTURE, "inner": spaces.Dict({"camera": PICTURE})}, "2 pictures .'camera', 'inner.camera'"),
    ],
)
def test_other_dicts_are_one_line(space, words):
    with pytest.raises(UserError, match=f"Robot.*{words}") as caught:
        make(Robot(space), host=True)
    assert "\n" not in str(caught.value)


def test_a_missing_part_is_a_fault_that_names_it():
    env = Robot()
    host = GymnasiumEnv([env])
    host.start([KEY])
    env.step = lambda action: ({"camera": np.zeros((8, 8, 3), np.uint8)}, 0.0, False, False, {})
    with pytest.raises(EnvironmentFault, match=r"step 1: observation \['camera'\], expected a dict with 'a-joints'"):
        host.step(np.zeros((1, 1)), step_key=KEY, reset_key=lambda i: KEY)


def test_check_env_looks_into_a_dict():
    findings = {f.name: f for f in check_env(Robot, num_steps=30)}
    assert findings["pictures"].level == "ok" and "a vector of 3" in findings["pictures"].message
    assert findings["observation space"].level == "ok"
    low = {"a-joints": spaces.Box(0, 5, (2,), np.float32), "camera": PICTURE, "touch": TOUCH}
    flaw = {f.name: f for f in check_env(Robot(low), num_steps=30)}["observation space"]
    assert flaw.level == "error" and "'a-joints' -0.1 in dimension 1 outside [0, 5]" in flaw.message


def test_velocities_stand_beside_the_picture_of_an_own_task():
    env, plain = make("pendulum-pixels-16-grey-velocity"), make("pendulum")
    _, obs = env.reset(key=KEY)
    assert env.spec.name == "pendulum-pixels-16-grey-velocity" and env.spec.obs_dim == 257 and env.spec.vector_dim == 1
    np.testing.assert_array_equal(env.spec.vector(obs), plain.reset(key=KEY)[1][2:])
    np.testing.assert_array_equal(
        env.spec.pixels(obs), make("pendulum-pixels-16-grey").reset(key=KEY)[1].reshape(16, 16, 1)
    )


def stretch(env, steps):
    """`steps` transitions of random actions, host or JAX, as `[steps, 1, ...]`."""
    host = make(env, host=True)
    obs, rows = host.start([KEY]), []
    for t in range(steps):
        action = np.asarray(host.spec.action.sample((1,), key=jr.fold_in(KEY, t)))
        out = host.step(action, step_key=jr.fold_in(KEY, t), reset_key=lambda i: KEY)
        rows.append(Transition(obs, action, out.reward, out.next_obs, out.terminated, out.truncated))
        obs = out.obs
    return host.spec, rows


@pytest.mark.slow
@pytest.mark.parametrize("env", [Robot, "pendulum-pixels-8-velocity"])
def test_dreamer_v3_acts_and_learns_on_both(env):
    spec, rows = stretch(env, 16)
    sizes = {"batch_size": 2, "batch_length": 4, "imagination": 2, "actor_layers": 1, "critic_layers": 1}
    agent = DreamerV3(spec, DreamerV3Config(**sizes, random_steps=8, train_ratio=2.0, warmup=2, model=SMALL))
    replay, add = SequenceReplay.empty(spec, 32), jax.jit(lambda replay, row: replay.add(row))
    for row in rows:
        replay = add(replay, jax.tree.map(jnp.asarray, row))
    state, metrics = eqx.filter_jit(lambda s, r: updated(agent, s, r, key=KEY))(agent.init(key=KEY), replay)
    assert {"model/image_loss", "model/vector_loss"} <= set(metrics), sorted(metrics)
    assert all(np.isfinite(v) for v in metrics.values())
    obs = jnp.asarray(rows[-1].next_obs[0])
    act = jax.jit(lambda o: agent.act(state, agent.init_memory(state), o, key=KEY, explore=False)[0])
    assert (np.abs(act(obs)) <= np.abs(np.array(spec.action.high))).all()
