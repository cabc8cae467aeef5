"""Pictures as observations: drawn in JAX, by Gymnasium's and dm_control's renderers, and the boards of gymnax."""

import re
from collections.abc import Callable

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.core import AbstractEnv
from forethought.envs.acrobot import Acrobot
from forethought.envs.check import check_env
from forethought.envs.draw import BLUE, GREY, PAPER
from forethought.envs.host import GymnasiumEnv
from forethought.envs.make import OWN, list_envs, make
from forethought.envs.mountain_car import MountainCar, _land
from forethought.envs.pendulum import Pendulum
from forethought.envs.pixels import Pixels, RenderedPixels, fitted, has_picture
from forethought.envs.point_mass import VIEW, PointMass
from forethought.envs.raster import Capsule, Land, Scene, disc, raster
from forethought.envs.task import TaskState
from forethought.errors import EnvironmentFault, UserError
from forethought.types import Discrete, EnvSpec

KEY = jr.key(0)
BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (255, 0, 0)
PICTURED = sorted(name for name, kind in OWN.items() if has_picture(kind))


def point(x, y):
    return jnp.array([x, y], jnp.float32)


def covered(shapes, size=200):
    """Share of the picture that the white shapes cover, in world units squared (the picture is 2 x 2)."""
    return 4 * float(raster(Scene(shapes, 1.0, BLACK), size)[..., 0].mean()) / 255


def test_areas_of_discs_and_capsules_are_those_of_geometry():
    assert covered([disc(point(0.1, -0.2), 0.5, WHITE)]) == pytest.approx(np.pi * 0.25, rel=2e-3)
    line = Capsule(point(-0.3, 0.0), point(0.3, 0.4), 0.1, WHITE)
    assert covered([line]) == pytest.approx(np.hypot(0.6, 0.4) * 0.2 + np.pi * 0.01, rel=5e-3)
    assert covered([disc(point(0.1, -0.2), 0.5, WHITE)], 16) == pytest.approx(np.pi * 0.25, rel=0.03)


def test_shapes_lie_where_they_should_and_later_ones_are_on_top():
    shapes = [disc(point(0.5, 0.5), 0.3, WHITE), disc(point(0.5, 0.5), 0.1, RED)]
    picture = np.asarray(raster(Scene(shapes, 1.0, BLACK), 64))
    assert picture[16, 48].tolist() == [255, 0, 0]  # up and to the right
    assert picture[16, 54].tolist() == [255, 255, 255] and picture[48, 16].tolist() == [0, 0, 0]
    assert (picture == np.round(picture)).all()


def test_edges_show_movements_of_a_tenth_of_a_pixel():
    at = lambda x: np.asarray(raster(Scene([disc(point(x, 0.0), 0.2, WHITE)], 1.0, BLACK), 32))
    assert np.abs(at(0.0) - at(0.1 * 2 / 32)).sum() > 100


def test_land_is_what_lies_below_its_curve():
    slope = Scene([], 1.0, BLACK, Land(lambda x: 0.5 * x - 0.2, WHITE))
    picture = np.asarray(raster(slope, 64))[..., 0] / 255
    assert 4 * picture.mean() == pytest.approx(2 * (1 - 0.2), rel=2e-3)
    assert picture[63, 0] == 1 and picture[0, 63] == 0  # the row at the bottom comes last
    assert picture[30, 63] == 1 and picture[30, 32] == 0


def test_car_stands_on_its_hill_and_the_tip_of_the_acrobot_crosses_its_line():
    sky = np.asarray(raster(Scene([], 1.05, PAPER, Land(_land, GREY)), 64))
    for position in (-1.1, -0.5, 0.2):
        seen = np.asarray(raster(MountainCar().scene(point(position, 0.0)), 64))
        car = np.argwhere((seen != sky).any(-1) & (np.arange(64) < 50)[None])  # without the flag
        column = int((position + 0.3 + 1.05) / 2.1 * 64)
        ground = int((sky[:, column] == PAPER).all(-1).sum())
        assert abs(car[:, 1].mean() - column) < 4 and ground - 8 < car[:, 0].mean() < ground
    line = lambda physics: np.asarray(raster(Acrobot().scene(jnp.array(physics)), 64))[18]
    hanging, upright = line([0.0, 0.0, 0.0, 0.0]), line([np.pi, 0.0, 0.0, 0.0])
    assert (hanging == hanging[0]).all() and (hanging[0] != PAPER).all() and (upright[32] != hanging[32]).all()


