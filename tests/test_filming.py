"""Films show an episode from its first frame to its last, at the speed that the environment asks for."""

import types

import gymnasium
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tiny import Averaging, Walk

from forethought import filming
from forethought.diagnostics.video import check_video
from forethought.envs.host import GymnasiumEnv
from forethought.envs.hosted import HostedJaxEnv
from forethought.envs.make import make
from forethought.envs.vector import GymnasiumVectorEnv
from forethought.errors import UserError
from forethought.run.evaluate import JitEvaluator
from forethought.run.film import Film
from forethought.run.host_evaluate import HostEvaluator

KEY = jr.key(0)
AGENT = Averaging()
STATE = jnp.zeros(2)


class Drawn(Walk):
    """Every pixel of its picture is the number of steps made."""

    def render(self, state):
        return np.full((40, 40, 3), int(state.steps), np.uint8)


class Shown(gymnasium.Env):
    """The same for Gymnasium, in episodes of 5 steps."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}
    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def __init__(self, render_mode="rgb_array"):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        self.made = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.made += 1
        return np.zeros(2, np.float32), 1.0, self.made == 5, False, {}

    def render(self):
        return np.full((40, 40, 3), self.made, np.uint8)


def numbers(film):
    return [int(frame[-1, -1, 0]) for frame in film.frames]


def filmed(env, *, films=1, **more):
    found = [Film() for _ in range(films)]
    evaluator = HostEvaluator(AGENT, env, num_episodes=films, **more)
    evaluator(STATE, key=KEY) if not films else list(evaluator.steps(STATE, key=KEY, films=found))
    return found


def test_the_last_frame_of_an_episode_is_in_the_film_of_a_host_environment():
    assert [numbers(f) for f in filmed(GymnasiumEnv([Shown()]), films=2)] == [[0, 1, 2, 3, 4, 5]] * 2
    (film,) = filmed(HostedJaxEnv(Drawn()))
    assert numbers(film) == film.steps == list(range(8))


@pytest.mark.parametrize(
    ("mode", "last"), [(AutoresetMode.NEXT_STEP, 5), (AutoresetMode.DISABLED, 5), (AutoresetMode.SAME_STEP, 4)]
)
def test_the_last_frame_is_there_unless_a_vector_environment_resets_before_it_can_be_drawn(mode, last):
    (film,) = filmed(GymnasiumVectorEnv(SyncVectorEnv([Shown], autoreset_mode=mode)))
    assert numbers(film) == list(range(last + 1))


def test_an_episode_that_the_evaluation_cuts_is_filmed_to_the_cut():
    (film,) = filmed(HostedJaxEnv(Drawn(limit=None)), max_steps=9)
    assert numbers(film) == list(range(10))


@pytest.fixture(scope="module")
def evaluation():
    return JitEvaluator(AGENT, Drawn(), num_episodes=2)(STATE, key=KEY)


def setup_of(env):
    return types.SimpleNamespace(env=env, env_name="drawn")


def test_films_of_jax_environments_end_on_the_last_frame(evaluation):
    films = [filming._drawn(Drawn(), evaluation, k) for k in range(2)]
    assert [numbers(f) for f in films] == [list(range(8))] * 2
    assert filming._notes(films, evaluation.lengths, setup_of(Drawn())) == []


def test_each_frame_says_its_step_and_the_return_so_far(evaluation, monkeypatch):
    said = []
    monkeypatch.setattr(filming, "overlay", lambda frame, text: said.append(text) or frame)
    film = filming._drawn(Drawn(), evaluation, 1)
    filming._named(film, np.arange(1.0, 8.0), 7, setup_of(Drawn()), episode=1)
    assert said[0] == "episode 2   step 0   return 0.0" and said[-1] == "episode 2   step 7   return 28.0"


def test_steps_of_a_film_are_the_simulators_steps_really_made(evaluation, monkeypatch):
    said = []
    monkeypatch.setattr(filming, "overlay", lambda frame, text: said.append(text) or frame)
    film = Film()
    for action in range(4):
        film.end(action, np.zeros((2, 2, 3), np.uint8))
    filming._named(film, np.ones(3), 5, setup_of(make(Drawn(), action_repeat=2)))  # the third action ended it early
    assert [text.split("   ")[0] for text in said] == ["step 0", "step 2", "step 4", "step 5"]


def test_a_long_episode_is_thinned_to_its_end_and_that_is_said():
    film = Film(most=10)
    for step in range(35):
        film.add(step, lambda step=step: np.full((2, 2, 3), step, np.uint8))
    film.end(35, np.full((2, 2, 3), 35, np.uint8))
    assert film.steps == [0, 4, 8, 12, 16, 20, 24, 28, 32, 35] == numbers(film)
    (note,) = filming._notes([film], np.array([35]), setup_of(Walk()))
    assert note == "the video shows one step in 4 of the episode's 35, and the last"


def test_a_film_that_lacks_the_end_says_so():
    film = Film()
    film.end(0, np.zeros((2, 2, 3), np.uint8))
    (note,) = filming._notes([film], np.array([5]), setup_of(Walk()))
    assert note.startswith("the video ends at step 0 of 5: the environment resets itself before")


def test_the_environment_says_how_fast_its_film_is():
    assert GymnasiumEnv([Shown()]).render_fps == 4
    assert GymnasiumEnv([Shown()], action_repeat=2).render_fps == 2
    assert GymnasiumVectorEnv(SyncVectorEnv([Shown])).render_fps == 4
    game = make("tic-tac-toe")
    assert game.render_fps == HostedJaxEnv(game).render_fps == 2


@pytest.mark.parametrize("asked", [None, 0, -3, "30", float("nan"), float("inf"), True])
def test_a_speed_that_is_none_is_not_taken(asked):
    env = Shown()
    env.metadata = {"render_modes": ["rgb_array"], "render_fps": asked}
    assert GymnasiumEnv([env]).render_fps is None


def test_without_a_stated_speed_a_short_film_lasts_and_a_long_one_is_smooth():
    assert [filming._usual_speed(n) for n in (1, 6, 45, 1000)] == [2, 2, 15, 30]


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 1e6])
def test_a_speed_that_no_film_has_is_refused_before_anything_is_drawn(fps, tmp_path):
    with pytest.raises(UserError, match="must be above 0 and at most 240"):
        check_video(tmp_path / "a.mp4", fps)


@pytest.mark.parametrize(("name", "words"), [("film", "has no ending"), ("a.avi", "ends in '.avi'")])
def test_a_file_that_is_no_film_is_refused(name, words, tmp_path):
    with pytest.raises(UserError, match=words):
        check_video(tmp_path / name, None)
