"""Filters are asked from what they have seen of the episode, and from nothing else."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from linear_world import NOISE, ONE, PUSH, SPEC, TRUE, Normal, Still, linear_episodes

from forethought.core import AbstractFilter
from forethought.diagnostics.divergence import traces
from forethought.diagnostics.examination import examine
from forethought.diagnostics.following import beliefs_at
from forethought.diagnostics.logged import Logged
from forethought.diagnostics.one_step import following, one_step
from forethought.types import Prediction, Transition


class Glider(AbstractFilter):
    """Believes that the last change goes on; of one observation, that nothing moves."""

    def init(self, obs, *, key):
        return obs[None], jnp.zeros_like(obs)[None]

    def observe(self, belief, action, obs, *, key):
        return obs[None], obs[None] - belief[0]

    def step(self, belief, action, *, key):
        obs, speed = belief
        return (obs + speed, speed), Prediction(speed[..., 0], jnp.ones(obs.shape[:-1]))

    def observation(self, belief):
        return Normal(belief[0], jnp.full_like(belief[0], 100.0))


class Wide(AbstractFilter):
    """The true linear world, whose stated width says nothing; `spread` is the noise of its own samples."""

    spread: float = eqx.field(static=True)

    def init(self, obs, *, key):
        return obs[None]

    def observe(self, belief, action, obs, *, key):
        return obs[None]

    def step(self, belief, action, *, key):
        mean = belief @ jnp.asarray(TRUE, jnp.float32).T + jnp.asarray(PUSH, jnp.float32) * action
        obs = mean + self.spread * jr.normal(key, mean.shape)
        return obs, Prediction(obs[..., 0], jnp.ones(obs.shape[:-1]))

    def observation(self, belief):
        return Normal(belief, jnp.ones_like(belief))


def gliding(episodes: int = 70, steps: int = 10) -> Transition:
    """Episodes of one number that changes by as much in every step, another amount in each episode."""
    speed = np.linspace(-1, 1, episodes, dtype=np.float32)[:, None]
    path = speed * np.arange(steps + 1, dtype=np.float32)
    over = np.zeros((episodes, steps), bool)
    over[:, -1] = True
    action = np.zeros((episodes, steps, 1), np.float32)
    reward = np.broadcast_to(speed, (episodes, steps)).copy()
    return Transition(path[:, :-1, None], action, reward, path[:, 1:, None], np.zeros_like(over), over)


def test_beliefs_have_seen_the_episode_up_to_their_moment_in_the_order_asked_for():
    data = gliding()
    episode, time = np.array([9, 2, 9, 2]), np.array([0, 4, 7, 1])
    obs, speed = beliefs_at(Glider(), data.obs, data.action, episode, time, 3, key=jr.key(0))
    assert obs.shape == (4, 3, 1, 1)
    np.testing.assert_allclose(obs[:, 0, 0, 0], data.obs[episode, time, 0], atol=1e-6)
    np.testing.assert_allclose(speed[:, 1, 0, 0], np.where(time > 0, data.reward[episode, 0], 0.0), atol=1e-6)


def test_a_model_that_is_no_filter_believes_what_one_observation_says():
    data = gliding()
    obs = beliefs_at(Still(), data.obs, data.action, np.array([5, 1]), np.array([3, 0]), 2, key=jr.key(0))
    np.testing.assert_allclose(obs[:, 1, 0], data.obs[[5, 1], [3, 0]])


def test_steps_are_predicted_from_all_that_was_seen_also_across_chunks_and_never_across_episodes():
    logged = Logged.of_trajectories(gliding())  # 700 rows: more than one chunk
    said = following(Glider(), logged, ONE, key=jr.key(0))
    error = np.abs(said.mean - logged.rows.next_obs)[:, 0]
    np.testing.assert_allclose(np.delete(error, logged.first), 0.0, atol=1e-5)
    np.testing.assert_allclose(error[logged.first], np.abs(logged.rows.reward[logged.first]), atol=1e-6)
    assert one_step(Glider(), logged.rows, ONE, key=jr.key(0)).mean[5] == pytest.approx(logged.rows.obs[5])


def test_an_examination_and_its_traces_start_from_filtered_beliefs():
    late = examine(Glider(), gliding(8), ONE, horizon=5, key=jr.key(0))
    started = np.sqrt(np.mean(np.asarray(gliding(8).reward[:, 0]) ** 2) / 10)  # one start of ten has seen nothing yet
    assert late.error[0, 0] * late.scale[0] == pytest.approx(started, rel=1e-3)
    fresh, filtered = traces(Glider(), gliding(8), ONE, episode=7, starts=(0, 3), horizon=4, key=jr.key(0))
    np.testing.assert_allclose(filtered.imagined, filtered.real, atol=1e-5)
    np.testing.assert_allclose(fresh.imagined, 0.0, atol=1e-5)


def test_a_width_that_is_a_weight_covers_everything_and_a_measured_one_what_it_says():
    more = {"horizon": 3, "max_starts": 600, "key": jr.key(1)}
    stated = examine(Wide(0.0), linear_episodes(), SPEC, **more)
    assert stated.covered_90[0] > 0.99 and stated.width is None
    measured = examine(Wide(0.0), linear_episodes(), SPEC, widened=True, **more)
    np.testing.assert_allclose(measured.width, NOISE, rtol=0.06)
    assert measured.covered_90[0] == pytest.approx(0.9, abs=0.03)
    assert measured.covered_90[2] < 0.85  # certain samples: nothing of what is unsure later on is in them


def test_what_samples_already_say_is_not_counted_twice():
    more = {"horizon": 3, "max_starts": 600, "key": jr.key(1), "min_particles": 40}
    found = examine(Wide(NOISE), linear_episodes(), SPEC, widened=True, **more)
    assert np.all(found.width < 0.5 * NOISE)
    np.testing.assert_allclose(found.covered_90, 0.9, atol=0.03)
    np.testing.assert_allclose(found.deviation[0] * found.scale, NOISE, rtol=0.06)


def test_widths_come_from_other_episodes_than_those_that_they_judge():
    calm, wild = linear_episodes(0, 20), linear_episodes(1, 20)
    mixed = Transition(*(np.stack([a, b], 1).reshape(40, *a.shape[1:]) for a, b in zip(_leaves(calm), _leaves(wild))))
    rng = np.random.default_rng(0)
    mixed.next_obs[1::2] += rng.normal(0, 2.0, mixed.next_obs[1::2].shape)
    found = examine(Wide(0.0), mixed, SPEC, horizon=1, key=jr.key(0), widened=True)
    assert found.covered_90[0] == pytest.approx(0.5 + 0.5 * 0.13, abs=0.05)  # one half within 10 deviations, one in 0.1


def _leaves(data: Transition) -> list[np.ndarray]:
    return [data.obs, data.action, data.reward, data.next_obs, data.terminated, data.truncated]
