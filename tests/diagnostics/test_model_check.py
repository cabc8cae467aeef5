"""The model check, on models whose errors are known in closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.core import AbstractDistribution, AbstractModel
from forethought.diagnostics.model_check import horizon_errors, plain_verdict, plot_model_check
from forethought.errors import UserError
from forethought.types import Box, EnvSpec, Prediction, Transition

TRUE = np.array([[0.95, 0.1], [-0.1, 0.9]])
PUSH = np.array([0.0, 0.3])
NOISE = 0.2
HORIZON = 10
SPEC = EnvSpec("linear", 2, Box((-1.0,), (1.0,)))


class Normal(AbstractDistribution):
    loc: jax.Array
    var: jax.Array

    def mean(self):
        return self.loc

    def variance(self):
        return self.var

    def log_prob(self, obs):
        return -0.5 * jnp.sum((obs - self.loc) ** 2 / self.var + jnp.log(2 * jnp.pi * self.var), -1)


class Linear(AbstractModel):
    """x' = matrix x + push a + noise; the reward is the first number of x'."""

    matrix: jax.Array
    noise: float
    particles: int = eqx.field(static=True, default=25)
    continuation: float = 1.0
    speaks: bool = eqx.field(static=True, default=True)

    def init(self, obs, *, key):
        obs = jnp.broadcast_to(obs, (self.particles, *obs.shape))
        return obs, Normal(obs, jnp.zeros_like(obs))

    def step(self, belief, action, *, key):
        mean = belief[0] @ jnp.asarray(self.matrix).T + jnp.asarray(PUSH) * action
        obs = mean + self.noise * jr.normal(key, mean.shape)
        seen = Normal(mean, jnp.full_like(mean, self.noise**2))
        return (obs, seen), Prediction(obs[..., 0], jnp.full(obs.shape[:-1], self.continuation))

    def observation(self, belief):
        return belief[1] if self.speaks else None


@pytest.fixture(scope="module")
def trajectories():
    def step(obs, key):
        act_key, noise_key = jr.split(key)
        action = jr.uniform(act_key, (1,), minval=-1, maxval=1)
        next_obs = jnp.asarray(TRUE) @ obs + jnp.asarray(PUSH) * action + NOISE * jr.normal(noise_key, (2,))
        no = jnp.array(False)
        return next_obs, Transition(obs, action, next_obs[0], next_obs, no, no)

    keys = jr.split(jr.key(0), 300)
    return jax.vmap(lambda key: jax.lax.scan(step, jr.normal(key, (2,)), jr.split(key, 30))[1])(keys)


def check(model, data, **more):
    return horizon_errors(model, data, SPEC, **{"horizon": HORIZON, "key": jr.key(1), "max_starts": 2000, **more})


@pytest.fixture(scope="module")
def right(trajectories):
    return check(Linear(TRUE, NOISE), trajectories)


def closed_form_variance():
    """Variance of x[h] given x[0], per horizon and dimension: sum of A^i A^i' noise^2."""
    power, total, found = np.eye(2), np.zeros((2, 2)), []
    for _ in range(HORIZON):
        total = total + power @ power.T * NOISE**2
        power = power @ TRUE
        found.append(np.diag(total))
    return np.array(found)


def test_error_of_the_true_model_is_the_closed_form(right):
    variance = closed_form_variance()
    resampling = (variance - NOISE**2) / right.particles  # the mean of finitely many particles has an error too
    np.testing.assert_allclose(right.error * right.scale, np.sqrt(variance + resampling), rtol=0.06)


def test_stated_deviation_of_the_true_model_is_the_closed_form(right):
    np.testing.assert_allclose(right.deviation * right.scale, np.sqrt(closed_form_variance()), rtol=0.05)


def test_intervals_of_the_true_model_cover_what_they_say(right):
    assert np.all((right.coverage[..., 1] > 0.87) & (right.coverage[..., 1] < 0.93))
    assert np.all((right.coverage[..., 0] > 0.45) & (right.coverage[..., 0] < 0.55))


def test_scale_is_the_deviation_of_the_observations(right, trajectories):
    np.testing.assert_allclose(right.scale, np.std(trajectories.obs, (0, 1)), rtol=1e-4)
    assert right.reward_scale == pytest.approx(float(np.std(trajectories.reward)), rel=1e-4)


def test_persistence_at_one_step_is_the_size_of_one_change(right, trajectories):
    change = np.sqrt(np.mean((trajectories.next_obs - trajectories.obs) ** 2, (0, 1)))
    np.testing.assert_allclose(right.persistence[0] * right.scale, change, rtol=0.05)


def test_reward_error_is_that_of_the_first_dimension(right):
    """The reward is drawn with the particle, so its mean carries the spread of one more step."""
    variance = closed_form_variance()[:, 0]
    expected = np.sqrt(variance + variance / right.particles) / right.reward_scale
    np.testing.assert_allclose(right.reward_error, expected, rtol=0.06)


def test_a_wrong_model_is_visibly_worse(right, trajectories):
    wrong = check(Linear(0.8 * TRUE, NOISE), trajectories)
    assert np.all(wrong.overall > right.overall)
    assert wrong.overall[-1] > 1.15 * right.overall[-1]
    assert wrong.coverage[-1, :, 1].mean() < 0.8


