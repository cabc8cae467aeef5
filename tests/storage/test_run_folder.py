"""Run folders: the record, the metrics, the checkpoints that are kept, the lock, and groups."""

import errno
import json
import os
import signal

import jax.numpy as jnp
import numpy as np
import pytest
from faulty import failing_sync, file_size_limit, leftovers, start

from forethought.errors import StorageFault, UserError
from forethought.storage import files, lock, records
from forethought.storage.archive import DamagedCheckpoint
from forethought.storage.files import NewerFormat
from forethought.storage.run_folder import (
    RunFolder,
    create_group,
    default_run_path,
    group_names,
    open_runs,
)

RECORD = {
    "agent": "pets",
    "env": "pets-cartpole",
    "preset": None,
    "seed": 0,
    "num_seeds": 1,
    "config": {"horizon": 25},
    "total_steps": 100,
}


def row(env_steps, kind="episode", seed=0, **fields):
    return {"kind": kind, "seed": seed, "env_steps": env_steps, "wall_s": 0.5, **fields}


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path / "run", RECORD)


def tree(value):
    return {"w": jnp.full(3, float(value))}


def damage(path):
    data = bytearray(path.read_bytes())
    data[data.index(b"NUMPY") + 130] ^= 1
    path.write_bytes(data)


# --- record


def test_a_run_opens_with_the_record_that_it_was_created_with(run):
    opened = RunFolder.open(run.path)
    assert opened.record == run.record
    assert {**opened.record, **RECORD} == opened.record
    assert opened.record["format"] == 2 and opened.record["status"] == "running"


def test_a_run_of_the_layout_before_says_which_version_wrote_it(run):
    record = json.loads((run.path / "run.json").read_text()) | {"format": 1, "versions": {"forethought": "0.1.0"}}
    (run.path / "run.json").write_text(json.dumps(record))
    opened = RunFolder.open(run.path)
    for load in (lambda: opened.load_checkpoint(tree(0.0)), lambda: opened.load_stage(tree(0.0), 10)):
        with pytest.raises(
            UserError, match=r"was written by Forethought 0\.1\.0, whose checkpoints this one cannot load"
        ):
            load()


def test_opening_a_run_imports_no_jax(run):
    child = start(
        "import sys; from forethought.storage.run_folder import RunFolder; "
        "RunFolder.open(sys.argv[1]).metrics(); print('jax' in sys.modules)",
        str(run.path),
    )
    assert child.communicate(timeout=60)[0] == "False\n"


def test_an_update_of_the_record_is_on_disk(run):
    run.update_record(status="finished", message="solved", best=np.float32(2.5))
    assert RunFolder.open(run.path).record["best"] == 2.5
    assert RunFolder.open(run.path).status == "finished"
    with pytest.raises(ValueError, match="status='done' must be one of running, finished"):
        run.update_record(status="done")


def test_a_record_that_cannot_be_written_stays_as_it_was(run, monkeypatch):
    before = (run.path / "run.json").read_bytes()
    failing_sync(monkeypatch, errno.ENOSPC)
    with pytest.raises(StorageFault, match=r"run\.json: No space left on device; free some space"):
        run.update_record(status="finished")
    assert run.record["status"] == "running"
    assert (run.path / "run.json").read_bytes() == before and not leftovers(run.path)


def test_a_record_without_its_fields_is_not_created(tmp_path):
    with pytest.raises(ValueError, match="record lacks config, total_steps"):
        RunFolder.create(tmp_path / "a", {k: v for k, v in RECORD.items() if k not in ("config", "total_steps")})
    assert not (tmp_path / "a").exists()


def test_a_folder_in_use_is_not_overwritten(run):
    with pytest.raises(UserError, match="exists and is not empty; resume it, or give a new folder"):
        RunFolder.create(run.path, RECORD)


def test_an_empty_folder_may_be_used(tmp_path):
    assert RunFolder.create(tmp_path, RECORD).checkpoints() == {}


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_the_place_of_the_folder_is_said_plainly(tmp_path, below):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file is in its place"):
        RunFolder.create(tmp_path / "file" / below, RECORD)


