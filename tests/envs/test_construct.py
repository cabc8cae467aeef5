"""How environments are constructed, and what is said where that fails."""

import gymnasium
import jax
import pytest
from toy_envs import Counter

from forethought.envs.construct import json_kwargs
from forethought.envs.make import make
from forethought.errors import UserError


class Sized(Counter):
    """Takes arguments, and no render_mode."""

    def __init__(self, ends: int, goal: bool = False) -> None:
        super().__init__(ends)
        self.goal = goal


class Drawn(Counter):
    """Offers RGB frames, but its **kwargs go to a class that takes none."""

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    monkeypatch.setattr(gymnasium, "registry", gymnasium.envs.registration.registry)
    gymnasium.register("Sized-v0", entry_point=Sized, max_episode_steps=9)
    gymnasium.register("Fixed-v0", entry_point="test_construct:Sized", kwargs={"ends": 7})
    gymnasium.register("Drawn-v0", entry_point=Drawn)
    gymnasium.register("Made-v0", entry_point=lambda ends=2: Sized(ends))


def inner(host):
    return host.envs[0].unwrapped


@pytest.mark.parametrize("id", ["Fixed-v0", "Drawn-v0", "Made-v0"])
def test_what_was_registered_without_a_render_mode_is_made_by_its_id(id):
    host = make(id, num_envs=2)
    assert host.copy().name == id and host.render() is None


@pytest.mark.parametrize("env", ["Sized-v0", "test_construct:Sized", Sized, lambda ends, goal: Sized(ends, goal)])
def test_arguments_reach_the_constructor_of_every_environment_and_copy(env):
    host = make(env, env_kwargs={"ends": 4, "goal": True}, num_envs=2)
    assert [(e.unwrapped.ends, e.unwrapped.goal) for e in (*host.envs, *host.copy().envs)] == [(4, True)] * 3


def test_registered_arguments_can_be_replaced_and_the_time_limit_too():
    assert inner(make("Fixed-v0", env_kwargs={"ends": 3})).ends == 3
    assert make("Sized-v0", env_kwargs={"ends": 3, "max_episode_steps": 5}).spec.max_episode_steps == 5


def test_arguments_reach_tasks_that_are_seen_as_pictures():
    host = make("Pendulum-v1-pixels-8", env_kwargs={"g": 5.0})
    assert inner(host).g == 5.0


def picky():
    raise AssertionError


def needs(module):
    raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def version():
    raise RuntimeError("the model was compiled for another MuJoCo version")


@pytest.mark.parametrize(
    ("env", "kwargs", "words"),
    [
        (Sized, None, r"cannot be constructed without ends: give --env.kwargs ends=\.\.\. "),
        ("Sized-v0", None, "cannot be constructed without ends"),
        (Sized, {"ends": 3, "gaol": True}, "takes no argument 'gaol'; did you mean goal"),
        ("Sized-v0", {"ends": 3, "gaol": True}, "takes no argument 'gaol'; did you mean goal"),
        (Counter(), {"ends": 3}, "Counter is constructed already; hand in its class"),
        ("pendulum", {"g": 3}, "pendulum takes no argument 'g'; it takes none"),
        ("gymnax/Pendulum-v1", {"g": 3}, "takes no arguments; leave env_kwargs out"),
        ("dm_control/cartpole-swingup-v0-pixels", {"g": 3}, "takes no arguments; leave env_kwargs out"),
        (
            picky,
            None,
            r"AssertionError without a message \(raised in test_construct.py, line \d+: raise AssertionError\)",
        ),
        (
            lambda: needs("gymnax.envs"),
            None,
            r'needs the package gymnax.envs, which .* pip install "forethought\[jaxenvs',
        ),
        (lambda: needs("Box2D"), None, r'pip install "gymnasium\[box2d\]"'),
        (lambda: needs("xyz"), None, 'pip install "xyz"'),
        (version, None, r"another MuJoCo version.*mujoco \d+\.\d+.* is installed"),
    ],
)
def test_a_constructor_that_fails_is_one_line_with_the_remedy_that_fits(env, kwargs, words):
    with pytest.raises(UserError, match=words) as caught:
        make(env, env_kwargs=kwargs)
    assert "\n" not in str(caught.value) and "without arguments:" not in str(caught.value)


def test_arguments_are_kept_as_json_gives_them_back():
    assert json_kwargs({"size": (3, 4), "goal": None}) == {"size": [3, 4], "goal": None}
    assert json_kwargs(None) == {}


@pytest.mark.parametrize("wrong", [{"x": object()}, {"x": float("nan")}, {3: 1}, {"not a name": 1}, [("x", 1)]])
def test_arguments_that_no_record_can_hold_are_refused(wrong):
    with pytest.raises(UserError, match="env_kwargs"):
        json_kwargs(wrong)


def test_what_no_deep_copy_is_made_of_is_made_again_without_a_render_mode():
    env = gymnasium.make("Fixed-v0")
    env.unwrapped.rows = (i for i in range(3))  # a generator cannot be copied
    assert make(env).copy().envs[0].unwrapped.ends == 7


class Wrapped(gymnasium.Wrapper):
    """A wrapper's class, which makes what it wraps."""

    def __init__(self) -> None:
        super().__init__(Counter(5))


class Undescribed(Counter):
    metadata = None


class Modeless(Counter):
    metadata = {"render_modes": None}


@pytest.mark.parametrize("kind", [Wrapped, Undescribed, Modeless])
def test_classes_whose_metadata_name_no_modes_are_made(kind):
    assert make(kind).start([jax.random.key(0)]).shape == (1, Counter(5).observation_space.shape[0])
