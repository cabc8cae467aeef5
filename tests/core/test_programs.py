"""Compiled functions are shared by value and freed after."""

import functools
import gc
import sys
import types
import weakref

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Walk, make_agent, walk_reward

from forethought.core import programs
from forethought.core.identity import Incomparable, key_of
from forethought.core.programs import compiled, shared
from forethought.presets.pets import PETSConfig
from forethought.types import Given, never_terminates

SCALE = 2.0  # a global that a user may change between two runs


@pytest.fixture(autouse=True)
def none_kept():
    programs.forget()
    yield
    programs.forget()


def scaled_reward(obs, action, next_obs):
    return SCALE * walk_reward(obs, action, next_obs)


def weighted(weight):
    return lambda obs, action, next_obs: weight * next_obs[0]


class Springs(Walk):
    stiffness: float = eqx.field(static=True, default=1.0)
    STIFFER = 1.0

    @property
    def reward_function(self):
        return self.reward

    def reward(self, obs, action, next_obs):
        return SCALE * self.stiffness * next_obs[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: 1,
        lambda: float("nan"),
        lambda: (1, [2.0, {"a": None}], {3}),
        lambda: jnp.arange(3.0),
        lambda: np.arange(3.0),
        lambda: jax.random.key(4),
        lambda: PETSConfig(random_steps=7),
        lambda: make_agent("pets"),
        lambda: Walk(limit=5),
        lambda: Springs().reward_function,
        lambda: weighted(2.0),
        lambda: functools.partial(walk_reward, 1.0),
        lambda: jax.nn.relu,
        lambda: jax.nn.swish,
    ],
)
def test_values_made_twice_alike_have_one_key(make):
    assert key_of(make()) == key_of(make())
    assert hash(key_of(make())) == hash(key_of(make()))


@pytest.mark.parametrize(
    "one, other",
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ("a", b"a"),
        ((1,), [1]),
        (jnp.arange(3), jnp.arange(3.0)),
        (jnp.arange(3), np.arange(3, dtype=np.int32)),
        (jnp.zeros(4), jnp.zeros((2, 2))),
        (jnp.zeros(2), jnp.array([0.0, 1e-30])),
        (jax.random.key(4), jax.random.key(5)),
        (PETSConfig(random_steps=7), PETSConfig(random_steps=8)),
        (make_agent("pets"), make_agent("random-shooting")),
        (make_agent("pets"), make_agent("pets", given=Given(weighted(1.0), never_terminates))),
        (make_agent("pets"), make_agent("pets", oracle=True)),
        (Walk(limit=5), Walk(limit=6)),
        (Walk(), Springs()),
        (Springs().reward_function, Springs(stiffness=2.0).reward_function),
        (weighted(2.0), weighted(3.0)),
        (weighted(2.0), walk_reward),
        (functools.partial(walk_reward, 1.0), functools.partial(walk_reward, 2.0)),
        (jnp.sin, jnp.cos),
        (jax.nn.relu, jax.nn.elu),
    ],
)
def test_values_that_differ_have_different_keys(one, other):
    assert key_of(one) != key_of(other)


@pytest.mark.parametrize("make", [lambda: scaled_reward, lambda: Springs().reward_function, Springs])
def test_changed_global_of_a_user_gives_another_key(make, monkeypatch):
    before = key_of(make())
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 3.0)
    assert key_of(make()) != before


def test_changed_attribute_of_a_user_class_gives_another_key(monkeypatch):
    before = key_of(Springs())
    monkeypatch.setattr(Springs, "STIFFER", 2.0)
    assert key_of(Springs()) != before


def test_changed_global_of_a_module_that_a_users_function_reads_gives_another_key(monkeypatch):
    settings = types.ModuleType("my_settings")
    settings.weight = 1.0
    monkeypatch.setattr(sys.modules[__name__], "settings", settings, raising=False)
    function = lambda obs: settings.weight * obs
    before = key_of(function)
    settings.weight = 2.0
    assert key_of(function) != before


def test_function_defined_again_with_other_code_gives_another_key():
    space = {}
    exec("def f(x): return x + 1", space)
    before = key_of(space["f"])
    exec("def f(x): return x + 1", space)
    assert key_of(space["f"]) == before
    exec("def f(x): return x + 2", space)
    assert key_of(space["f"]) != before


def test_value_that_refers_to_itself_has_a_key():
    def down(n):
        return n if n == 0 else down(n - 1)

    assert key_of(down) == key_of(down)


@pytest.mark.parametrize("value", [iter([1]), open, (i for i in range(3))][::2])
def test_what_may_change_unnoticed_cannot_be_compared(value):
    with pytest.raises(Incomparable):
        key_of(value)


def _double(scale):
    return compiled(lambda x: scale * x)


def test_equal_parts_share_what_was_made_and_others_do_not():
    assert shared(_double, 2.0) is shared(_double, 2.0)
    assert shared(_double, 2.0) is not shared(_double, 3.0)
    assert shared(_double, iter([])) is not shared(_double, iter([]))


def test_least_recently_used_are_dropped_past_the_bound(monkeypatch):
    monkeypatch.setattr(programs, "MOST_KEPT", 2)
    first, second = shared(_double, 1.0), shared(_double, 2.0)
    assert shared(_double, 1.0) is first
    shared(_double, 3.0)
    assert shared(_double, 1.0) is first
    assert shared(_double, 2.0) is not second


def test_dropped_programs_are_freed(monkeypatch):
    monkeypatch.setattr(programs, "MOST_KEPT", 1)
    program = shared(_double, 1.0)
    program(jnp.ones(2))
    gone = weakref.ref(program)
    del program
    shared(_double, 2.0)
    gc.collect()
    assert gone() is None


def test_compiled_traces_arrays_and_keeps_all_else_constant():
    traced = []

    def function(pair, flag, rows):
        traced.append(flag)
        return {"sum": pair[0] + rows, "flag": flag, "name": pair[1]}

    program = compiled(function)
    for value in (1.0, 2.0):
        answer = program((jnp.float32(value), "a"), True, np.arange(2.0, dtype=np.float32))
        assert answer["flag"] is True and answer["name"] == "a"
        np.testing.assert_array_equal(answer["sum"], value + np.arange(2.0))
    program((jnp.float32(1), "a"), False, jnp.zeros(2))
    assert traced == [True, False]


def test_donated_buffers_are_taken_away_but_not_those_of_the_first_argument():
    first, rest = jnp.ones(3), jnp.ones(3)
    compiled(lambda a, b: a + b, donate=True)(first, rest)
    assert rest.is_deleted() and not first.is_deleted()


def test_error_of_a_check_inside_says_what_was_wrong():
    program = compiled(lambda x: eqx.error_if(x, x > 0, "x is above 0"))
    with pytest.raises(eqx.EquinoxRuntimeError, match=r"^x is above 0"):
        program(jnp.float32(1))