def test_no_permission_to_write_is_said_plainly(tmp_path, monkeypatch):
    monkeypatch.setattr(records.os, "access", lambda path, mode: False)  # tests may run as root
    with pytest.raises(UserError, match=r"no permission to write .*/a; give a folder"):
        RunFolder.create(tmp_path / "a", RECORD)


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (errno.EACCES, UserError, "no permission to write"),
        (errno.EROFS, StorageFault, "Read-only file system; make the file system writable"),
        (errno.ENOSPC, StorageFault, "No space left on device"),
    ],
)
def test_a_folder_that_cannot_be_made_is_said_plainly(tmp_path, monkeypatch, number, error, message):
    def fail(self, *arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(records.Path, "mkdir", fail)
    with pytest.raises(error, match=message) as caught:
        RunFolder.create(tmp_path / "a", RECORD)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_run_is_said_plainly(tmp_path):
    with pytest.raises(UserError, match=r"is not a run folder: it holds no run\.json"):
        RunFolder.open(tmp_path)
    with pytest.raises(UserError, match="is not a run folder: it does not exist"):
        RunFolder.open(tmp_path / "none")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"format": 1, "sta', "is damaged: "),
        (b"\xff\xfe", "is damaged: "),
        (b"[]", "is damaged: it is not an object"),
        (b"{}", "is damaged: it has no format number"),
        (b'{"format": 1, "status": "running"}', "is damaged: it lacks agent, env"),
        (json.dumps({**RECORD, "format": 1, "status": "odd"}).encode(), "unknown status 'odd'"),
    ],
)
def test_a_damaged_record_is_said_plainly(run, content, message):
    (run.path / "run.json").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        RunFolder.open(run.path)
    assert "\n" not in str(caught.value) and "run.json" in str(caught.value)


def test_a_newer_record_says_how_to_upgrade(run):
    (run.path / "run.json").write_text('{"format": 3}')
    with pytest.raises(NewerFormat, match=r"format 3, this one reads up to 2.*pip install -U forethought"):
        RunFolder.open(run.path)


# --- metrics


def test_metrics_come_back_by_kind_and_seed(run):
    run.log([row(1, seed=0), row(1, "update", seed=1, **{"model/loss": np.float32(0.5)})])
    run.log([])
    run.log([row(2, "eval", seed=1, returns=np.array([1.0, 2.0]), mean_return=jnp.float32(1.5))])
    assert [r["env_steps"] for r in run.metrics()] == [1, 1, 2]
    assert run.metrics("update") == [row(1, "update", seed=1, **{"model/loss": 0.5})]
    assert [r["kind"] for r in run.metrics(seed=1)] == ["update", "eval"]
    assert run.metrics("eval", 1)[0]["returns"] == [1.0, 2.0]
    assert run.metrics("eval", 0) == []


def test_a_half_written_last_line_is_left_out_and_cut_off_by_the_next_write(run):
    run.log([row(1), row(2)])
    with open(run.metrics_path, "ab") as file:
        file.write(b'{"kind": "epis')
    assert [r["env_steps"] for r in run.metrics()] == [1, 2]
    run.log([row(3)])
    assert [r["env_steps"] for r in run.metrics()] == [1, 2, 3]
    assert b"epis{" not in run.metrics_path.read_bytes()


@pytest.mark.parametrize("length", [0, 1, 4095, 4096, 4097, 9000])
def test_a_half_written_line_of_any_length_is_cut_off(tmp_path, length):
    path = tmp_path / "lines"
    for whole in (b"", b"one\n", b"one\n" + b"x" * 5000 + b"\n"):
        path.write_bytes(whole + b"y" * length)
        files.append(path, b"two\n")
        assert path.read_bytes() == whole + b"two\n"


def test_a_damaged_line_in_the_middle_is_named(run):
    run.log([row(1)])
    with open(run.metrics_path, "ab") as file:
        file.write(b"rubbish\n")
    run.log([row(2)])
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged in line 2"):
        run.metrics()


