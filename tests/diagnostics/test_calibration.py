"""Recalibration cures planted faults of a model's intervals, and leaves a right model as it is."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats
from linear_world import NOISE, ONE, SPEC, TRUE, Exact, Linear, Still, episodes_of, linear_episodes

from forethought.diagnostics.calibration import (
    GRID,
    Recalibration,
    coverage_change,
    recalibrate,
    score_of,
    stretch,
    stretched_moments,
)
from forethought.diagnostics.examination import examine
from forethought.errors import UserError
from forethought.models.recalibrated import Recalibrated
from forethought.storage import checkpoint

HORIZON = 8


def made(model, seed=0, **more):
    return recalibrate(model, linear_episodes(seed), SPEC, **{"horizon": HORIZON, "key": jr.key(2), **more})


def change(model, recalibration, **more):
    wrapped = Recalibrated(model, recalibration, SPEC)
    return coverage_change(model, wrapped, linear_episodes(7), SPEC, **{"horizon": HORIZON, "key": jr.key(3), **more})


@pytest.mark.parametrize(
    ("model", "covered_before"),
    [
        (Linear(TRUE, NOISE / 4), (0.25, 0.4)),
        pytest.param(Linear(TRUE, 3 * NOISE), (0.98, 1.0), marks=pytest.mark.slow),
        pytest.param(Linear(0.85 * TRUE, NOISE / 2, particles=3), (0.3, 0.6), marks=pytest.mark.slow),
        pytest.param(Linear(TRUE, 0.0, particles=1), (0.0, 0.0), marks=pytest.mark.slow),
    ],
    ids=["over-confident", "under-confident", "biased, few particles", "states nothing"],
)
def test_planted_faults_are_cured_on_fresh_data(model, covered_before):
    found = change(model, made(model))
    low, high = covered_before
    assert np.all((found.before.covered_90 >= low) & (found.before.covered_90 <= high))
    assert found.within(0.87, 0.93)
    assert not found.after.overconfident.any() and not found.after.underconfident.any()
    assert np.all(np.abs(found.after.calibration - found.after.levels) < 0.04)


@pytest.mark.slow
def test_recalibration_improves_the_likelihood_of_an_overconfident_model():
    """To that of the true model, up to the mixture's finitely many particles."""
    model = Linear(TRUE, NOISE / 4)
    found = change(model, made(model))
    truth = examine(Exact(), linear_episodes(7), SPEC, horizon=HORIZON, key=jr.key(3), max_starts=2048)
    assert np.all(found.after.nll < found.before.nll - 1)
    np.testing.assert_allclose(found.after.nll, truth.nll, atol=0.06)


def test_a_right_model_is_left_nearly_as_it_is():
    table = np.asarray(made(Exact(), max_starts=10**6, min_particles=1).table)
    usual = np.abs(GRID) <= 2
    assert np.abs(table - GRID)[..., usual].max() < 0.2
    found = change(Exact(), made(Exact(), min_particles=1))
    np.testing.assert_allclose(found.after.overall, found.before.overall, rtol=0.02)
    np.testing.assert_allclose(found.after.deviation, found.before.deviation, rtol=0.08)


def test_change_of_coverage_lists_its_horizons():
    found = change(Exact(), made(Exact(), min_particles=1))
    rows = found.rows()
    assert [row["horizon"] for row in rows] == list(range(1, HORIZON + 1))
    assert rows[2]["before"] == found.before.covered_90[2] and rows[2]["after"] == found.after.covered_90[2]
    off = dataclasses.replace(found.after, covered_90=np.append(found.after.covered_90[:-1], 0.8))
    assert not dataclasses.replace(found, after=off).within()


# ---- the map itself


@pytest.fixture(scope="module")
def tables():
    """A skewed map, and one of a wide model."""
    return jnp.asarray(np.stack([np.sinh(GRID) + 0.3 * GRID**2 / 9 + 0.5 * GRID, 0.2 * GRID - 0.1]), jnp.float32)


def test_score_of_undoes_stretch_beyond_the_knots_too(tables):
    score = jnp.linspace(-6, 6, 101)[:, None] * jnp.ones(2)
    back, slope = score_of(tables, stretch(tables, score))
    np.testing.assert_allclose(back, score, atol=1e-4)
    numeric = (stretch(tables, score + 1e-2) - stretch(tables, score - 1e-2)) / 2e-2
    inner = np.abs(score / 0.25 - np.round(score / 0.25)) > 0.1  # not at a knot, where the slope changes
    np.testing.assert_allclose(slope[inner], numeric[inner], rtol=1e-2)


def test_stretch_passes_through_its_knots(tables):
    np.testing.assert_allclose(
        stretch(tables, jnp.asarray(GRID, jnp.float32)[:, None] * jnp.ones(2)).T, tables, rtol=1e-5
    )


def test_moments_are_those_of_a_stretched_normal(tables):
    mean, variance = stretched_moments(tables)
    drawn = stretch(tables, jr.normal(jr.key(0), (400_000, 2)))
    np.testing.assert_allclose(mean, drawn.mean(0), atol=0.02)
    np.testing.assert_allclose(variance, drawn.var(0), rtol=0.02)
    np.testing.assert_allclose([mean[1], variance[1]], [-0.1, 0.04], rtol=1e-3)


