import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planner_toys import Cliff, Noisy, Poisoned, Quadratic, belief_at

from forethought.core.imagine import imagine
from forethought.planners import rollout


def by_hand(model, belief, actions, discount, key):
    """The return as a plain loop over candidates, steps and particles."""
    candidates, horizon = actions.shape[:2]
    wide = jax.tree.map(lambda x: jnp.repeat(x[:, None], candidates, 1), belief)
    rewards, continuations = [], []
    for t in range(horizon):
        action = jnp.stack([actions[:, t]] * jax.tree.leaves(belief)[0].shape[0])
        wide, said = model.step(wide, action, key=jax.random.fold_in(key, t))
        rewards.append(np.asarray(said.reward, np.float64))
        continuations.append(np.asarray(said.continuation, np.float64))
    particles = rewards[0].shape[0]
    returns = np.zeros(candidates)
    for c in range(candidates):
        for p in range(particles):
            alive = 1.0
            for t in range(horizon):
                returns[c] += discount**t * alive * rewards[t][p, c] / particles
                alive *= continuations[t][p, c]
    return returns


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_rollout_equals_a_plain_loop_with_continuation_and_discount(discount):
    model = Noisy(jnp.array([0.5, 1.0, 2.0]))
    belief = belief_at(model, 0.3, -0.2)
    actions = jax.random.uniform(jax.random.key(1), (5, 6, 2), minval=-1)
    key = jax.random.key(2)
    got = rollout(model, belief, actions, discount=discount, key=key)
    np.testing.assert_allclose(got, by_hand(model, belief, actions, discount, key), rtol=2e-5)


def test_the_reward_of_the_terminating_step_counts_and_later_ones_do_not():
    actions = jnp.array([[-1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]])[..., None]
    model = Cliff()
    got = rollout(model, belief_at(model, 0.0), actions, key=jax.random.key(0))
    np.testing.assert_allclose(got, [1.1, 3.0])


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_a_return_that_is_not_finite_becomes_minus_infinity(poison):
    model = Poisoned.saying(poison)
    actions = jnp.array([[0.5, 2.0], [0.5, 0.25]])[..., None]
    got = rollout(model, belief_at(model, 0.0), actions, key=jax.random.key(0))
    np.testing.assert_array_equal(got, [-np.inf, 0.75])


def test_what_a_model_says_after_termination_cannot_poison_the_return():
    class Ends(Poisoned):
        def step(self, belief, action, *, key):
            said = Poisoned.step(self, belief, action, key=key)[1]
            over = belief > 0
            reward = jnp.where(over, jnp.nan, said.reward)
            return belief + 1, type(said)(reward, jnp.zeros_like(reward))

    model = Ends.saying(0.0)
    got = rollout(model, belief_at(model, 0.0), jnp.full((1, 3, 1), 0.5), key=jax.random.key(0))
    np.testing.assert_array_equal(got, [0.5])


def test_imagine_keeps_what_rollout_sums():
    model = Noisy(jnp.array([0.5, 1.0, 2.0]))
    belief = belief_at(model, 0.3, -0.2)
    actions = jax.random.uniform(jax.random.key(1), (5, 6, 2), minval=-1)
    key = jax.random.key(2)
    spread = jax.tree.map(lambda x: jnp.broadcast_to(x[:, None], (x.shape[0], 5, *x.shape[1:])), belief)
    seen = imagine(model, spread, jnp.moveaxis(actions, 1, 0), key=key)
    assert seen.beliefs[0].shape == (7, 3, 5, 2)
    total = (seen.alive * seen.rewards).sum(0).mean(0)
    np.testing.assert_allclose(total, rollout(model, belief, actions, key=key), rtol=1e-5)


def test_rollout_takes_actions_without_axes_and_sequences_of_length_one():
    model = Cliff()
    got = rollout(model, belief_at(model, 0.0), jnp.array([[0], [1]]), key=jax.random.key(0))
    np.testing.assert_allclose(got, [1.0, 0.1])


def test_rollout_is_differentiable_in_the_actions():
    model = Quadratic()
    belief = belief_at(model, 1.0)

    def first(actions):
        return rollout(model, belief, actions, key=jax.random.key(0))[0]

    # d/da of -(1+a)^2 - 0.5 a^2 at a = 0
    np.testing.assert_allclose(jax.grad(first)(jnp.zeros((1, 1, 1))), [[[-2.0]]], rtol=1e-6)