def test_rows_are_logged_whole_or_not_at_all_on_a_full_disk(run):
    run.log([row(1)])
    before = run.metrics_path.read_bytes()
    with file_size_limit(len(before) + 20), pytest.raises(StorageFault, match="cannot write"):
        run.log([row(2)])
    assert run.metrics_path.read_bytes() == before


def test_a_resumed_run_forgets_what_was_logged_after_its_checkpoint(run):
    run.log([row(10), row(20, "episode")])
    run.save_checkpoint(tree(0), env_steps=20, meta={})
    at_checkpoint = run.metrics_path.read_bytes()
    run.log([row(20, "eval"), row(30)])  # a row at the very step of the checkpoint, but after it
    meta = run.load_checkpoint(tree(1)).meta
    assert run.truncate_metrics(meta["env_steps"], meta["metrics_bytes"]) == 2
    assert run.metrics_path.read_bytes() == at_checkpoint


@pytest.mark.parametrize("metrics_bytes", [None, 3, 10**6, -1])
def test_without_a_usable_size_the_rows_after_the_step_are_forgotten(run, metrics_bytes):
    run.log([row(10), row(20), row(30), row(20, "eval")])
    assert run.truncate_metrics(20, metrics_bytes) == 1
    assert [r["env_steps"] for r in run.metrics()] == [10, 20, 20]


def test_nothing_logged_is_nothing_to_forget(run):
    assert run.truncate_metrics(0, 0) == 0
    assert run.metrics() == []


# --- checkpoints


def test_the_newest_two_checkpoints_and_the_best_are_kept(run):
    run.save_checkpoint(tree(0), env_steps=50, meta={"return": 3.0}, best=True)
    for steps in (100, 200, 300):
        run.save_checkpoint(tree(steps), env_steps=steps, meta={})
    names = sorted(path.name for path in (run.path / "checkpoints").iterdir())
    assert names == ["best.npz", "step-000000200.npz", "step-000000300.npz"]
    assert list(run.checkpoints()) == [300, 200]
    assert run.load_checkpoint(tree(0)).tree["w"][0] == 300
    assert run.load_checkpoint(tree(0), 200).meta["env_steps"] == 200
    best = run.load_checkpoint(tree(0), "best")
    assert best.meta["return"] == 3.0 and best.notes == []


def test_a_damaged_checkpoint_falls_back_to_the_previous_one_and_says_so(run):
    for steps in (100, 200):
        run.save_checkpoint(tree(steps), env_steps=steps, meta={})
    damage(run.checkpoints()[200])
    loaded = run.load_checkpoint(tree(0))
    assert loaded.meta["env_steps"] == 100 and loaded.tree["w"][0] == 100
    (note,) = loaded.notes
    assert "step-000000200.npz is damaged" in note and "using step-000000100.npz instead" in note


def test_a_run_that_fell_back_keeps_what_it_fell_back_to(run):
    for steps in (100, 200):
        run.save_checkpoint(tree(steps), env_steps=steps, meta={})
    damage(run.checkpoints()[200])
    run.save_checkpoint(tree(150), env_steps=150, meta={})
    assert list(run.checkpoints()) == [150, 100]


def test_a_missing_or_damaged_best_checkpoint_falls_back_to_the_last_and_says_so(run):
    run.save_checkpoint(tree(100), env_steps=100, meta={})
    assert "has no best checkpoint yet; using the last" in run.load_checkpoint(tree(0), "best").notes[0]
    run.save_checkpoint(tree(5), env_steps=5, meta={}, best=True)
    assert list(run.checkpoints()) == [100]
    damage(run.best_path)
    loaded = run.load_checkpoint(tree(0), "best")
    assert loaded.meta["env_steps"] == 100 and "best.npz is damaged" in loaded.notes[0]