def test_quantiles_have_the_finite_sample_correction():
    """The k-th of n residuals stands for probability k / (n + 1)."""
    n = 99
    jumps = np.random.default_rng(0).exponential(size=n)
    data = episodes_of(*[[0.0, x] for x in jumps])
    found = recalibrate(Still(), data, ONE, horizon=1, key=jr.key(0), min_particles=1)
    deviation = float(found.floor[0, 0])
    assert deviation == pytest.approx(np.sqrt((jumps**2).mean()), rel=1e-5)
    middle = len(GRID) // 2
    assert float(found.table[0, 0, middle]) * deviation == pytest.approx(np.sort(jumps)[49], rel=1e-5)
    at_one = np.interp(scipy.stats.norm.cdf(1.0) * (n + 1), np.arange(1, n + 1), np.sort(jumps))
    assert float(found.table[0, 0, middle + 4]) * deviation == pytest.approx(at_one, rel=1e-4)


def test_the_map_goes_on_beyond_the_outermost_residual():
    """Thirty residuals reach scores of +-1.8; the knots beyond are continued, and increase."""
    data = episodes_of(*[[0.0, x] for x in np.random.default_rng(1).normal(size=30)])
    table = np.asarray(recalibrate(Still(), data, ONE, horizon=1, key=jr.key(0), min_particles=1).table)[0, 0]
    assert np.all(np.diff(table) > 0)
    np.testing.assert_allclose(np.diff(table)[-4:], np.diff(table)[-1], rtol=1e-4)
    assert table[-1] > 1.3 * table[GRID <= 1.8].max()


def test_residuals_that_are_all_alike_still_give_a_map_that_can_be_undone():
    data = episodes_of(*[[0.0, 1.0]] * 15, *[[1.0, 2.0]] * 15)
    found = recalibrate(Still(), data, ONE, horizon=1, key=jr.key(0), min_particles=1)
    assert np.all(np.diff(np.asarray(found.table)[0, 0]) > 0)


# ---- what cannot be recalibrated, and the file


def test_too_few_steps_are_refused_and_thin_horizons_left_out():
    data = episodes_of([0.0, 1.0, 2.0])
    with pytest.raises(UserError, match="2 held-out steps are too few to recalibrate from; give at least 20"):
        recalibrate(Still(), data, ONE, horizon=1, key=jr.key(0))
    some = episodes_of(*[np.random.default_rng(0).normal(size=13).tolist()] * 2)
    found = recalibrate(Still(), some, ONE, horizon=12, key=jr.key(0))
    np.testing.assert_array_equal(found.count, [24, 22, 20])
    assert found.horizon == 3


def test_a_model_that_blows_up_is_refused():
    with pytest.raises(UserError, match=r"not finite from step \d on, so that it cannot be recalibrated"):
        made(Linear(1e12 * TRUE, NOISE), max_starts=50)


def test_saved_and_loaded_it_is_the_same(tmp_path):
    one = made(Linear(TRUE, NOISE, particles=3), max_starts=200)
    one.save(tmp_path / "recalibration.npz")
    two = Recalibration.load(tmp_path / "recalibration.npz")
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), one, two))
    assert (two.particles, two.horizon) == (21, HORIZON)


def test_a_file_of_something_else_is_refused(tmp_path):
    checkpoint.save(tmp_path / "other.npz", jnp.ones(3), {"fit": {}})
    with pytest.raises(UserError, match="holds no recalibration"):
        Recalibration.load(tmp_path / "other.npz")


def test_what_it_is_of_is_kept_with_it(tmp_path):
    one = made(Exact(), max_starts=50)
    one.save(tmp_path / "a.npz", {"source": "runs/pets-1", "seed": "3"})
    assert Recalibration.about(tmp_path / "a.npz") == {"source": "runs/pets-1", "seed": "3"}
    assert Recalibration.load(tmp_path / "a.npz").horizon == HORIZON
    one.save(tmp_path / "b.npz")
    assert Recalibration.about(tmp_path / "b.npz") == {}
    two = Recalibration.load(tmp_path / "a.npz")
    two.save(tmp_path / "d.npz")
    assert Recalibration.about(tmp_path / "d.npz") == {"source": "runs/pets-1", "seed": "3"}
    with pytest.raises(ValueError, match=r"about: seed is 3; give strings only"):
        one.save(tmp_path / "c.npz", {"seed": 3})


@pytest.mark.parametrize("name", ["horizon", "obs", "particles"])
@pytest.mark.parametrize("wrong", [None, -1, 0, "8", 2.5, True, 10**12])
def test_a_file_whose_sizes_cannot_be_is_refused(tmp_path, name, wrong):
    meta = {"horizon": 1, "obs": 1, "knots": len(GRID), "particles": 1} | {name: wrong}
    table = jnp.broadcast_to(jnp.asarray(GRID, jnp.float32), (1, 1, len(GRID)))
    checkpoint.save(
        tmp_path / "a.npz", Recalibration(table, jnp.ones((1, 1)), jnp.ones(1, jnp.int32), 1), {"recalibration": meta}
    )
    with pytest.raises(UserError, match=f"{name}=|does not fit"):
        Recalibration.load(tmp_path / "a.npz")


@pytest.mark.parametrize("change", [{"particles": "gone"}, {"about": 3}, {"about": {"seed": 3}}])
def test_a_file_with_damaged_meta_is_refused(tmp_path, change):
    meta = {"horizon": 1, "obs": 1, "knots": len(GRID), "particles": 1, "about": {}} | change
    meta = {k: v for k, v in meta.items() if v != "gone"}
    checkpoint.save(tmp_path / "a.npz", jnp.ones(1), {"recalibration": meta})
    with pytest.raises(UserError, match="damaged"):
        Recalibration.about(tmp_path / "a.npz")
