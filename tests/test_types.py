"""Spaces, specs, and functions of one transition made to work on many."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.types import Box, Discrete, EnvSpec, Transition, never_terminates, pointwise


def test_box_samples_fill_their_bounds():
    x = Box((-2.0, 1.0), (2.0, 1.5)).sample((5000,), key=jr.key(0))
    np.testing.assert_allclose(x.min(0), [-2.0, 1.0], atol=0.01)
    np.testing.assert_allclose(x.max(0), [2.0, 1.5], atol=0.01)


def test_discrete_samples_are_all_actions_equally_often():
    x = Discrete(3).sample((6000,), key=jr.key(0))
    np.testing.assert_allclose(np.bincount(x), 2000, rtol=0.1)
    assert x.dtype == jnp.int32


@pytest.mark.parametrize("bounds", [((), ()), ((0.0,), (0.0,)), ((0.0,), (np.inf,)), ((0.0, 0.0), (1.0,))])
def test_box_that_cannot_be_sampled_is_refused(bounds):
    with pytest.raises(ValueError, match="Box: low="):
        Box(*bounds)


def test_spec_refuses_angles_that_it_does_not_observe():
    with pytest.raises(ValueError, match=r"angle_dims=\(2,\) must lie in 0..1"):
        EnvSpec("x", 2, Discrete(2), angle_dims=(2,))
    with pytest.raises(ValueError, match="n=0 must be at least 1"):
        Discrete(0)


@pytest.mark.parametrize("turns", [-3, -1, 0, 2])
def test_difference_of_angles_is_the_short_way_whatever_the_turns(turns):
    spec = EnvSpec("x", 2, Discrete(2), angle_dims=(0,))
    obs, near = jnp.array([3.0, 3.0]), jnp.array([-3.0 + 2 * np.pi * turns, -3.0])
    np.testing.assert_allclose(spec.difference(near, obs), [2 * np.pi - 6, -6.0], atol=1e-5)


def test_angles_of_numpy_observations_are_those_of_jax_ones():
    spec = EnvSpec("x", 2, Discrete(2), angle_dims=(1,))
    obs, near = np.array([[3.0, 3.0]], np.float32), np.array([[-3.0, -3.0]], np.float32)
    np.testing.assert_array_equal(spec.difference(near, obs), spec.difference(jnp.array(near), jnp.array(obs)))
    np.testing.assert_allclose(spec.difference(near, obs), [[-6.0, 2 * np.pi - 6]], rtol=1e-5)
    np.testing.assert_allclose(spec.features(obs), [[3.0, np.sin(3.0), np.cos(3.0)]], rtol=1e-5)


def test_image_and_vector_parts_of_an_observation_are_told_apart():
    spec = EnvSpec("x", 26, Discrete(2), image=(2, 4, 3))
    obs = np.arange(5 * 26, dtype=np.float32).reshape(5, 26)
    assert (spec.num_pixels, spec.vector_dim) == (24, 2)
    assert spec.pixels(obs).shape == (5, 2, 4, 3)
    np.testing.assert_array_equal(spec.pixels(obs)[2, 1, 3], 2 * 26 + np.arange(21, 24))
    np.testing.assert_array_equal(spec.vector(obs)[2], 2 * 26 + np.arange(24, 26))


def test_as_a_networks_input_a_picture_lies_between_0_and_1():
    spec = EnvSpec("seen", 14, Discrete(2), image=(2, 2, 3), angle_dims=(13,))
    obs = jnp.array([255.0] * 11 + [51.0, 7.0, np.pi / 2])
    np.testing.assert_allclose(spec.features(obs), [1.0] * 11 + [0.2, 7.0, 1.0, 0.0], atol=1e-6)


def test_vector_task_has_no_pixels_and_is_a_vector_throughout():
    spec = EnvSpec("x", 3, Discrete(2))
    np.testing.assert_array_equal(spec.vector(np.arange(3.0)), np.arange(3.0))
    assert (spec.num_pixels, spec.vector_dim) == (0, 3)
    with pytest.raises(ValueError, match="x has no image"):
        spec.pixels(np.zeros(3))


@pytest.mark.parametrize(
    ("image", "said"),
    [((2, 2), "must be"), ((2, 0, 1), "must be"), ((2.0, 2, 1), "must be"), ((2, 3, 3), "18 values, more than")],
)
def test_image_that_an_observation_cannot_hold_is_refused(image, said):
    with pytest.raises(ValueError, match=said):
        EnvSpec("x", 14, Discrete(2), image=image)


def test_angles_are_not_looked_for_among_the_pixels():
    with pytest.raises(ValueError, match="must lie behind the 12 pixels"):
        EnvSpec("x", 14, Discrete(2), image=(2, 2, 3), angle_dims=(11,))


@pytest.mark.parametrize("space", [Box((-1.0,), (1.0,)), Discrete(4)])
def test_pointwise_function_equals_a_loop_and_broadcasts(space):
    function = lambda obs, action, next_obs: jnp.sum(obs) + 10 * jnp.sum(action) + 100 * jnp.max(next_obs)
    obs, next_obs = jr.normal(jr.key(0), (2, 1, 3)), jr.normal(jr.key(1), (2, 5, 3))
    action = space.sample((2, 5), key=jr.key(2))
    found = pointwise(function, space)(obs, action, next_obs)
    assert found.shape == (2, 5)
    for i in range(2):
        for j in range(5):
            np.testing.assert_allclose(found[i, j], function(obs[i, 0], action[i, j], next_obs[i, j]), rtol=1e-5)


@pytest.mark.parametrize("space", [Box((-1.0, -1.0), (1.0, 1.0)), Discrete(4)])
def test_example_transition_has_the_shapes_and_types_of_the_spec(space):
    row = Transition.example(EnvSpec("x", 3, space))
    assert row.obs.shape == row.next_obs.shape == (3,) and row.reward.shape == ()
    assert row.action.shape == space.shape and row.action.dtype == space.sample(key=jr.key(0)).dtype
    assert row.terminated.dtype == row.truncated.dtype == bool
    assert not never_terminates(row.obs, row.action, row.next_obs)
