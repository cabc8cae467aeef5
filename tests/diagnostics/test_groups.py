"""A picture is judged as one thing, whatever the number of its pixels."""

import dataclasses

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.core import AbstractModel
from forethought.diagnostics.calibration import recalibrate
from forethought.diagnostics.data_checks import constant_columns, still_picture, wrapped_angle
from forethought.diagnostics.examination import LEAST_STARTS, examine
from forethought.diagnostics.groups import Groups
from forethought.diagnostics.logged import MOST_ROWS, Logged, most_rows, pooled
from forethought.diagnostics.widths import Normal
from forethought.errors import UserError
from forethought.types import Discrete, EnvSpec, Prediction, Transition

SPEC = EnvSpec("both", 4 * 4 * 1 + 2, Discrete(2), image=(4, 4, 1))


class Stays(AbstractModel):
    """Expects to see what it saw, a grey level brighter by `brighter`."""

    brighter: float = 0.0

    def init(self, obs, *, key):
        return obs[None]

    def step(self, belief, action, *, key):
        belief = belief + self.brighter * (jnp.arange(belief.shape[-1]) < 16)
        return belief, Prediction(jnp.zeros(belief.shape[:-1]), jnp.ones(belief.shape[:-1]))

    def observation(self, belief):
        return Normal(belief, jnp.ones(belief.shape[-1]))


def episodes(num: int = 6, steps: int = 12, *, seed: int = 0) -> Transition:
    """Half of the pixels and the first number change by random amounts, the rest never."""
    rng = np.random.default_rng(seed)
    obs = np.full((num, steps + 1, 18), 40.0, np.float32)
    obs[..., :8] = rng.integers(0, 256, (num, steps + 1, 8))
    obs[..., 16] = rng.normal(size=(num, steps + 1))
    over = np.zeros((num, steps), bool)
    over[:, -1] = True
    zero = np.zeros((num, steps))
    return Transition(obs[:, :-1], zero.astype(int), zero, obs[:, 1:], np.zeros_like(over), over)


def test_pixels_that_never_vary_do_not_thin_out_the_mean():
    groups = Groups.of(SPEC, np.r_[np.zeros(8, bool), np.ones(8, bool), [False, True]])
    x = np.arange(18.0)
    np.testing.assert_allclose(groups.mean(x), [3.5, 16, 17])
    np.testing.assert_allclose(groups.mean(jnp.asarray(x)), [3.5, 16, 17])
    assert groups.names == ["picture", "observation 16", "observation 17"]
    np.testing.assert_allclose(Groups.of(SPEC, np.ones(18, bool)).mean(x)[0], 7.5)


def test_a_vector_is_judged_number_by_number():
    spec = EnvSpec("vector", 3, Discrete(2))
    x = np.arange(3.0)
    assert Groups.of(spec, np.zeros(3, bool)).mean(x) is x


def test_an_examination_has_one_dimension_for_the_picture_and_its_error_is_of_a_pixel_in_0_to_1():
    data = episodes()
    found = examine(Stays(), data, SPEC, horizon=2, key=jr.key(0))
    assert found.names == ("picture", "observation 16", "observation 17") and found.constant == (2,)
    change = (data.next_obs - data.obs)[..., :8] / 255
    assert found.error[0, 0] * found.scale[0] == pytest.approx(np.sqrt(np.mean(change**2)), rel=1e-4)
    np.testing.assert_allclose(found.error[0], found.persistence[0], rtol=1e-5)
    deviation = data.obs[..., :8].reshape(-1, 8).std(0) / 255
    assert found.scale[0] == pytest.approx(np.sqrt(np.mean(deviation**2)), rel=1e-4)
    assert found.coverage.shape == (2, 3, 19) and found.coverage[0, 0, 17] < 0.2


def test_bias_and_coverage_of_a_picture_are_means_over_its_pixels():
    data = episodes()
    data = dataclasses.replace(data, next_obs=data.obs)
    found = examine(Stays(brighter=1.0), data, SPEC, horizon=1, key=jr.key(0))
    assert found.bias[0, 0] * found.scale[0] == pytest.approx(1 / 255, rel=1e-3)
    assert found.coverage[0, 0, 17] == 1.0 and found.coverage[0, 0, 9] == 0.0  # one deviation off: in 90 %, not in 50 %
    assert found.deviation[0, 0] * found.scale[0] == pytest.approx(1 / 255, rel=1e-3)


def test_large_pictures_are_imagined_from_fewer_starts_and_fewer_times():
    spec = EnvSpec("large", 64 * 64 * 3, Discrete(2), image=(64, 64, 3))
    obs = np.random.default_rng(0).integers(0, 256, (2, 61, spec.obs_dim)).astype(np.float32)
    over = np.zeros((2, 60), bool)
    over[:, -1] = True
    zero = np.zeros((2, 60))
    data = Transition(obs[:, :-1], zero.astype(int), zero, obs[:, 1:], np.zeros_like(over), over)
    found = examine(Stays(), data, spec, horizon=2, key=jr.key(0))
    assert int(found.count[0]) == LEAST_STARTS and found.particles == 8 and found.error.shape == (2, 1)
    assert 2 * most_rows(spec) * spec.obs_dim <= 2**26 and most_rows(SPEC) == MOST_ROWS


def test_pictures_are_not_recalibrated():
    with pytest.raises(UserError, match="pictures, which are not recalibrated"):
        recalibrate(Stays(), episodes(), SPEC, horizon=2, key=jr.key(0))


def test_a_coarse_picture_holds_the_means_of_what_it_covers_and_the_numbers_beside_it():
    spec = EnvSpec("wide", 5 * 4 * 2 + 1, Discrete(2), image=(5, 4, 2), angle_dims=(40,))
    obs = np.random.default_rng(0).normal(size=(3, 41))
    logged = Logged.of_rows(Transition(obs, np.zeros(3, int), np.zeros(3), obs, *np.zeros((2, 3), bool)))
    small, view = pooled(logged, spec, side=2)
    assert view.image == (2, 2, 2) and view.obs_dim == 9 and view.angle_dims == (8,)
    picture = logged.rows.obs[:, :40].reshape(3, 5, 4, 2)
    np.testing.assert_allclose(small.rows.obs[:, :8].reshape(3, 2, 2, 2)[:, 1, 0], picture[:, 2:, :2].mean((1, 2)))
    np.testing.assert_array_equal(small.rows.obs[:, 8], logged.rows.obs[:, 40])


def test_first_episodes_alone_are_kept_of_what_is_too_large():
    assert len(Logged.of_trajectories(episodes(), most=40).spans) == 3
    assert len(Logged.of_trajectories(episodes(), most=1).spans) == 2


def test_pixels_are_no_columns_and_no_angles_and_a_dead_renderer_is_found():
    data = Logged.of_trajectories(episodes())
    (note,) = constant_columns(data, None, SPEC.num_pixels)
    assert note.sentence.startswith("dimension 17 ") and wrapped_angle(data, SPEC) == []
    assert still_picture(data, data, SPEC) == []
    dark = data._replace(rows=data.rows._replace(obs=np.zeros_like(data.rows.obs)))
    (found,) = still_picture(data, dark, SPEC)
    assert found.name == "picture-still" and "fresh episodes" in found.sentence