def test_a_model_too_sure_of_itself_is_called_overconfident(trajectories):
    sure = check(Linear(TRUE, NOISE / 4), trajectories, max_starts=200)
    assert sure.coverage[..., 1].mean() < 0.5
    assert "(overconfident)" in plain_verdict(sure)


def test_a_model_with_few_particles_is_run_several_times(trajectories):
    few = check(Linear(TRUE, NOISE, particles=3), trajectories)
    assert few.particles == 21
    assert 0.86 < few.coverage[-1, :, 1].mean() < 0.93


def test_verdict_states_the_measured_numbers(right):
    sentence = plain_verdict(right)
    assert f"One-step error is {right.overall[0]:.2g} of a standard deviation" in sentence
    assert f"up to {HORIZON} of {HORIZON} steps" in sentence
    assert f"cover {100 * right.coverage[0, :, 1].mean():.0f} % at step 1" in sentence
    assert "confident" not in sentence


def test_a_certain_model_claims_no_intervals(trajectories):
    sure = check(Linear(TRUE, 0.0, particles=1), trajectories, max_starts=100, min_particles=1)
    assert not sure.states_uncertainty
    assert plain_verdict(sure).endswith("it states no uncertainty.")


def test_a_model_worse_than_doing_nothing_is_said_to_be(trajectories):
    sentence = plain_verdict(check(Linear(-TRUE, NOISE), trajectories, max_starts=100))
    assert "does not beat persistence even at one step" in sentence


def test_a_model_that_blows_up_is_said_to(trajectories):
    sentence = plain_verdict(check(Linear(1e8 * TRUE, NOISE), trajectories, max_starts=100))
    assert "not finite from step" in sentence


def episode(obs, terminated, spec_actions=1):
    """One trajectory through `obs` `[time + 1]` of a one-dimensional task."""
    obs = jnp.asarray(obs, jnp.float32)[None, :, None]
    no = jnp.zeros(obs.shape[1] - 1, bool)[None]
    ended = jnp.asarray(terminated)[None]
    return Transition(obs[:, :-1], jnp.zeros((*no.shape, spec_actions)), no * 0.0, obs[:, 1:], ended, no)


class Still(AbstractModel):
    """Nothing ever changes, and the episode goes on with the given probability."""

    continuation: float = 1.0

    def init(self, obs, *, key):
        return obs[None]

    def step(self, belief, action, *, key):
        return belief, Prediction(jnp.zeros(belief.shape[:-1]), jnp.full(belief.shape[:-1], self.continuation))

    def observation(self, belief):
        return Normal(belief, jnp.zeros_like(belief))


def test_nothing_after_the_end_of_an_episode_is_compared():
    data = episode([0, 1, 2, 900, 950], [False, True, False, False])
    found = horizon_errors(Still(), data, EnvSpec("one", 1, Box((-1.0,), (1.0,))), horizon=3, key=jr.key(0))
    np.testing.assert_array_equal(found.count, [2, 1, 0])
    np.testing.assert_allclose((found.error * found.scale)[:2, 0], [1.0, 2.0], rtol=1e-6)
    assert np.isnan(found.error[2, 0])
    assert "of 2 steps" not in plain_verdict(found)  # as good as persistence is not better than it


def test_continuation_error_is_the_squared_distance_to_what_happened():
    data = episode([0, 1, 2], [False, True])
    spec = EnvSpec("one", 1, Box((-1.0,), (1.0,)))
    found = horizon_errors(Still(0.75), data, spec, horizon=2, key=jr.key(0))
    np.testing.assert_allclose(found.continuation_error, [0.25**2, 0.75**2], rtol=1e-5)


def test_angles_are_compared_the_short_way_round():
    data = episode([3.1, -3.1, 3.1], [False, False])
    spec = EnvSpec("angle", 1, Box((-1.0,), (1.0,)), angle_dims=(0,))
    found = horizon_errors(Still(), data, spec, horizon=1, key=jr.key(0))
    assert float(found.error[0, 0] * found.scale[0]) == pytest.approx(2 * np.pi - 6.2, rel=1e-3)
    assert float(found.scale[0]) < 0.1


def test_a_model_that_cannot_say_what_would_be_seen_is_refused(trajectories):
    with pytest.raises(UserError, match="does not say what would be seen"):
        check(Linear(TRUE, NOISE, speaks=False), trajectories)


def test_a_horizon_longer_than_the_trajectories_is_refused(trajectories):
    with pytest.raises(UserError, match="horizon=31 does not fit into 300 trajectories of 30 steps"):
        check(Linear(TRUE, NOISE), trajectories, horizon=31)


def test_figure_tells_models_apart_and_names_its_lines(right, trajectories, tmp_path):
    text = plot_model_check(right, tmp_path / "check.svg").read_text()
    for words in ("nothing changes", "deviation it states", "steps ahead", "90 %", f"{right.particles} particles"):
        assert words in text
    certain = check(Linear(TRUE, 0.0, particles=1), trajectories, max_starts=100, min_particles=1)
    assert "states no uncertainty" in plot_model_check(certain, tmp_path / "certain.svg").read_text()
