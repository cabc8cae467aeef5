"""The deep belief network on sets that can be counted out."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny import empty_replay

from forethought.models.deep_belief import Bits, ConditionalRBM, DeepBelief, GreedyLearner
from forethought.types import Discrete, EnvSpec, Given, Transition, never_terminates

SPEC = EnvSpec("switch", 2, Discrete(2))
GIVEN = Given(lambda obs, action, next_obs: next_obs[0], never_terminates)
HIGH = jnp.array([255.0, 1.0])


def probabilities(machine, c) -> np.ndarray:
    """Of all visible states under the condition, by summing out the hidden units."""
    states = np.array(list(itertools.product([0.0, 1.0], repeat=len(machine.bias))))
    below, above = (np.asarray(b) for b in machine.biases(c))
    weight = states @ below + np.log1p(np.exp(states @ np.asarray(machine.weight) + above)).sum(1)
    return np.exp(weight) / np.exp(weight).sum()


@pytest.fixture(scope="module")
def machine():
    """Two visible units that want to be unlike, the more so under the condition."""
    small = ConditionalRBM(2, 3, 1, key=jr.key(0))
    parts = lambda m: (m.weight, m.to_hidden)
    return eqx.tree_at(parts, small, (jnp.array([[2.0, -2.0, 0.5], [-2.0, 2.0, 0.5]]), jnp.array([[1.0, 1.0, 0.0]])))


def test_gibbs_sampling_visits_states_as_often_as_the_energy_says(machine):
    v, _ = machine.gibbs(jnp.zeros((20_000, 2)), jnp.ones((20_000, 1)), 20, key=jr.key(1))
    states = np.asarray(v @ jnp.array([2.0, 1.0])).astype(int)
    np.testing.assert_allclose(
        np.bincount(states, minlength=4) / 20_000, probabilities(machine, jnp.ones(1)), atol=0.02
    )


def test_contrastive_divergence_of_many_steps_is_the_gradient_of_the_likelihood(machine):
    data = jnp.array([[1.0, 1.0]] * 20_000)
    slope = jax.jit(lambda key: machine.divergence(data, data, jnp.ones((20_000, 1)), 20, key=key))(jr.key(1))

    def minus_log_likelihood(m):
        below, above = m.biases(jnp.ones(1))
        states = jnp.array(list(itertools.product([0.0, 1.0], repeat=2)))
        score = states @ below + jax.nn.softplus(states @ m.weight + above).sum(1)
        return jax.nn.logsumexp(score) - score[-1]

    exact = jax.grad(minus_log_likelihood)(machine)
    for found, wanted in zip(jax.tree.leaves(slope), jax.tree.leaves(exact)):
        np.testing.assert_allclose(found, wanted, atol=0.02)


def test_a_machine_turned_over_is_the_same_distribution_seen_from_its_hidden_units(machine):
    v, c = jnp.array([1.0, 0.0]), jnp.ones(1)
    np.testing.assert_allclose(machine.turned().down(v, c), machine.up(v, c))
    np.testing.assert_array_equal(machine.turned().turned().weight, machine.weight)


@pytest.mark.slow
def test_a_stack_learns_that_one_action_exchanges_two_bits_and_when_it_ends():
    # The next bit needs both observation and action: neither alone says anything of it.
    n = 64
    obs = jr.bernoulli(jr.key(0), 0.5, (n, 2)).astype(jnp.float32)
    action = jr.randint(jr.key(1), (n,), 0, 2)
    next_obs = jnp.where(action[:, None] == 1, 1 - obs, obs)
    ended = next_obs.all(-1)
    rows = Transition(obs, action, jnp.zeros(n), next_obs, ended, jnp.zeros(n, bool))
    model = DeepBelief(SPEC, given=Given(GIVEN.reward), hidden=12, particles=400, key=jr.key(2))
    learner = GreedyLearner(model, steps=1500, learning_rate=0.02, divergence_steps=5)
    fit = jax.jit(lambda replay, key: learner.fit(replay, key=key))
    fitted, metrics = fit(empty_replay(128, SPEC).add(rows), jr.key(3))
    assert float(metrics["model/loss"]) < 0.1
    step = jax.jit(lambda *args, key: fitted.model.step(*args, key=key))
    for o, a in itertools.product(([0.0, 1.0], [1.0, 1.0]), (0, 1)):
        belief = fitted.model.init(jnp.array(o), key=jr.key(0))
        belief, said = step(belief, jnp.full(400, a), key=jr.key(4))
        wanted = 1 - np.array(o) if a else np.array(o)
        np.testing.assert_allclose(belief.obs.mean(0), wanted, atol=0.15)
        assert abs(float(said.continuation.mean()) - (1 - wanted.all())) < 0.15
        np.testing.assert_array_equal(said.reward, belief.obs[:, 0])


def test_bits_are_told_of_pixels_and_of_other_observations():
    spec = EnvSpec("picture", 2, Discrete(2), image=(1, 1, 1))
    model = DeepBelief(spec, given=GIVEN, hidden=3, particles=2, key=jr.key(0))
    np.testing.assert_array_equal(model.bits(jnp.array([[255.0, 1.0], [100.0, 0.2]])), [[1, 1], [0, 0]])
    belief = jax.tree.map(lambda x: jnp.repeat(x[:, None], 3, 1), model.init(jnp.array([255.0, 0.0]), key=jr.key(0)))
    step = jax.jit(lambda belief, action, key: model.step(belief, action, key=key))
    belief, said = step(belief, jnp.zeros((2, 3), jnp.int32), jr.key(1))
    assert set(np.unique(belief.obs[..., 0])) <= {0.0, 255.0} and set(np.unique(belief.obs[..., 1])) <= {0.0, 1.0}
    assert said.reward.shape == (2, 3)


def test_what_is_said_of_a_bit_is_a_bernoulli_distribution():
    said = Bits(jnp.array([0.25, 0.5]), HIGH)
    np.testing.assert_allclose(said.mean(), [63.75, 0.5])
    np.testing.assert_allclose(said.variance(), [0.1875 * 255**2, 0.25])
    np.testing.assert_allclose(said.log_prob(jnp.array([255.0, 0.0])), np.log(0.25 * 0.5), rtol=1e-5)
    np.testing.assert_allclose(said.cdf(jnp.array([0.0, 1.0])), [0.375, 0.75])
    np.testing.assert_allclose(said.cdf(jnp.array([300.0, 0.5])), [1.0, 0.5])


def test_what_cannot_be_built_is_refused():
    with pytest.raises(ValueError, match="does not learn the reward of switch"):
        DeepBelief(SPEC, given=Given(), key=jr.key(0))
    with pytest.raises(ValueError, match="hidden=0 and depth=2"):
        DeepBelief(SPEC, given=GIVEN, hidden=0, key=jr.key(0))
    with pytest.raises(ValueError, match="steps=0 must be at least 1"):
        GreedyLearner(DeepBelief(SPEC, given=GIVEN, hidden=2, key=jr.key(0)), steps=0)
