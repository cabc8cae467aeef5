"""Records of every kind, changed as an editor or a newer version changes them: refused in one line, or taken."""

import json
import math
import zipfile
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from mutations import mutations
from tiny import CONFIGS

from forethought import api, fitting, policy, reporting, training
from forethought.diagnostics import calibration
from forethought.diagnostics.curves import learning_curves, seed_series
from forethought.display import Display
from forethought.errors import UserError
from forethought.policy import Policy
from forethought.presets.run import RunConfig
from forethought.presets.values import to_dict
from forethought.space_parts import describe_space
from forethought.storage import checkpoint, records
from forethought.storage.run_folder import Loaded, RunFolder, group_names
from forethought.types import Transition

TREE = {"w": jnp.zeros(2)}
SPEC = {"name": "x", "obs_dim": 3, "action": {"low": [-1.0], "high": [1.0]}, "angle_dims": [0], "image": None}
SPEC |= {"max_episode_steps": 200, "action_repeat": 1, "num_states": None}
GIVEN = {"reward": "learned", "termination": "never"}
RECORD = {
    "agent": "pets",
    "env": "point-mass",
    "preset": "default",
    "seed": 0,
    "num_seeds": 1,
    "config": to_dict(CONFIGS["pets"]),
    "run": to_dict(RunConfig(steps=40)),
    "given": GIVEN,
    "own": [],
    "total_steps": 40,
    "start_from": None,
    "driver": "jit",
    "versions": {"jax": "1"},
    "command": "forethought train",
    "verdict": "good",
    "findings": [{"name": "a", "severity": "note", "sentence": "b", "remedy": "c", "numbers": {"d": 1.0, "e": None}}],
}
NO = np.zeros(6, bool)
DATA = Transition(np.zeros((6, 1)), np.zeros((6, 1)), np.zeros(6), np.zeros((6, 1)), np.arange(6) % 2 == 1, NO)
ROWS = [
    {"kind": "episode", "episode": 1, "return": 2.0, "length": 3},
    {"kind": "eval", "returns": [1.0], "lengths": [3], "mean_return": 1.0, "final": True},
    {"kind": "update", "update": 1, "model/loss": 0.5},
    {"kind": "event", "message": "resumed"},
    {"kind": "latency", "p50_ms": 1.0},
]
ROWS = [{"seed": 0, "env_steps": 5, "wall_s": 0.5, **row} for row in ROWS]
COUNTERS = {"wall_s": 1.0, "logged": [3], "evaluated_at": 4, "best_return": None, "given_checked": True}


def refused(call) -> bool:
    """Whether `call` is refused, in one line; anything but a UserError comes through."""
    try:
        call()
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 600
        return True
    return False


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path / "run", RECORD)


def with_meta(path, meta):
    """A checkpoint of `TREE` with the meta data `meta` as a JSON file of any origin may hold them."""
    if not path.exists():
        checkpoint.save(path, TREE, {})
    rewritten(path, lambda manifest: manifest.update(meta=meta))


def rewritten(path, change):
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    manifest = json.loads(members["manifest.json"])
    members["manifest.json"] = json.dumps(change(manifest) or manifest).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)


def test_no_change_of_a_run_record_ends_in_a_raw_error(run, monkeypatch):
    monkeypatch.setattr(api, "build", lambda *args, run, **options: SimpleNamespace(run=run))
    record = {**run.record, "run": {"steps": 40, "seed": 0}, "config": {"random_steps": 20}}
    count = 0
    for _, changed in mutations(record):
        (run.path / "run.json").write_text(json.dumps(changed))
        count += refused(lambda: api.load_run(run.path)) or refused(
            lambda: reporting._recorded_findings(RunFolder.open(run.path))
        )
    assert count > 200