def test_no_whole_checkpoint_is_said_plainly(run):
    with pytest.raises(UserError, match="has no checkpoint yet"):
        run.load_checkpoint(tree(0))
    for steps in (100, 200):
        run.save_checkpoint(tree(steps), env_steps=steps, meta={})
        run.checkpoints()[steps].write_bytes(b"")
    with pytest.raises(
        DamagedCheckpoint, match=r"no whole checkpoint: ((?!instead).)*200\.npz is damaged.*100\.npz is dam"
    ):
        run.load_checkpoint(tree(0))
    run.save_checkpoint(tree(150), env_steps=150, meta={}, best=True)
    with pytest.raises(DamagedCheckpoint, match=r"start it again, or take the best one \(--best\), which is not among"):
        run.load_checkpoint(tree(0))
    assert run.load_checkpoint(tree(0), "best").meta["env_steps"] == 150
    with pytest.raises(UserError, match=r"no checkpoint of 7 steps; it has: 200, 100"):
        run.load_checkpoint(tree(0), 7)
    with pytest.raises(UserError, match="checkpoint 'newest' is unknown; give last, best"):
        run.load_checkpoint(tree(0), "newest")


def test_a_checkpoint_of_another_agent_is_not_taken_for_a_damaged_one(run):
    for steps in (100, 200):
        run.save_checkpoint(tree(steps), env_steps=steps, meta={})
    with pytest.raises(UserError, match=r"\['w'\] is float32\[3\] in the file, wanted float32\[4\]"):
        run.load_checkpoint({"w": jnp.zeros(4)})


def test_a_full_disk_leaves_the_checkpoints_as_they_were(run):
    run.log([row(1)])
    for steps in (100, 200):
        run.save_checkpoint(tree(steps), env_steps=steps, meta={})
    with file_size_limit(1000), pytest.raises(StorageFault, match=r"step-000000300\.npz"):
        run.save_checkpoint({"w": np.ones(10_000)}, env_steps=300, meta={})
    assert list(run.checkpoints()) == [200, 100]
    assert run.load_checkpoint(tree(0)).meta["env_steps"] == 200
    assert not leftovers(run.path / "checkpoints")


def test_what_a_killed_save_left_is_cleared_away_by_the_next(run):
    left = run.path / "checkpoints" / ".step-000000100.npz.123.tmp"
    left.write_bytes(b"half")
    run.save_checkpoint(tree(0), env_steps=100, meta={})
    assert not left.exists()


# --- lock

HOLD = """
import sys, time
from forethought.storage.run_folder import RunFolder
with RunFolder.open(sys.argv[1]).locked():
    print("locked", flush=True)
    time.sleep(60)
"""


def test_two_processes_cannot_train_into_one_run(run):
    child = start(HOLD, str(run.path))
    assert child.stdout.readline() == "locked\n"
    assert run.is_locked and run.status == "running"
    with pytest.raises(UserError, match=f"is in use by process {child.pid} on .*; wait for it"), run.locked():
        pass
    child.kill()
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()
    assert not run.is_locked and run.status == "interrupted"
    with run.locked():  # what kill -9 left does not block a resume
        assert run.is_locked and run.status == "running"
    assert not run.is_locked


def test_the_lock_is_freed_when_training_raises(run):
    with pytest.raises(ZeroDivisionError), run.locked():
        1 / 0
    with run.locked():
        pass


@pytest.mark.parametrize(
    ("holder", "held"),
    [
        (lock._identity(os.getpid()), True),
        ({**lock._identity(os.getpid()), "start": 1}, False),  # another process got its id since
        ({**lock._identity(os.getpid()), "pid": 2**22 + 1}, False),  # no such process
        ({**lock._identity(2**22 + 1)}, False),  # a holder whose start could not be told
        ("rubbish", False),
    ],
)
def test_without_flock_the_process_id_and_its_start_time_decide(run, monkeypatch, holder, held):
    monkeypatch.setattr(lock, "fcntl", None)
    (run.path / ".lock").write_text(json.dumps(holder))
    assert run.is_locked == held


# --- names and groups


def test_run_paths_are_safe_for_the_file_system_and_unique(tmp_path):
    path = default_run_path(tmp_path, "pets", "dm_control/cartpole-swingup-v0", 3)
    assert path.parent == tmp_path
    assert path.name.startswith("pets-dm_control-cartpole-swingup-v0-20")
    taken = set()
    for _ in range(4):
        path = default_run_path(tmp_path, "pets", "my.module:Env/../..", 3)
        assert path.parent == tmp_path and path not in taken
        path.mkdir()
        taken.add(path)


