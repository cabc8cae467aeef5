"""Claims about closed-loop imagination, on models whose answers are known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from planner_toys import Cliff, Noisy, Quadratic, belief_at

from forethought.core.imagine import imagine
from forethought.models.ensemble import Ensemble
from forethought.planners import rollout
from forethought.types import Box, EnvSpec, Given, never_terminates

KEY = jr.key(3)


def wide(belief, starts):
    """The belief with so many equal starts behind the particle axis."""
    return jax.tree.map(lambda x: jnp.repeat(x[:, None], starts, 1), belief)


@pytest.mark.parametrize("common", [False, True])
def test_a_plan_earns_what_rollout_says(common):
    model = Noisy(jnp.array([0.5, 1.0, 2.0]))
    actions = jr.uniform(jr.key(1), (5, 6, 2), minval=-1)
    belief = belief_at(model, 0.3, -0.2)
    found = imagine(model, wide(belief, 5), jnp.moveaxis(actions, 1, 0), key=KEY)
    returns = (found.alive * found.rewards).sum(0).mean(0)
    if not common:
        np.testing.assert_allclose(returns, rollout(model, belief, actions, key=KEY), rtol=1e-5)
    else:  # one candidate is one candidate, whoever shares its luck
        alone = rollout(model, belief, actions[:1], common_noise=True, key=KEY)
        together = rollout(model, belief, actions, common_noise=True, key=KEY)
        np.testing.assert_allclose(alone, together[:1], rtol=1e-5)


def ensemble():
    """Five networks with much noise, on a line."""
    spec, given = EnvSpec("line", 1, Box((-1.0,), (1.0,))), Given(lambda o, a, n: -(n[0] ** 2), never_terminates)
    return Ensemble(spec, given=given, hidden=(8,), particles=5, key=jr.key(0))


def test_equal_starts_have_distinct_successors_unless_their_planner_shares_the_noise():
    model = ensemble()
    policy = lambda belief, key: jnp.zeros((*belief.obs.shape[:-1], 1))
    found = imagine(model, wide(model.init(jnp.ones(1), key=KEY), 40), policy, 3, key=KEY)
    for step in np.asarray(found.obs[1:, :, :, 0]):
        assert len(np.unique(step)) == step.size
    plans = jnp.zeros((40, 3, 1))
    for common, count in ((True, 1), (False, 40)):
        returns = rollout(model, model.init(jnp.ones(1), key=KEY), plans, common_noise=common, key=KEY)
        assert len(np.unique(np.round(returns, 4))) == count


def test_the_policy_sees_where_it_is_and_its_extras_are_kept():
    model = Quadratic()  # x' = x + a
    start = jnp.array([[[1.0], [-2.0], [0.5]]])  # one particle, three starts
    policy = lambda belief, key: (-0.5 * belief, {"where": belief[..., 0]})
    found = imagine(model, start, policy, 4, key=KEY)
    place = start[..., 0] * 0.5 ** jnp.arange(5)[:, None, None]
    np.testing.assert_allclose(found.beliefs[..., 0], place, rtol=1e-6)
    np.testing.assert_allclose(found.extras["where"], place[:4], rtol=1e-6)
    np.testing.assert_allclose(found.actions[..., 0], -0.5 * place[:4], rtol=1e-6)
    np.testing.assert_allclose(found.rewards, -(place[1:] ** 2) - 0.125 * place[:4] ** 2, rtol=1e-6)
    assert found.obs is None and found.alive.shape == (4, 1, 3) and found.alive.min() == 1


def test_gradients_flow_back_through_all_steps_unless_they_are_stopped():
    def total(gain, stop):
        cut = jax.lax.stop_gradient if stop else lambda x: x
        policy = lambda belief, key: -gain * cut(belief)
        return imagine(Quadratic(), jnp.ones((1, 1, 1)), policy, 3, key=KEY).rewards.sum()

    by_hand = lambda g: sum(-((1 - g) ** (2 * t + 2)) - 0.5 * g**2 * (1 - g) ** (2 * t) for t in range(3))
    np.testing.assert_allclose(jax.grad(total)(0.3, False), jax.grad(by_hand)(0.3), rtol=1e-5)
    assert not np.isclose(jax.grad(total)(0.3, True), jax.grad(by_hand)(0.3), rtol=0.05)


def test_what_follows_an_end_earns_nothing():
    # Action 1 ends the episode with 0.1, and the model would pay 100 a step after that.
    found = imagine(Cliff(), wide(belief_at(Cliff(), 0.0), 2), jnp.array([[0, 0], [1, 0], [0, 0]]), key=KEY)
    np.testing.assert_allclose(found.alive[:, 0], [[1, 1], [1, 1], [0, 1]])
    np.testing.assert_allclose((found.alive * found.rewards).sum(0)[0], [1.1, 3.0], rtol=1e-6)


def test_a_mask_ends_branches_before_the_step_that_it_refuses():
    far = lambda step: jnp.abs(step.after[..., 0]) < 2.5
    start = jnp.array([[[0.0], [1.0]]])
    found = imagine(Quadratic(), start, lambda belief, key: jnp.ones_like(belief), 4, mask=far, key=KEY)
    np.testing.assert_array_equal(found.alive[:, 0], [[1, 1], [1, 0], [0, 0], [0, 0]])
    assert found.rewards[1, 0, 1] == 0 and found.rewards[1, 0, 0] == -4.5


def test_a_longer_horizon_begins_as_a_shorter_one():
    model = ensemble()
    policy = lambda belief, key: jr.uniform(key, (*belief.obs.shape[:-1], 1), minval=-1)
    start = wide(model.init(jnp.ones(1), key=KEY), 4)
    short, long = (eqx.filter_jit(imagine)(model, start, policy, horizon, key=KEY) for horizon in (2, 5))
    jax.tree.map(lambda s, whole: np.testing.assert_array_equal(s, whole[: len(s)]), short, long)


def test_a_horizon_that_cannot_be_is_named():
    with pytest.raises(ValueError, match="horizon=None must be a whole number"):
        imagine(Quadratic(), jnp.ones((1, 1, 1)), lambda belief, key: belief, key=KEY)
    with pytest.raises(ValueError, match="horizon=4 must be left out, or be the 3 steps"):
        imagine(Quadratic(), jnp.ones((1, 1, 1)), jnp.zeros((3, 1, 1)), 4, key=KEY)