@pytest.mark.parametrize(
    "name", ["agent", "env", "seed", "num_seeds", "config", "total_steps", "run", "given", "preset"]
)
def test_a_field_of_a_run_record_that_is_missing_or_of_another_type_is_named(run, name):
    lacking = {k: v for k, v in run.record.items() if k != name}
    (run.path / "run.json").write_text(json.dumps(lacking))
    with pytest.raises(UserError, match=rf"run\.json is damaged: it lacks {name}; mend it or start the run again"):
        api.load_run(run.path)
    (run.path / "run.json").write_text(json.dumps({**run.record, name: [7]}))
    with pytest.raises(UserError, match=rf"run\.json is damaged: {name}=\[7\], wanted .*; mend it or start the run"):
        api.load_run(run.path)


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[1]", "1e999", '{"format": 1e400}', "[" * 100_000, '{"format": "1"}']
)
def test_a_record_that_is_no_object_is_damaged(run, text):
    (run.path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        RunFolder.open(run.path)


def test_no_change_of_a_group_ends_in_a_raw_error(tmp_path):
    for _, changed in mutations({"format": 1, "runs": ["seed-0"]}):
        (tmp_path / "group.json").write_text(json.dumps(changed))
        refused(lambda: group_names(tmp_path))


@pytest.mark.parametrize("row", ROWS, ids=[row["kind"] for row in ROWS])
def test_no_change_of_a_row_of_metrics_ends_in_a_raw_error(run, row):
    def use():
        rows = run.metrics(whole=True)
        assert all(isinstance(r["env_steps"], int) and math.isfinite(r["wall_s"]) for r in rows)
        learning_curves(rows), learning_curves(rows, "episode"), seed_series(rows, "update", "model/loss")
        run.truncate_metrics(3)

    count = 0
    for _, changed in mutations(row):
        run.metrics_path.write_text(json.dumps(ROWS[0]) + "\n" + json.dumps(changed) + "\n")
        count += refused(use)
    assert count >= 40


def test_a_row_of_metrics_says_line_field_got_and_wanted(run):
    run.log(ROWS)
    with open(run.metrics_path, "ab") as file:
        file.write(json.dumps({**ROWS[1], "final": "yes"}).encode() + b"\n")
    with pytest.raises(
        UserError, match=r"^line 6 of .*metrics\.jsonl is damaged: final='yes', wanted true or false; mend"
    ):
        run.metrics()
    with open(run.metrics_path, "wb") as file:
        file.write(json.dumps({"kind": "eval", "seed": 0, "env_steps": 1, "wall_s": 1.0}).encode() + b"\n")
    with pytest.raises(UserError, match=r"line 1 of .* it lacks mean_return, returns, lengths, final; mend or remove"):
        run.metrics(whole=True)


def test_what_is_not_finite_is_null_on_disk_and_a_number_again_in_rows(run):
    run.log([{**ROWS[0], "return": math.nan}, {**ROWS[1], "mean_return": -math.inf, "returns": [math.inf, 1.0]}])
    run.update_record(worst=-math.inf)
    text = run.metrics_path.read_text() + (run.path / "run.json").read_text()
    assert "NaN" not in text and "Infinity" not in text and '"worst": null' in text
    first, second = run.metrics(whole=True)
    assert math.isnan(first["return"]) and math.isnan(second["mean_return"]) and second["returns"][1] == 1.0
    reporting.write(run)


def test_rows_of_older_versions_with_infinity_are_read(run):
    run.metrics_path.write_text(json.dumps({**ROWS[1], "mean_return": -math.inf}) + "\n")
    assert "-Infinity" in run.metrics_path.read_text() and math.isnan(run.metrics(whole=True)[0]["mean_return"])


def test_no_change_of_a_checkpoint_s_meta_data_is_taken_for_whole(run):
    check = records.counters_check(training.Counters, 1)
    run.save_checkpoint({"w": TREE["w"] + 1}, env_steps=4, meta={"counters": COUNTERS})
    newest = run.path / "checkpoints" / "step-000000005.npz"
    passed = []
    for label, meta in mutations({"env_steps": 5, "metrics_bytes": 0, "counters": COUNTERS}):
        with_meta(newest, meta)
        loaded = run.load_checkpoint(TREE, check=check)
        if loaded.meta["env_steps"] == 4:
            assert "step-000000005.npz" in loaded.notes[0] and "is damaged" in loaded.notes[0]
            assert "using step-000000004.npz instead" in loaded.notes[0]
        else:
            training.Counters(**loaded.meta["counters"])
            passed.append(label.partition("=")[0])
    # numbers of another size cannot be told; what is unknown beside the counters is let pass
    assert set(passed) <= {
        "metrics_bytes",
        "counters.wall_s",
        "counters.evaluated_at",
        "counters.best_return",
        ".unknown_field",
    } | {"counters.logged", "counters.given_checked"}


def test_an_unknown_counter_falls_back_to_the_older_checkpoint(run):
    for steps, more in ((1, {}), (2, {"invented": 3})):
        run.save_checkpoint(TREE, env_steps=steps, meta={"counters": {**COUNTERS, **more}})
    loaded = run.load_checkpoint(TREE, check=records.counters_check(training.Counters, 1))
    assert loaded.meta["env_steps"] == 1
    assert "a newer Forethought: 'invented' is unknown" in loaded.notes[0]


def test_counters_of_another_number_of_seeds_are_damage(run):
    run.save_checkpoint(TREE, env_steps=1, meta={"counters": {**COUNTERS, "logged": [1, 2]}})
    with pytest.raises(
        UserError, match=r"counters is damaged: logged=\[1, 2\], wanted one whole number for each of 1 seeds"
    ):
        run.load_checkpoint(TREE, check=records.counters_check(training.Counters, 1))


def test_metrics_shorter_than_at_the_checkpoint_are_said_to_be(run):
    run.log(ROWS)
    size = run.metrics_path.stat().st_size
    assert run.metrics_lost(size) is None and run.metrics_lost(None) is None and run.metrics_lost(0) is None
    run.metrics_path.write_bytes(run.metrics_path.read_bytes()[:100])
    assert f"has 100 bytes, fewer than the {size:,} that it had at the checkpoint" in run.metrics_lost(size)
    run.metrics_path.unlink()
    assert "has 0 bytes, fewer than" in run.metrics_lost(size)
    run.log([{**ROWS[2], "model/loss": k / 7} for k in range(9)])
    assert "was changed within the" in run.metrics_lost(size + 1)


def test_a_run_that_resumes_with_fewer_metrics_says_so(run, monkeypatch):
    run.log(ROWS)
    size = run.metrics_path.stat().st_size
    run.metrics_path.write_bytes(b"")
    meta = {"env_steps": 5, "metrics_bytes": size, "counters": COUNTERS}
    loaded = Loaded(SimpleNamespace(data={"env": None}), meta, ["passed over one"])
    monkeypatch.setattr(RunFolder, "checkpoints", lambda self: {5: run.path})
    monkeypatch.setattr(RunFolder, "load_checkpoint", lambda self, like, check: loaded)
    monkeypatch.setattr(training, "_run", lambda *args, notes, **options: notes)
    driver = SimpleNamespace(start=lambda replay, seed: None)
    monkeypatch.setattr(training, "Pace", lambda *args, **options: None)
    options = SimpleNamespace(seed=0, num_seeds=1)
    setup = SimpleNamespace(driver=lambda: driver, data=lambda folder: None, run=options, side_by_side=True)
    first, second = training.resume(setup, run, Display(quiet=True))
    assert first == "passed over one" and "has 0 bytes, fewer than" in second


class Stub:
    """An agent or learner of two numbers."""

    model = TREE

    def __init__(self, spec=None):
        self.spec = spec

    def init(self, *, key):
        return TREE


def test_no_change_of_a_policy_ends_in_a_raw_error(tmp_path, monkeypatch):
    entry = SimpleNamespace(config_type=type(CONFIGS["pets"]), build=lambda spec, *args, **options: Stub(spec))
    monkeypatch.setattr(policy, "AGENTS", {"pets": entry})
    path, count = tmp_path / "policy.npz", 0
    whole = {"agent": "pets", "config": {"random_steps": 20}, "env": "x", "given": GIVEN, "spec": SPEC}
    observation, action = (describe_space(spaces.Box(-1, 1, (size,))) for size in (SPEC["obs_dim"], 1))
    whole["spaces"] = {"observation": observation, "action": action}
    with_meta(path, {"policy": whole})
    Policy.load(path)
    for _, changed in mutations(whole, 3):
        with_meta(path, {"policy": changed})
        count += refused(lambda: Policy.load(path))
    assert count > 150


def test_a_policy_says_field_got_and_wanted(tmp_path):
    path = tmp_path / "policy.npz"
    whole = {"agent": "pets", "config": {}, "env": "x", "given": GIVEN, "spec": SPEC}
    for change, message in (
        ({"agent": 3}, "agent=3, wanted text"),
        ({"given": {"reward": "learned"}}, "given is damaged: it lacks termination"),
        ({"spec": {**SPEC, "obs_dim": 10**12}}, "obs_dim=1000000000000, wanted 1 to 10000000"),
        (
            {"spec": {**SPEC, "action": {"low": [-1.0], "high": ["x"]}}},
            r"spec.action is damaged: high=\['x'\], wanted a list",
        ),
        ({"spec": {**SPEC, "gravity": 3}}, r"spec\.gravity is unknown to this version"),
        ({"spec": {**SPEC, "angle_dims": [7]}}, r"angle_dims=\(7,\) must lie in 0..2"),
    ):
        with_meta(path, {"policy": {**whole, **change}})
        with pytest.raises(UserError, match=message):
            Policy.load(path)


def test_no_change_of_a_fitted_model_ends_in_a_raw_error(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "ensemble_learner", lambda *args, **options: Stub())
    path = tmp_path / "model.npz"
    whole = {"spec": {k: SPEC[k] for k in ("name", "obs_dim", "action", "angle_dims")}, "model": {}, "given": GIVEN}
    for _, changed in mutations(whole, 3):
        with_meta(path, {"fit": changed})
        refused(lambda: fitting.load_fitted(path))
    monkeypatch.setattr(fitting, "load_dataset", lambda source: SimpleNamespace(transitions=DATA))
    for _, changed in mutations({"format": 1, "source": "x", "config": {"holdout": 0.1}, "transitions": {"train": 3}}):
        (tmp_path / "fit.json").write_text(json.dumps(changed))
        refused(lambda: fitting.own_split(tmp_path))


def test_no_change_of_a_recalibration_ends_in_a_raw_error(tmp_path):
    path = tmp_path / "recalibration.npz"
    for _, changed in mutations(
        {"horizon": 2, "obs": 1, "knots": calibration.KNOTS, "particles": 5, "about": {"a": "b"}}
    ):
        with_meta(path, {"recalibration": changed})
        refused(lambda: calibration.Recalibration.load(path))


def test_no_change_of_an_archive_s_manifest_ends_in_a_raw_error(tmp_path):
    path = tmp_path / "a.npz"
    checkpoint.save(path, TREE, {})
    with zipfile.ZipFile(path) as file:
        whole = json.loads(file.read("manifest.json"))
    for label, changed in mutations(whole, 3):
        rewritten(path, lambda manifest, changed=changed: changed)
        taken = not refused(lambda: checkpoint.load(path, TREE))
        assert not taken or label.startswith(("meta", "format", ".unknown", "arrays.['w'].impl"))


def test_json_holds_no_number_that_is_not_finite():
    value = {"a": [1.0, math.nan, (math.inf,)], "b": {"c": -math.inf}, "d": jnp.array([1.0, jnp.nan])}
    assert records.dumps(value) == '{"a": [1.0, null, [null]], "b": {"c": null}, "d": [1.0, null]}'
    assert records.loads('{"a": NaN, "b": [-Infinity, 1e999, 2.5]}') == {"a": None, "b": [None, None, 2.5]}