def test_a_group_opens_as_the_runs_that_have_begun(tmp_path):
    group = create_group(tmp_path / "group", ["seed-0", "seed-1", "seed-2"])
    with pytest.raises(UserError, match="no run has begun"):
        open_runs(group)
    for seed in (0, 1):
        RunFolder.create(group / f"seed-{seed}", {**RECORD, "seed": seed})
    assert [r.record["seed"] for r in open_runs(group)] == [0, 1]
    assert group_names(group) == ["seed-0", "seed-1", "seed-2"]
    assert [r.path for r in open_runs(group / "seed-1")] == [group / "seed-1"]


def test_a_group_in_the_place_of_a_run_names_its_runs(tmp_path):
    group = create_group(tmp_path / "group", ["seed-0", "seed-1"])
    with pytest.raises(UserError, match=r"is a group of runs; name one of them: .*/seed-0, .*/seed-1"):
        RunFolder.open(group)


@pytest.mark.parametrize("names", [None, "seed-0", [1], ["../../elsewhere"], ["/etc"], ["a/b"], [".."]])
def test_a_group_whose_runs_lead_out_of_it_is_damaged(tmp_path, names):
    (tmp_path / "group.json").write_text(json.dumps({"format": 1, "runs": names}))
    with pytest.raises(UserError, match=r"group\.json is damaged"):
        open_runs(tmp_path)


def test_a_newer_group_says_how_to_upgrade(tmp_path):
    (tmp_path / "group.json").write_text(json.dumps({"format": 3, "runs": []}))
    with pytest.raises(NewerFormat, match="format 3, this one reads up to 2"):
        open_runs(tmp_path)


# --- starts that did not come to their first record


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_folder_whose_process_was_killed_before_its_record_can_be_used(tmp_path, monkeypatch, moment):
    def die(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(
        files.Path, "unlink", lambda self, missing_ok=False: None
    )  # as kill -9, which cleans up nothing
    monkeypatch.setattr(files.os, moment, die)
    with pytest.raises(KeyboardInterrupt):
        RunFolder.create(tmp_path / "run", RECORD)
    monkeypatch.undo()
    assert leftovers(tmp_path / "run") and not (tmp_path / "run" / "run.json").exists()
    run = RunFolder.create(tmp_path / "run", RECORD)
    assert RunFolder.open(run.path).record == run.record and not leftovers(run.path)


def test_a_folder_that_a_full_disk_left_without_a_record_can_be_used(tmp_path, monkeypatch):
    failing_sync(monkeypatch, errno.ENOSPC)
    with pytest.raises(StorageFault, match=r"run\.json: No space left"):
        RunFolder.create(tmp_path / "run", RECORD)
    monkeypatch.undo()
    for name in ("checkpoints", "figures", "videos"):  # as older versions left them
        (tmp_path / "run" / name).mkdir(exist_ok=True)
    RunFolder.create(tmp_path / "run", RECORD)


@pytest.mark.parametrize("name", ["notes.txt", "figures/a.png", ".hidden", "other/"])
def test_a_folder_with_anything_else_in_it_is_in_use(tmp_path, name):
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.mkdir() if name.endswith("/") else path.write_text("")
    with pytest.raises(UserError, match="exists and is not empty"):
        RunFolder.create(tmp_path / "run", RECORD)


def test_a_group_of_which_no_run_began_can_be_started_again(tmp_path):
    names = ["seed-0", "seed-1"]
    group = create_group(tmp_path / "group", names)
    (group / "seed-0" / "checkpoints").mkdir(parents=True)
    assert create_group(group, names) == group
    with pytest.raises(UserError, match="exists and is not empty"):
        create_group(group, ["seed-5"])
    RunFolder.create(group / "seed-0", RECORD)
    with pytest.raises(UserError, match="exists and is not empty"):
        create_group(group, names)
