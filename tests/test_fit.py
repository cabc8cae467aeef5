"""Fitting, watched through a model that only counts which rows it was shown."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from tiny import MODEL, Walk, empty_replay, random_rows, same_bits

from forethought.fit import AbstractFittable, GradientLearner, _with_noise, adam, split_rows
from forethought.learners import model_planning
from forethought.run.progress import strongly_typed
from forethought.types import Given, Transition, never_terminates

ROWS = 64


class Tally(AbstractFittable):
    """`shown[m, r]` moves down when member m trains on row r, whose number is its reward; its error is `shown`."""

    shown: jax.Array  # [members, ROWS]
    seen_obs: jax.Array  # statistics of the rows in use
    elites: jax.Array
    num_members: int = eqx.field(static=True)

    def normalised(self, data, mask):
        return eqx.tree_at(lambda m: m.seen_obs, self, jnp.sum(jnp.where(mask[:, None], data.obs, 0.0)))

    def examples(self, data):
        return data

    def losses(self, batch):
        row = batch.reward.astype(jnp.int32)
        picked = jnp.take_along_axis(self.shown, row, 1)
        return picked.mean(1), jnp.take_along_axis(self.shown, row, 1).mean(1)

    def regulariser(self):
        return jnp.zeros(())

    def keep(self, better, other):
        return eqx.tree_at(lambda m: m.shown, self, jnp.where(better[:, None], self.shown, other.shown))

    def with_elites(self, error):
        return eqx.tree_at(lambda m: m.elites, self, jnp.argsort(error))

    def init(self, obs, *, key):
        return obs[None]

    def step(self, belief, action, *, key):
        return belief, None

    def observation(self, belief):
        return None


def tally(members: int = 3) -> Tally:
    return Tally(jnp.zeros((members, ROWS)), jnp.zeros(()), jnp.arange(members), members)


def numbered(n: int) -> Transition:
    rows = random_rows(n)
    return eqx.tree_at(lambda t: t.reward, rows, jnp.arange(n, dtype=jnp.float32))


def replay_with(n: int, capacity: int = ROWS):
    return empty_replay(capacity).add(numbered(n))


def fit(learner, replay, seed: int = 0):
    return eqx.filter_jit(lambda who, r, k: who.fit(r, key=k))(learner, replay, jr.key(seed))


def shown_rows(learner) -> np.ndarray:
    """Which rows each member trained on."""
    return np.asarray(learner.model.shown) != 0


def test_bootstrap_resamples_differ_between_members_and_are_drawn_anew():
    learner = GradientLearner(tally(), epochs=3, batch_size=8)
    first, again = shown_rows(fit(learner, replay_with(40))[0]), shown_rows(fit(learner, replay_with(40), 1)[0])
    for rows in (*first, *again):
        assert 0.45 < rows[:40].mean() < 0.8  # 1 - 1/e of the rows, through all passes the same ones
        assert not rows[40:].any()
    assert len({tuple(r) for r in (*first, *again)}) == 6


def test_without_bootstrap_every_row_is_trained_on():
    learner, metrics = fit(GradientLearner(tally(), epochs=1, batch_size=8, bootstrap=False), replay_with(40))
    assert shown_rows(learner)[:, :40].all() and not shown_rows(learner)[:, 40:].any()
    assert float(metrics["model/steps"]) == 5 and float(metrics["model/epochs"]) == 1


def test_held_out_rows_are_never_trained_on():
    learner = GradientLearner(tally(), epochs=4, batch_size=8, bootstrap=False, holdout_ratio=0.25, patience=9)
    key = jr.key(5)
    _, in_use = replay_with(40).rows()
    split = split_rows(in_use, 0.25, 5000, key=jr.split(key, 3)[0])
    held = np.asarray(split.rows[: int(split.num_holdout)])
    assert len(held) == 10 and held.max() < 40
    shown = shown_rows(eqx.filter_jit(lambda who, r, k: who.fit(r, key=k))(learner, replay_with(40), key)[0])
    # The best weights are those of the first pass: held-out rows never change, so no later pass is better.
    assert not shown[:, held].any() and shown[:, :40].sum(1).tolist() == [30, 30, 30]


@pytest.mark.parametrize(("n", "held"), [(1, 0), (2, 1), (5, 1), (40, 4), (64, 5)])
def test_split_holds_out_at_least_one_row_where_two_are_in_use(n, held):
    split = split_rows(jnp.arange(ROWS) < n, 0.1, 5, key=jr.key(0))
    assert (int(split.num_holdout), int(split.num_train)) == (held, n - held)
    assert sorted(np.asarray(split.rows[:n]).tolist()) == list(range(n))


def test_passes_and_steps_are_counted_as_asked():
    for options, epochs, steps in [
        ({"epochs": 2}, 2, 10),
        ({"epochs": 2, "min_steps": 23}, 5, 25),
        ({"epochs": 6, "min_steps": 23}, 6, 30),
    ]:
        _, metrics = fit(GradientLearner(tally(1), batch_size=8, **options), replay_with(40))
        assert (float(metrics["model/epochs"]), float(metrics["model/steps"])) == (epochs, steps)


def test_early_stopping_ends_after_patience_passes_without_improvement():
    learner = GradientLearner(tally(1), epochs=50, batch_size=8, holdout_ratio=0.2, patience=3)
    _, metrics = fit(learner, replay_with(40))
    # The first pass is the best there will be; three more are granted.
    assert float(metrics["model/epochs"]) == 4


@pytest.mark.parametrize("num_new", [4, 20])
def test_new_data_get_their_share(num_new):
    learner = GradientLearner(tally(1), epochs=1, batch_size=8, new_fraction=0.9, old_rows=20)
    replay = replay_with(20 + num_new)
    pick = lambda key: learner._resample(split_rows(replay.rows()[1], 0.0, 0, key=key), replay.numbers(), key=key)
    rows = np.asarray(jax.vmap(pick)(jr.split(jr.key(0), 200)))[..., : 20 + num_new]
    assert 0.87 < (rows >= 20).mean() < 0.93 and rows.max() == 19 + num_new


@pytest.mark.slow
def test_data_are_new_by_when_they_came_even_after_the_ring_has_wrapped():
    learner = GradientLearner(tally(1), epochs=1, batch_size=8, new_fraction=0.9, old_rows=20)
    # The oldest 14 of the old rows have given way to the newest: rows 14 to 19 are what is left of them.
    replay = replay_with(ROWS).add(numbered(14))
    pick = lambda key: learner._resample(split_rows(replay.rows()[1], 0.0, 0, key=key), replay.numbers(), key=key)
    rows = np.asarray(jax.vmap(pick)(jr.split(jr.key(0), 200)))
    assert 0.08 < ((rows >= 14) & (rows < 20)).mean() < 0.12
    gone = replay_with(ROWS).add(numbered(20))
    pick = lambda key: learner._resample(split_rows(gone.rows()[1], 0.0, 0, key=key), gone.numbers(), key=key)
    assert (np.asarray(jax.vmap(pick)(jr.split(jr.key(0), 50))) < 20).mean() > 0.2  # all are new, and drawn alike


def test_noise_on_the_data_reaches_inputs_and_targets_in_its_own_scale():
    data, mask = random_rows(4000), jnp.ones(4000, bool)
    noisy = _with_noise(data, mask, 0.1, key=jr.key(0))
    change = lambda rows: rows.next_obs - rows.obs
    for part in (lambda rows: rows.obs, lambda rows: rows.action, change):
        share = jnp.std(part(noisy) - part(data), 0) / jnp.std(part(data), 0)
        np.testing.assert_allclose(share, 0.1, rtol=0.1)


def test_only_old_data_are_taken_as_they_are():
    learner = GradientLearner(tally(1), epochs=1, batch_size=8, new_fraction=0.9, old_rows=50)
    shown = shown_rows(fit(learner, replay_with(40))[0])
    assert shown.any() and not shown[:, 40:].any()


# ---- the real ensemble


@pytest.fixture(scope="module")
def ensemble_learner():
    learner = model_planning.ensemble_learner(Walk().spec, MODEL, given=Given(None, never_terminates), key=jr.key(0))
    return strongly_typed(learner)  # as drivers start


@pytest.fixture(scope="module")
def compiled():
    traces = []

    def go(learner, replay, key):
        traces.append(1)
        return learner.fit(replay, key=key)

    return eqx.filter_jit(go), traces


@pytest.mark.slow
def test_growing_data_are_fitted_with_one_trace(ensemble_learner, compiled):
    go, traces = compiled
    learner = ensemble_learner
    for n in (10, 30, ROWS):
        learner, _ = go(learner, replay_with(n), jr.key(n))
    assert len(traces) == 1


@pytest.mark.parametrize("garbage", [1e30, np.inf, np.nan])
@pytest.mark.parametrize("options", [{}, {"holdout_ratio": 0.2, "data_noise": 0.1, "new_fraction": 0.5}])
def test_rows_not_in_use_change_nothing(ensemble_learner, garbage, options):
    learner = GradientLearner(ensemble_learner.model, epochs=2, batch_size=8, old_rows=10, **options)
    clean = replay_with(30)
    spoil = lambda x: x.at[:, 30:].set(garbage) if jnp.issubdtype(x.dtype, jnp.floating) else x
    dirty = eqx.tree_at(lambda r: r.rings.data, clean, jax.tree.map(spoil, clean.rings.data))
    assert same_bits(fit(learner, clean), fit(learner, dirty))


def test_fitting_lowers_the_loss_and_goes_on_from_the_last_weights(ensemble_learner, compiled):
    rows = numbered(ROWS)
    rows = eqx.tree_at(lambda t: (t.next_obs, t.reward), rows, (0.9 * rows.obs + 0.2 * rows.action, rows.obs[:, 0]))
    learner, losses = ensemble_learner, []
    for i in range(60):
        learner, metrics = compiled[0](learner, empty_replay(ROWS).add(rows), jr.key(i))
        losses.append(float(metrics["model/loss"]))
    assert losses[-1] < losses[0] - 1.0 and np.isfinite(losses).all()


@pytest.mark.slow
def test_members_keep_their_own_best_weights_and_the_best_are_elites(ensemble_learner):
    model = ensemble_learner.model
    worse = jax.tree.map(lambda x: x + 1.0 if eqx.is_inexact_array(x) else x, model)
    mixed = worse.keep(jnp.array([True, False]), model)
    for kept, wanted in zip(mixed.networks, (worse.networks[0], model.networks[1])):
        for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(wanted)):
            np.testing.assert_array_equal(a, b)
    assert model.with_elites(jnp.array([2.0, 1.0])).elites.tolist() == [1, 0]


def test_fits_side_by_side_take_the_passes_that_each_needs(ensemble_learner):
    settings = {"epochs": 200, "batch_size": 8, "holdout_ratio": 0.2, "patience": 1, "learning_rate": 1e-2}
    learner = strongly_typed(GradientLearner(ensemble_learner.model, **settings))
    rows = numbered(50)
    rows = eqx.tree_at(lambda t: (t.next_obs, t.reward), rows, (0.9 * rows.obs, rows.obs[:, 0]))
    few = jax.tree.map(lambda x: x[:20], rows)
    replays, keys = [empty_replay(ROWS).add(few), empty_replay(ROWS).add(rows)], jr.split(jr.key(3))
    both = jax.tree.map(lambda *x: jnp.stack(x), *replays)
    one = lambda replay, key: learner.fit(replay, key=key)
    found = eqx.filter_jit(eqx.filter_vmap(one))(both, keys)
    epochs = found[1]["model/epochs"].tolist()
    assert epochs[0] != epochs[1] and max(epochs) < 200
    for i, replay in enumerate(replays):
        alone = eqx.filter_jit(one)(replay, keys[i])
        for a, b in zip(*(jax.tree.leaves(eqx.filter(x, eqx.is_array)) for x in (alone, found))):
            np.testing.assert_allclose(b[i], a, rtol=1e-5, atol=1e-6)


def test_statistics_are_fitted_and_never_trained(ensemble_learner, compiled):
    learner, _ = compiled[0](ensemble_learner, replay_with(ROWS), jr.key(0))
    rows = numbered(ROWS)
    np.testing.assert_allclose(learner.model.inputs.loc[:2], rows.obs.mean(0), atol=1e-5)
    np.testing.assert_allclose(learner.model.targets.scale[:2], (rows.next_obs - rows.obs).std(0), rtol=1e-4)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"epochs": 0}, "epochs=0 must be at least 1"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"patience": 0}, "patience=0 must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0"),
        ({"min_steps": -1}, "min_steps=-1 must be at least 0"),
        ({"holdout_ratio": 1.0}, "holdout_ratio=1.0 must be at least 0 and below 1"),
        ({"data_noise": -0.1}, "data_noise=-0.1 must be at least 0"),
        ({"new_fraction": 1.0}, "new_fraction=1.0 must be above 0 and below 1"),
    ],
)
def test_options_that_cannot_be_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        GradientLearner(tally(), **option)


@pytest.mark.slow
def test_adam_takes_the_steps_of_optax():
    params = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}
    ours, theirs = adam(0.1, eps=1e-12), optax.adam(0.1, eps=1e-12)
    states = [ours.init(params), theirs.init(params)]
    for i in range(5):
        grads = jax.tree.map(lambda p, i=i: jnp.sin(3.0 * p + i), params)
        steps = []
        for j, optimiser in enumerate((ours, theirs)):
            step, states[j] = optimiser.update(grads, states[j], params)
            steps.append(step)
        for a, b in zip(jax.tree.leaves(steps[0]), jax.tree.leaves(steps[1])):
            np.testing.assert_allclose(a, b, rtol=1e-4)
        params = optax.apply_updates(params, steps[0])
