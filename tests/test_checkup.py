"""The doctor as a whole: on runs, on saved models, on models of one's own, and on data that are not fit to be used."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from latent_world import SMALL
from picture_world import catch_logged, catch_model, played
from planted_world import SPEC, STEPS, logged, rows
from tiny import CONFIGS, Walk

import forethought
from forethought.checkup import diagnose, of_fitted, plan_recalibrated
from forethought.core import AbstractModel
from forethought.diagnostics import model_checks
from forethought.diagnostics.calibration import GRID, Recalibration
from forethought.diagnostics.findings import Evidence, find
from forethought.diagnostics.logged import Logged
from forethought.diagnostics.origin import origin
from forethought.envs.catch import Catch
from forethought.errors import UserError
from forethought.fitting import fit, load_fitted
from forethought.models.recalibrated import Recalibrated
from forethought.models.simulator import Simulator
from forethought.models.world_model import WorldModel
from forethought.networks.distributions import DiagonalNormal
from forethought.planners.choice import make_planner
from forethought.presets.fit import FitConfig
from forethought.presets.parts import EnsembleConfig, PlannerConfig
from forethought.presets.run import RunConfig
from forethought.replay.dataset import load_dataset, save_dataset
from forethought.reporting import write_checkup
from forethought.setup import build
from forethought.types import Prediction, Transition

CONFIG = FitConfig(
    holdout=0.3,
    horizon=5,
    termination="never",
    model=EnsembleConfig(hidden=(32,), particles=5, epochs=5, min_steps=1500, batch_size=64),
)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log.npz"
    save_dataset(path, Transition(*rows(20)))
    return path


@pytest.fixture(scope="module")
def saved(log, tmp_path_factory):
    path = tmp_path_factory.mktemp("fit") / "model"
    fit(log, config=CONFIG).save(path)
    return path


def walked(episodes: int = 6, steps: int = 7) -> Logged:
    """Episodes of the deterministic `Walk`."""
    env, rng, kept = Walk(), np.random.default_rng(0), []
    for _ in range(episodes):
        x = rng.uniform(-1, 1, 2)
        for t in range(steps):
            a = rng.uniform(-1, 1, 1)
            y = 0.9 * x + 0.2 * a
            kept.append((x, a, -np.sum(y**2) - 0.1 * np.sum(a**2), y, False, t == steps - 1))
            x = y
    columns = [np.array(c) for c in zip(*kept)]
    assert env.spec.obs_dim == 2
    return Logged.of_rows(Transition(*(c if c.dtype == bool else c.astype(np.float32) for c in columns)))


class Blind(AbstractModel):
    """Says nothing about observations."""

    def init(self, obs, *, key):
        return obs[None]

    def step(self, belief, action, *, key):
        return belief, Prediction(jnp.zeros(belief.shape[:-1]), jnp.ones(belief.shape[:-1]))

    def observation(self, belief):
        return None


@pytest.mark.slow
def test_a_healthy_fitted_model_is_judged_on_its_own_held_out_episodes_and_nothing_is_found(saved, tmp_path):
    found = forethought.doctor(saved, horizon=5, out=tmp_path / "out")
    assert [f.name for f in found.findings if f.severity != "note"] == []
    assert found.verdict.startswith("Trust it to all 5 steps")
    assert found.episodes == {"fresh": 6, "training": 14}
    summary = json.loads(found.paths["summary"].read_text())
    assert summary["verdict"] == found.verdict and len(summary["examination"]["overall"]) == 5
    assert len(summary["recalibration"]) == 5
    assert Recalibration.load(found.paths["recalibration"]).horizon == 5
    page = found.paths["page"].read_text()
    assert found.verdict.replace("'", "&#x27;") in page and "None of the doctor&#x27;s tests fired" in page
    assert page.count("data:image/png") >= 5 and "<script" not in page


@pytest.mark.slow
def test_held_out_data_may_be_given_and_what_is_wrong_with_them_is_found(saved, tmp_path):
    data = rows(8, seed=5)
    save_dataset(tmp_path / "late.npz", Transition(*data._replace(reward=np.roll(data.reward, 1))))
    found = forethought.doctor(saved, data=tmp_path / "late.npz", horizon=5)
    assert "reward-shifted" in [f.name for f in found.findings]
    assert any("training data are not at hand" in note for note in found.notes)


@pytest.mark.slow
def test_data_with_nan_are_named_and_the_rest_is_examined(saved, tmp_path):
    data = rows(8, seed=5)
    data.next_obs[44, 1] = data.obs[45, 1] = np.nan
    save_dataset(tmp_path / "nan.npz", Transition(*data))
    with pytest.raises(UserError, match="not finite"):
        load_dataset(tmp_path / "nan.npz")
    found = forethought.doctor(saved, data=tmp_path / "nan.npz", horizon=5)
    assert found.findings[0].name == "not-finite" and "2 of 320 transitions" in found.findings[0].sentence
    assert found.examination is not None and found.examination.episodes == 7


@pytest.mark.slow
def test_data_that_are_nan_throughout_leave_nothing_to_examine_but_a_page(saved, tmp_path):
    data = rows(3, seed=5)
    data.reward[:] = np.nan
    save_dataset(tmp_path / "nan.npz", Transition(*data))
    found = forethought.doctor(saved, data=tmp_path / "nan.npz", out=tmp_path / "out")
    assert [f.name for f in found.findings] == ["not-finite"]
    assert found.verdict == "The model could not be examined." and found.verdict in found.paths["page"].read_text()


@pytest.mark.slow
def test_a_single_episode_shorter_than_the_horizon_is_examined_as_far_as_it_goes(saved):
    one = load_fitted(saved)
    data = type(rows())(*(x[:10] for x in rows(1)))
    data.truncated[-1] = True
    fresh = jax.tree.map(lambda x: x[None], Transition(*data))
    found = of_fitted(one, fresh, None, source="one", horizon=25)
    said = " ".join(found.notes)
    assert found.examination.horizon == 10 and "horizon 25 cut to 10 steps" in said
    assert "at least 2 episodes" in said and found.recalibration is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"obs": 2}, "observations have 2 dimensions, the model takes 3"),
        ({"action": np.zeros(320, np.int32)}, "actions are discrete, the model takes continuous ones"),
        ({"action": np.random.default_rng(0).uniform(-1, 1, (320, 2))}, "actions have 2 dimensions, the model takes 1"),
    ],
)
@pytest.mark.slow
def test_spaces_that_do_not_fit_are_named_and_the_data_still_looked_at(saved, tmp_path, change, says):
    data = rows(8, seed=5)
    data = data._replace(reward=np.roll(data.reward, 1))
    if "obs" in change:
        data = data._replace(obs=data.obs[:, :2], next_obs=data.next_obs[:, :2])
    else:
        data = data._replace(**change)
    save_dataset(tmp_path / "other.npz", Transition(*data))
    found = forethought.doctor(saved, data=tmp_path / "other.npz")
    assert found.findings[0].name == "spaces-differ" and says in found.findings[0].sentence
    assert found.examination is None and "could not be examined" in found.verdict
    if "obs" in change:
        assert "reward-shifted" in [f.name for f in found.findings]


@pytest.mark.slow
def test_a_log_that_is_gone_is_asked_for(saved, tmp_path):
    import shutil

    copy = shutil.copytree(saved, tmp_path / "copy")
    record = json.loads((copy / "fit.json").read_text())
    (copy / "fit.json").write_text(json.dumps(record | {"source": "gone.npz"}))
    with pytest.raises(UserError, match="give others with --data"):
        forethought.doctor(copy)
    with pytest.raises(UserError, match="does not exist"):
        forethought.doctor(tmp_path / "nothing")


def test_a_model_without_uncertainty_and_one_without_observations_are_taken(tmp_path):
    sure = diagnose(Simulator(Walk()), walked(), Walk().spec, source="simulator", horizon=5, key=jr.key(0))
    assert "states no uncertainty" in sure.verdict and sure.examination.trusted_steps == 5
    paths = write_checkup(sure, tmp_path / "sure", target="x")
    assert paths["page"].is_file() and not (tmp_path / "sure" / "coverage.png").exists()
    blind = diagnose(Blind(), walked(), Walk().spec, source="blind", horizon=5, key=jr.key(0))
    assert write_checkup(blind, tmp_path / "blind", target="x")["page"].is_file()
    assert "does not say what would be seen" in " ".join([*blind.notes, blind.verdict])


def test_rows_of_several_environments_are_told_apart():
    data = rows(2, seed=3)
    order = np.stack([np.arange(STEPS), np.arange(STEPS, 2 * STEPS)], 1).ravel()  # as a vector environment stores them
    mixed = Logged.of_rows(Transition(*(x[order] for x in data)), num_envs=2)
    np.testing.assert_array_equal(mixed.rows.obs, data.obs)
    assert mixed.lengths.tolist() == [STEPS, STEPS]


def test_a_chain_that_breaks_without_a_flag_begins_an_episode():
    data = rows(2)
    cut = type(data)(*(np.delete(x, 20, 0) for x in data))
    assert Logged.of_rows(Transition(*cut)).lengths.tolist() == [20, STEPS - 21, STEPS]


def test_what_stands_behind_an_episodes_end_is_left_out():
    data = rows(2)
    shaped = jax.tree.map(lambda x: x.reshape(2, STEPS, *x.shape[1:]), Transition(*data))
    ended = dataclasses.replace(shaped, terminated=shaped.terminated.copy())
    ended.terminated[1, 9] = True
    found = Logged.of_trajectories(ended)
    assert found.lengths.tolist() == [STEPS, 10] and found.over.tolist() == [True, True]
    padded = found.padded()
    assert padded.reward.shape == (2, STEPS) and padded.terminated[1, 9] and not padded.truncated[1, 9]
    np.testing.assert_array_equal(logged(data).latest(41).lengths, [STEPS, STEPS])
    assert logged(data).latest(40).lengths.tolist() == [STEPS]
    assert SPEC.obs_dim == found.rows.obs.shape[1]


class Broken(AbstractModel):
    """Can be traced, and fails once it is run."""

    def init(self, obs, *, key):
        return obs[None]

    def step(self, belief, action, *, key):
        raised = eqx.error_if(belief, jnp.ones((), bool), "the simulator is gone")
        return raised, Prediction(jnp.zeros(belief.shape[:-1]), jnp.ones(belief.shape[:-1]))

    def observation(self, belief):
        return DiagonalNormal(belief, jnp.zeros_like(belief))


def test_a_model_that_fails_when_asked_is_named_and_the_data_are_still_looked_at():
    data = walked(12)
    wrapped = data._replace(rows=data.rows._replace(obs=data.rows.obs.copy()))
    wrapped.rows.obs[:, 1] = 0
    found = diagnose(Broken(), data, Walk().spec, training=wrapped, source="broken", horizon=3, key=jr.key(0))
    names = [f.name for f in found.findings]
    assert "one-step-not-tested" in names and "dimension-dropped" in names
    assert found.verdict == "The model could not be examined."
    assert any("the model was not examined" in note and "the simulator is gone" in note for note in found.notes)


def test_a_measure_that_fails_costs_no_other_test(monkeypatch):
    def model_share(*given):
        raise RuntimeError("no share")

    monkeypatch.setattr(model_checks, "model_share", model_share)
    data = walked(12)
    evidence = Evidence(spec=Walk().spec, fresh=data, training=data, model=Simulator(Walk()))
    names = {f.name: f.sentence for f in find(evidence, key=jr.key(0))}
    assert "RuntimeError: no share" in names["model-share-not-tested"]


@pytest.mark.slow
def test_a_healthy_latent_model_of_pictures_is_examined_as_a_whole_and_nothing_is_found(tmp_path):
    fresh, spec = catch_logged(), Catch().spec
    past = Logged.of_trajectories(played(Catch(), 30, 9))
    found = diagnose(catch_model(), fresh, spec, training=past, source="catch", horizon=8, key=jr.key(0))
    assert [f.name for f in found.findings] == [] and found.recalibration is None
    e = found.examination
    assert e.names == ("picture",) and e.useful_steps == 8 and 0.8 < e.covered_90[0] <= 1.0
    assert any("spread of samples" in note for note in found.notes)
    assert any("no recalibration" in note for note in found.notes)
    paths = write_checkup(found, tmp_path, target="x")
    assert paths["still"].is_file() and paths["video"].is_file()
    page = paths["page"].read_text()
    assert 'class="still"' in page and "Reward and continue heads" in page and "best constant" in page
    summary = json.loads(paths["summary"].read_text())
    assert summary["heads"]["terminations"] == 24 and len(summary["examination"]["error"][0]) == 1


@pytest.mark.slow
def test_the_width_in_the_loss_of_a_latent_model_of_vectors_is_no_finding_and_not_what_is_judged(tmp_path):
    model = WorldModel(SPEC, dataclasses.replace(SMALL, symlog=False), key=jr.key(0))  # not trained at all
    fresh, past = logged(rows(6, seed=1)), logged(rows(6))
    found = diagnose(model, fresh, SPEC, training=past, source="latent", horizon=4, key=jr.key(0))
    names = [f.name for f in found.findings]
    assert "reward-head-useless" in names and not [n for n in names if "tested" in n or n == "variance-frozen"]
    width = np.asarray(found.examination.width)
    np.testing.assert_allclose(width, np.sqrt(np.mean((fresh.rows.next_obs) ** 2, 0)), rtol=0.3)  # it expects about 0
    assert 0.75 < found.examination.covered_90[0] < 0.98 and found.verdict.startswith("Do not trust it")
    paths = write_checkup(found, tmp_path, target="x")
    assert (tmp_path / "traces.png").is_file() and "still" not in paths and "recalibration" not in paths


@pytest.mark.slow
def test_a_recalibrated_run_keeps_the_planner_that_it_was_given(tmp_path):
    planner = make_planner(Walk().spec.action, PlannerConfig(horizon=3, population=11, elites=2, iterations=1))
    setup = build("pets", Walk(), config=CONFIGS["pets"], run=RunConfig(steps=20), planner=planner)
    state = setup.agent.init(key=jr.key(0))
    table = jnp.broadcast_to(jnp.asarray(GRID, jnp.float32), (1, 2, len(GRID)))
    made = Recalibration(table, jnp.ones((1, 2)), jnp.ones(1, jnp.int32), 2)
    made.save(tmp_path / "a.npz", origin(setup.agent.model(state), source="x", seed=0))
    better, new = plan_recalibrated(setup, state, tmp_path / "a.npz")
    assert better.agent.planner is planner and isinstance(better.agent.model(new), Recalibrated)
    assert better.agent.model(new).model is setup.agent.model(state)
    other = setup.agent.init(key=jr.key(1))  # another seed or checkpoint
    with pytest.raises(
        UserError, match=r"a.npz is of x, seed 0, model \w+, wanted this run, seed 3, model \w+; make it"
    ):
        plan_recalibrated(setup, other, tmp_path / "a.npz", seed=3)