def test_a_point_that_leaves_the_picture_stands_at_its_edge():
    far, edge = (raster(PointMass().scene(jnp.array([x, 0.0, 0.0, 0.0])), 32) for x in (9.0, VIEW))
    np.testing.assert_array_equal(far, edge)
    assert (np.asarray(edge)[16, -1] == BLUE).all()
    assert raster(PointMass(1).scene(point(0.5, 0.0)), 8).shape == (8, 8, 3)


def test_grey_is_the_weighted_mean_of_the_colours():
    scene = Scene([], 1.0, (200, 100, 50))
    assert raster(scene, 8, grey=True).shape == (8, 8, 1)
    assert float(raster(scene, 8, grey=True)[0, 0, 0]) == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


@pytest.mark.parametrize("name", PICTURED)
def test_picture_of_an_own_task_is_its_state_and_the_reward_its_own(name):
    env, plain = make(f"{name}-pixels-32"), make(name)
    assert isinstance(env, AbstractEnv) and env.spec.image == (32, 32, 3) and env.spec.obs_dim == 32 * 32 * 3
    assert env.spec.max_episode_steps == plain.spec.max_episode_steps and env.reward_function is None
    step, plain_step = (jax.jit(lambda s, a, e=e: e.step(s, a, key=KEY)) for e in (env, plain))
    states, seen = [], []
    (state, obs), (same, _) = env.reset(key=KEY), plain.reset(key=KEY)
    for action in env.spec.action.sample((6,), key=KEY):
        state, obs, reward, terminated, truncated = step(state, action)
        same, _, wanted, *ends = plain_step(same, action)
        np.testing.assert_allclose(reward, wanted, rtol=1e-6)
        assert [bool(terminated), bool(truncated)] == [bool(x) for x in ends]
        states.append(np.asarray(state.physics))
        seen.append(np.asarray(obs))
    assert (np.stack(seen) == np.round(seen)).all() and np.min(seen) >= 0 and np.max(seen) <= 255
    assert all((seen[i] != seen[j]).any() for i in range(6) for j in range(i))


def test_same_angle_looks_the_same_whatever_the_speed_and_opposite_angles_are_mirrored():
    env = Pixels(Pendulum(), 32)
    look = lambda angle, speed: np.asarray(
        env.spec.pixels(env.reset(key=KEY, start=TaskState(point(angle, speed), jnp.int32(0)))[1])
    )
    np.testing.assert_array_equal(look(0.7, 0.0), look(0.7, 5.0))
    np.testing.assert_allclose(look(0.7, 0.0), look(-0.7, 0.0)[:, ::-1], atol=1)
    assert (look(0.7, 0.0)[:, :16] != look(-0.7, 0.0)[:, :16]).any()


def test_ids_say_size_and_colour_and_are_listed():
    env = make("pendulum-pixels-16-grey")
    assert env.spec.image == (16, 16, 1) and env.spec.name == "pendulum-pixels-16-grey"
    assert make("pendulum-pixels").spec.name == "pendulum-pixels"
    assert {"pendulum-pixels", "cartpole-swingup-pixels"} <= set(list_envs()["forethought"])
    assert "minatar-breakout" in list_envs()["minatar"]


@pytest.mark.parametrize(
    ("id", "words"),
    [
        ("pendulum-pixels-4", "pictures of 4x4 are not supported, wanted 8 to 512"),
        ("dm_control/cartpole-balance-v0-pixels-5000", "pictures of 5000x5000"),
        ("catch-pixels", "catch has no picture"),
        ("pendulun-pixels", "did you mean pendulum"),
        ("Pendulum-v1-pixels-velocity", "only our own tasks can show velocities"),
        ("dm_control/cartpole-balance-v0-pixels-velocity", "only our own tasks can show velocities"),
        ("gymnax/CartPole-v1-pixels", "gymnax/CartPole-v1 has no picture"),
    ],
)
def test_pictures_that_cannot_be_are_one_line(id, words):
    with pytest.raises(UserError, match=words) as caught:
        make(id)
    assert "\n" not in str(caught.value)


def test_gymnasium_task_is_seen_through_its_renderer():
    env = make("Pendulum-v1-pixels-32")
    obs = env.start([KEY])
    assert env.spec.image == (32, 32, 3) and obs.shape == (1, 3072) and obs.dtype == np.float32
    step = env.step(np.array([[2.0]]), step_key=KEY, reset_key=lambda i: KEY)
    assert (step.next_obs != obs).any() and env.render().shape == (500, 500, 3)
    frame = np.asarray(env.envs[0].render())
    np.testing.assert_array_equal(env.spec.pixels(step.next_obs)[0], fitted(frame, 32, grey=False, name="x"))
    other = env.copy(1)
    assert (other.start([KEY]) == obs).all()


