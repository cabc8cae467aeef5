"""The known simulator as a model."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny import Walk

from forethought.envs.make import make
from forethought.errors import UserError
from forethought.models.simulator import Simulator


@pytest.mark.parametrize("name", ["point-mass", "pets-cartpole"])
def test_simulator_is_the_environment_step_by_step(name):
    env = make(name)
    model = Simulator(env)
    state, obs = env.reset(key=jr.key(0))
    belief = model.init(obs, key=jr.key(1))
    step, imagine = jax.jit(env.step), jax.jit(model.step)
    for t in range(5):
        action = env.spec.action.sample(key=jr.key(10 + t))
        state, obs, reward, _, _ = step(state, action, key=jr.key(t))
        belief, said = imagine(belief, action[None], key=jr.key(t))
        np.testing.assert_allclose(belief.obs[0], obs, atol=1e-5)
        np.testing.assert_allclose(said.reward[0], reward, atol=1e-5)
        assert said.continuation[0] == 1.0


def test_simulator_takes_particles_and_candidates():
    model = Simulator(Walk(), particles=2)
    obs, actions = jr.normal(jr.key(0), (2, 3, 2)), jr.uniform(jr.key(1), (2, 3, 1))
    blank = model.init(jnp.zeros(2), key=jr.key(0))
    belief = jax.tree.map(lambda x: jnp.broadcast_to(x[:, None], (2, 3, *x.shape[1:])), blank)
    belief = type(belief)(type(belief.state)(obs, belief.state.steps), obs)
    belief, said = model.step(belief, actions, key=jr.key(0))
    np.testing.assert_allclose(belief.obs, 0.9 * obs + 0.2 * actions, atol=1e-6)
    assert said.reward.shape == said.continuation.shape == (2, 3)


def test_termination_is_imagined_and_truncation_is_not():
    model = Simulator(Walk(limit=1, ends_above=0.5))
    _, far = model.step(model.init(jnp.array([0.9, 0.0]), key=jr.key(0)), jnp.zeros((1, 1)), key=jr.key(0))
    _, near = model.step(model.init(jnp.array([0.1, 0.0]), key=jr.key(0)), jnp.zeros((1, 1)), key=jr.key(0))
    assert far.continuation[0] == 0.0 and near.continuation[0] == 1.0


def test_simulator_is_certain_of_what_it_shows():
    model = Simulator(Walk())
    said = model.observation(model.init(jnp.ones(2), key=jr.key(0)))
    np.testing.assert_array_equal(said.mean(), [[1.0, 1.0]])
    np.testing.assert_array_equal(said.variance(), [[0.0, 0.0]])


class Hidden(Walk.__base__):
    """A walk whose observation does not tell its state."""

    inner: Walk = Walk()

    @property
    def spec(self):
        return self.inner.spec

    def reset(self, *, key, start=None, clock=0):
        return self.inner.reset(key=key)

    def step(self, state, action, *, key):
        return self.inner.step(state, action, key=key)


def test_environment_whose_observation_hides_its_state_is_refused():
    with pytest.raises(UserError, match=r"walk cannot be planned in.*define `state_from\(obs\)`"):
        Simulator(Hidden())


def test_fewer_particles_than_one_are_refused():
    with pytest.raises(ValueError, match="particles=0 must be at least 1"):
        Simulator(Walk(), particles=0)
