"""The first step at which reality leaves what was imagined, where it was planted."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats
from linear_world import (
    NOISE,
    ONE,
    PUSH,
    SPEC,
    TRUE,
    Exact,
    Linear,
    Normal,
    Still,
    closed_form_variance,
    episodes_of,
    linear_episodes,
)

from forethought.core import AbstractModel
from forethought.diagnostics.divergence import LOST, SURPRISE, side_by_side, traces
from forethought.diagnostics.trace_figure import plot_traces
from forethought.errors import UserError
from forethought.types import EnvSpec, Prediction


def look(model, data=None, spec=SPEC, **more):
    data = linear_episodes() if data is None else data
    return traces(model, data, spec, **{"key": jr.key(0), **more})


@pytest.fixture(scope="module")
def exact():
    (trace,) = look(Exact(), episode=4, starts=(3,), horizon=8)
    return trace


def test_the_mean_is_imagined_from_the_first_observation_and_the_actions(exact):
    data = linear_episodes()
    expected = data.obs[4, 3]
    for t in range(8):
        expected = TRUE @ expected + PUSH * data.action[4, 3 + t]
        np.testing.assert_allclose(exact.imagined[t], expected, atol=1e-4)
    np.testing.assert_allclose(exact.real, data.next_obs[4, 3:11], atol=1e-5)
    np.testing.assert_allclose(exact.real_reward, data.reward[4, 3:11])
    np.testing.assert_allclose(exact.imagined_reward, exact.imagined[:, 0], atol=1e-5)


def test_bands_and_limits_are_quantiles_of_the_prediction(exact):
    deviation = np.sqrt(closed_form_variance(8))
    for i, level in enumerate((0.5, 0.9)):
        half = scipy.stats.norm.ppf((1 + level) / 2) * deviation
        np.testing.assert_allclose(exact.bands[i], np.stack([exact.imagined - half, exact.imagined + half]), atol=2e-3)
    half = scipy.stats.norm.ppf(1 - SURPRISE / (8 * 2) / 2) * deviation
    np.testing.assert_allclose(exact.limits, np.stack([exact.imagined - half, exact.imagined + half]), atol=0.02)


@pytest.mark.slow
def test_a_right_model_hardly_ever_leaves_its_limits():
    """At most SURPRISE of 100 episodes, give or take; and its error is never LOST in three steps."""
    found = [look(Exact(), episode=i, horizon=3)[0] for i in range(100)]
    assert sum(trace.reason == "outside" for trace in found) <= 4
    assert sum(trace.diverged_at is None for trace in found) >= 96


def test_a_kick_is_found_at_its_step_and_in_its_dimension():
    data = linear_episodes()
    next_obs, obs = data.next_obs.copy(), data.obs.copy()
    next_obs[0, 6, 1] += 3.0
    obs[0, 7, 1] += 3.0
    kicked = dataclasses.replace(data, obs=obs, next_obs=next_obs)
    (trace,) = look(Linear(TRUE, NOISE), kicked, horizon=12)
    assert (trace.diverged_at, trace.reason, trace.dimension) == (7, "outside", 1)
    (later,) = look(Linear(TRUE, NOISE), kicked, starts=(5,), horizon=12)
    assert (later.diverged_at, later.dimension) == (2, 1)


def test_an_error_of_a_deviation_is_a_divergence_even_of_a_model_that_admits_it():
    """Nothing changes, plus or minus much: every step lies inside, until knowing the mean would be as good."""
    data = episodes_of(*[np.arange(7.0).tolist()] * 2)
    scale = np.std(np.arange(6.0))
    (trace,) = look(Vague(), data, ONE)
    assert (trace.diverged_at, trace.reason, trace.dimension) == (int(np.ceil(LOST * scale)), "error", None)
    np.testing.assert_allclose(trace.error, np.arange(1, 7) / scale, rtol=1e-5)


class Vague(AbstractModel):
    """Nothing changes, give or take a hundred."""

    def init(self, obs, *, key):
        return obs[None]

    def step(self, belief, action, *, key):
        return belief, Prediction(belief[..., 0], jnp.ones(belief.shape[:-1]))

    def observation(self, belief):
        return Normal(belief, jnp.full_like(belief, 1e4))


def test_a_certain_model_diverges_at_its_first_error():
    (trace,) = look(Still(), episodes_of([0.0, 0.0, 0.0, 0.5, 0.5, 4.0]), ONE)
    assert (trace.diverged_at, trace.reason) == (3, "outside")
    np.testing.assert_allclose(trace.bands[0, 0], trace.imagined, atol=1e-6)


def test_imagination_is_unwrapped_along_with_reality():
    """A turn of 0.5 a step through the seam: real and imagined lines go on rising past pi."""
    angle = (np.arange(9) * 0.5 + 2.0 + np.pi) % (2 * np.pi) - np.pi
    spec = EnvSpec("angle", 1, ONE.action, angle_dims=(0,))
    (trace,) = look(Turns(), episodes_of(angle.tolist()), spec)
    np.testing.assert_allclose(trace.real[:, 0], 2.0 + 0.5 * np.arange(1, 9), atol=1e-5)
    np.testing.assert_allclose(trace.imagined[:, 0], 2.0 + 0.5 * np.arange(1, 9), atol=1e-3)
    half = 1.6449 * 0.1
    np.testing.assert_allclose(trace.bands[1, :, :, 0] - trace.imagined[:, 0], [[-half] * 8, [half] * 8], atol=1e-3)
    assert trace.diverged_at is None


class Turns(AbstractModel):
    """Two particles turn by 0.5 a step; one counts whole turns, the other wraps."""

    def init(self, obs, *, key):
        return jnp.broadcast_to(obs, (2, *obs.shape))

    def step(self, belief, action, *, key):
        belief = belief + 0.5
        wrapped = (belief + jnp.pi) % (2 * jnp.pi) - jnp.pi
        belief = jnp.where(jnp.arange(2)[:, None] == 0, belief, wrapped)
        return belief, Prediction(belief[..., 0], jnp.ones(belief.shape[:-1]))

    def observation(self, belief):
        return Normal(belief, jnp.full_like(belief, 0.01))


def test_a_start_near_the_end_gives_a_shorter_trace():
    long, short = look(Exact(), starts=(0, 27))
    assert (len(long.real), len(short.real)) == (30, 3)
    np.testing.assert_allclose(short.real, linear_episodes().next_obs[0, 27:], atol=1e-5)


@pytest.mark.parametrize("where", [{"episode": 200}, {"episode": -1}, {"starts": (30,)}, {"starts": ()}])
def test_what_is_not_there_is_refused(where):
    with pytest.raises(UserError, match=r"is not there; the data hold 200|must lie in 0..29"):
        look(Exact(), **where)


# ---- pictures


def frame(grey):
    return np.full((64, 96, 3), grey, np.uint8)


def test_frames_turn_orange_where_they_diverge():
    frames = side_by_side([frame(200)] * 5, [frame(100)] * 3, 3, border=4)
    assert len(frames) == 5
    # Three times as large, so that the captions can be read: 192 x 288 and a border of 4.
    assert {f.shape for f in frames} == {(200, 592, 3)}
    corner = [tuple(int(c) for c in f[0, -1]) for f in frames]
    assert corner == [(0, 158, 115)] * 3 + [(213, 94, 0)] * 2
    assert np.all(frames[0][120, 120] == 200) and np.all(frames[4][120, 296 + 120] == 100)
    never = side_by_side([frame(200)] * 2, [frame(100)] * 2, None)
    assert all(tuple(f[0, -1]) == (0, 158, 115) for f in never)
    with pytest.raises(UserError, match="0 imagined frames"):
        side_by_side([frame(0)], [], None)


def test_figure_of_traces_names_dimensions_and_marks_the_divergence(tmp_path):
    found = look(Linear(TRUE, NOISE / 4), starts=(0, 15), horizon=12)
    assert found[0].diverged_at is not None
    text = plot_traces(found, tmp_path / "traces.svg", names=["place", "speed"]).read_text()
    for words in ("place", "speed", "Orange: the first divergence", "step of the episode"):
        assert words in text
    calm = [t for i in range(5) for t in look(Exact(), episode=i, horizon=3) if t.diverged_at is None]
    assert "Orange" not in plot_traces(calm, tmp_path / "calm.svg").read_text()
    with pytest.raises(ValueError, match="traces is empty"):
        plot_traces([], tmp_path / "none.svg")


def test_figure_of_many_dimensions_shows_the_one_that_diverged(tmp_path):
    wide = lambda x: np.concatenate([x] * 10, -1)
    (trace,) = look(Exact(), horizon=5)
    fields = {name: wide(getattr(trace, name)) for name in ("obs", "real", "imagined", "path", "bands", "limits")}
    many = dataclasses.replace(trace, **fields, diverged_at=2, reason="outside", dimension=17)
    text = plot_traces([many], tmp_path / "many.svg").read_text()
    assert "observation 17" in text and "observation 10" in text and "observation 11" not in text


def test_a_path_is_one_of_the_particles():
    model = Linear(TRUE, 0.0, particles=1)
    (trace,) = look(model, horizon=5, min_particles=1)
    np.testing.assert_allclose(trace.path, trace.imagined, atol=1e-6)
    (noisy,) = look(Linear(TRUE, NOISE), horizon=5)
    assert jax.tree.reduce(max, np.abs(noisy.path - noisy.imagined).max()) > 0.05