def test_repeated_action_draws_one_picture(monkeypatch):
    drawn = []
    env = make("Pendulum-v1-pixels-32", action_repeat=4)
    env.start([KEY])
    picture = RenderedPixels._picture
    monkeypatch.setattr(RenderedPixels, "_picture", lambda self: drawn.append(1) or picture(self))
    env.step(np.array([[2.0]]), step_key=KEY, reset_key=lambda i: KEY)
    assert len(drawn) == 1


def test_scaling_down_takes_the_mean_of_what_a_pixel_covers():
    frame = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    wanted = frame.reshape(8, 4, 8, 4, 3).mean((1, 3))
    np.testing.assert_allclose(fitted(frame, 8, grey=False, name="x"), wanted, atol=1)
    np.testing.assert_allclose(fitted(frame, 8, grey=True, name="x")[..., 0], wanted @ [0.299, 0.587, 0.114], atol=1.5)
    with pytest.raises(UserError, match=r"float32 of shape \(8, 8\)"):
        fitted(np.zeros((8, 8), np.float32), 8, grey=False, name="x")


class Painted(gymnasium.Env):
    """Observes pictures of the wrong or the right kind."""

    def __init__(self, space):
        self.observation_space, self.action_space = space, gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        highest = min(200, int(self.observation_space.high.max()) + 1)
        return self.np_random.integers(0, highest, self.observation_space.shape).astype(
            self.observation_space.dtype
        ), {}

    def step(self, action):
        return np.full(self.observation_space.shape, 7, self.observation_space.dtype), 0.0, False, False, {}


@pytest.mark.parametrize(("shape", "image"), [((6, 5, 3), (6, 5, 3)), ((6, 5), (6, 5, 1))])
def test_pictures_of_bytes_are_taken_as_they_are(shape, image):
    env = GymnasiumEnv([Painted(gymnasium.spaces.Box(0, 255, shape, np.uint8))])
    assert env.spec.image == image
    env.start([KEY])
    step = env.step(np.zeros(1, int), step_key=KEY, reset_key=lambda i: KEY)
    assert step.next_obs.tolist() == [[7.0] * int(np.prod(image))]
    both = make(gymnasium.vector.SyncVectorEnv([lambda: Painted(gymnasium.spaces.Box(0, 255, shape, np.uint8))] * 2))
    assert both.start(list(jr.split(KEY))).shape == (2, int(np.prod(image)))


@pytest.mark.parametrize(
    "space",
    [
        gymnasium.spaces.Box(0, 1, (6, 6, 3), np.float32),
        gymnasium.spaces.Box(0, 255, (6, 6, 3), np.int32),
        gymnasium.spaces.Box(0, 255, (3, 16, 24), np.uint8),
        gymnasium.spaces.Box(0, 255, (5, 8, 8), np.uint8),
        gymnasium.spaces.Box(0, 255, (2, 6, 6, 3), np.uint8),
    ],
)
def test_pictures_of_another_type_or_layout_are_refused_with_a_wrapper_that_mends_them(space):
    with pytest.raises(UserError, match=r"uint8 .height, width, channels. in 0..255") as caught:
        GymnasiumEnv([Painted(space)])
    said = str(caught.value)
    assert "\n" not in said and str(space.dtype) in said and str(space.shape) in said
    remedy = said[said.index("gymnasium.wrappers.Transform") :]
    mended = eval(remedy, {"gymnasium": gymnasium, "np": np, "env": Painted(space)})
    host = GymnasiumEnv([mended])
    assert host.spec.image is not None and host.start([KEY]).shape == (1, np.prod(space.shape))


@pytest.mark.parametrize(
    "space",
    [
        gymnasium.spaces.Box(0, 255, (12, 6, 64), np.uint8),
        gymnasium.spaces.Box(-1, 1, (2, 3), np.float32),
        gymnasium.spaces.Box(0, 1, (2, 3), np.float32),
        gymnasium.spaces.Box(0, 9, (8, 8), np.int64),
        gymnasium.spaces.Box(0, 1, (4, 3, 7), np.float64),
    ],
)
def test_what_is_no_picture_is_to_be_flattened_without_loss(space):
    with pytest.raises(UserError, match="FlattenObservation") as caught:
        GymnasiumEnv([Painted(space)])
    assert "TransformObservation" not in str(caught.value)
    assert GymnasiumEnv([gymnasium.wrappers.FlattenObservation(Painted(space))]).spec.obs_dim == np.prod(space.shape)


def test_what_may_be_a_picture_or_not_gets_both_remedies():
    with pytest.raises(UserError, match=r"if it is no picture, FlattenObservation; if it is one.*TransformObservation"):
        GymnasiumEnv([Painted(gymnasium.spaces.Box(0, 1, (8, 8), np.float32))])


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (np.full((6, 6), 0.5), "holds 0.5, expected whole numbers from 0 to 255.*multiply by 255"),
        (np.full((6, 6), 256), "holds 256"),
        (np.full((6, 6), -1), "holds -1"),
        (np.full((6, 6), np.nan), "not finite"),
        (np.zeros((6, 6, 1), np.uint8), r"shape \(6, 6, 1\)"),
    ],
)
def test_a_picture_that_is_not_what_was_declared_is_a_fault(picture, words):
    env = Painted(gymnasium.spaces.Box(0, 255, (6, 6), np.uint8))
    host = GymnasiumEnv([env])
    host.start([KEY])
    env.step = lambda action: (picture, 0.0, False, False, {})
    with pytest.raises(EnvironmentFault, match=f"episode 0, step 1.*{words}"):
        host.step(np.zeros(1, int), step_key=KEY, reset_key=lambda i: KEY)


@pytest.mark.parametrize(
    ("values", "level", "words"),
    [
        (lambda t: 0.5 + 0 * t, "error", "0.5 among their values.*multiply by 255"),
        (lambda t: 300.0 + 0 * t, "error", "300 among"),
        (lambda t: 0.0 * t, "warning", "0 everywhere"),
        (lambda t: t % 2, "warning", "all but black"),
        (lambda t: t, "ok", "4x5x1, values 0 to 20, and a vector of 2 beside them"),
    ],
)
def test_check_env_says_what_is_amiss_with_pictures(values, level, words):
    found = [f for f in check_env(Slide(values), num_steps=20) if f.name == "pictures"]
    assert [f.level for f in found] == [level] and re.search(words, found[0].message), found


class Slide(AbstractEnv[jnp.ndarray]):
    """A picture of 4 x 5 whose first pixel is `values` of the step, and a vector of two."""

    values: Callable = eqx.field(static=True)

    @property
    def spec(self):
        return EnvSpec("slide", 22, Discrete(2), max_episode_steps=50, image=(4, 5, 1))

    def seen(self, t):
        return jnp.append(jnp.zeros(20).at[0].set(self.values(t)), jnp.stack([t, -t]))

    def reset(self, *, key, start=None, clock=0):
        return jnp.zeros(()), self.seen(jnp.zeros(()))

    def step(self, state, action, *, key):
        no = jnp.zeros((), bool)
        return state + 1, self.seen(state + 1), state, no, state + 1 >= 50


def test_checking_an_environment_seen_as_pictures_finds_nothing_wrong():
    findings = check_env("Pendulum-v1-pixels-32", num_steps=60)
    assert not [f for f in findings if f.level == "error" or (f.name == "observation space" and f.level != "ok")]


def test_dm_control_is_seen_through_camera_zero():
    env = make("dm_control/cartpole-balance-v0-pixels-32")
    first = env.start([KEY])
    assert env.spec.image == (32, 32, 3) and env.spec.name == "dm_control/cartpole-balance-v0-pixels-32"
    assert first.std() > 5
    step = env.step(np.array([[1.0]]), step_key=KEY, reset_key=lambda i: KEY)
    assert step.next_obs.shape == (1, 3072)
    np.testing.assert_array_equal(env.start([KEY]), first)
    assert env.render().shape == (320, 480, 3)


def test_missing_opengl_is_one_line_that_says_what_to_install(monkeypatch):
    from dm_control.mujoco import Physics

    def fail(self, *arguments, **options):
        raise RuntimeError("no OpenGL here")

    monkeypatch.setattr(Physics, "render", fail)
    with pytest.raises(UserError, match="libegl1") as caught:
        make("dm_control/cartpole-balance-v0-pixels-32")
    assert "no OpenGL here" in str(caught.value) and "\n" not in str(caught.value)


def test_minatar_boards_are_pictures_of_zero_and_255():
    env = make("minatar-breakout")
    assert env.spec.name == "gymnax/Breakout-MinAtar" and env.spec.image == (10, 10, 4)
    state, obs = env.reset(key=KEY)
    assert set(np.unique(obs)) == {0.0, 255.0}
    board = np.asarray(env.spec.pixels(obs))
    assert board[..., 3].sum() == 30 * 255 and board[9, 4, 0] == 255  # bricks and paddle
    step = jax.jit(lambda s, a: env.step(s, a, key=KEY))
    state, obs, _, terminated, truncated = step(state, jnp.array(1))
    assert np.asarray(env.spec.pixels(obs))[9, 3, 0] == 255 and not terminated and not truncated
    late = type(state)(**{**vars(state), "time": jnp.array(999)})
    *_, terminated, truncated = step(late, jnp.array(0))
    assert truncated and not terminated
    assert env.render(state).shape == (320, 320, 3)
