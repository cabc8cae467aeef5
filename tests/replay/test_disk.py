"""The replay on disk: against a Python list and the device replay, killed, out of space, reopened."""

import dataclasses
import errno
import itertools
import json
import re
import signal
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from faulty import failing_sync, file_size_limit, start
from stream import SPEC, Stream, same_steps
from tiny import Averaging, Walk, run_to, same_bits

from forethought.envs.hosted import HostedJaxEnv
from forethought.errors import StorageFault, UserError
from forethought.replay import chunks
from forethought.replay.chunks import LAYOUT, ChunkStore, record
from forethought.replay.disk import DiskReplay
from forethought.replay.staging import AHEAD
from forethought.run.jit import JitDriver
from forethought.run.steps import StepDriver
from forethought.types import Box, Discrete, EnvSpec

SIZE = record(SPEC).itemsize
ROOM = 64  # steps of each environment
traced = eqx.filter_jit(lambda replay, n, length, key: replay.sequences(n, length, key=key))


def empty(folder, num_envs: int = 2, room: int = ROOM) -> DiskReplay:
    return DiskReplay.at(folder, SPEC, num_envs=num_envs, gigabytes=room * num_envs * SIZE / 1e9)


def filled(folder, batches: int, *, num_envs: int = 2, seed: int = 0):
    """A replay and the stream that filled it."""
    stream, replay = Stream(num_envs, seed=seed), empty(folder, num_envs)
    for _ in range(batches):
        replay = replay.add(stream.batch())
    return replay, stream


def reopened(replay, folder, **sizes):
    """The replay as another process finds it that was given the same leaves."""
    new = empty(folder, len(replay.end), **sizes)
    return dataclasses.replace(new, end=replay.end, before=replay.before, open=replay.open)


def row(tree, i):
    return jax.tree.map(lambda x: np.asarray(x)[i], tree)


def stored(replay, stream):
    """What the list says is drawn from."""
    return [s[max(int(b), len(s) - replay.store.kept) :] for s, b in zip(stream.steps, replay.store.begin)]


@pytest.mark.parametrize("batches", [20, 150])
def test_every_drawn_sequence_is_one_of_the_list_and_all_are_drawn_equally_often(tmp_path, batches):
    replay, stream = filled(tmp_path, batches)
    length, drawn = 5, 8000
    windows = [k[i : i + length] for k in stored(replay, stream) for i in range(len(k) - length + 1)]
    found = replay.sequences(drawn, length, key=jr.key(1))
    index = {window[-1].obs.tobytes(): i for i, window in enumerate(windows)}
    which = np.array([index[obs.tobytes()] for obs in np.asarray(found.obs)[:, -1]])
    for i, window in enumerate(windows):
        assert same_steps(row(found, int(np.argmax(which == i))), window)
    counts, expected = np.bincount(which, minlength=len(windows)), drawn / len(windows)
    assert np.sum((counts - expected) ** 2 / expected) < len(windows) + 5 * np.sqrt(2 * len(windows))


def test_limit_is_kept_by_removing_the_oldest_chunks(tmp_path):
    replay, stream = filled(tmp_path, 150)
    on_disk = sum(path.stat().st_size for path in tmp_path.glob("*.steps"))
    assert on_disk == replay.store.bytes <= replay.store.limit
    for env, steps in enumerate(stream.steps):
        assert int(replay.end[env]) == len(steps)
        assert ROOM * 3 / 4 < replay.store.kept < replay.store.kept + ROOM // 8 <= len(steps) - replay.store.begin[env]


def test_traced_batch_is_the_eager_one_and_depends_on_the_key_only(tmp_path):
    replay, _ = filled(tmp_path, 30)
    eager = replay.sequences(6, 4, key=jr.key(5))
    assert same_bits(eager, traced(replay, 6, 4, jr.key(5)))
    assert same_bits(eager, replay.sequences(6, 4, key=jr.key(5)))
    assert not same_bits(eager, replay.sequences(6, 4, key=jr.key(6)))


def test_drawing_inside_a_compiled_loop_gives_every_round_its_own_batch(tmp_path):
    replay, _ = filled(tmp_path, 30)
    keys = jr.split(jr.key(0), 3)
    loop = eqx.filter_jit(lambda r: jax.lax.scan(lambda c, k: (c, r.sequences(2, 4, key=k)), 0, keys)[1])
    batches = loop(replay)
    for i in range(3):
        assert same_bits(row(batches, i), row(jax.tree.map(lambda x: x[None], replay.sequences(2, 4, key=keys[i])), 0))


def round_of(num_batches: int):
    """A round of learning that draws so many batches, as the step driver plays and runs it: (play, run)."""

    def batches(replay, number):
        keys = jr.split(jr.fold_in(jr.key(9), number), num_batches)
        return jax.lax.scan(lambda c, k: (c, replay.sequences(6, 4, key=k)), 0, keys)[1]

    play = eqx.filter_jit(lambda replay, number: (batches(replay, number), None)[1])
    return play, eqx.filter_jit(batches)


def staged(replay, play, number):
    return replay.stage(lambda noting, ahead: play(noting, jnp.asarray(number + ahead)))


@pytest.mark.parametrize("num_batches", [1, 5])
def test_staged_round_draws_what_it_would_have_drawn_but_for_its_first_batch_from_before(tmp_path, num_batches):
    replay, stream = filled(tmp_path, 20)
    play, run = round_of(num_batches)
    first, count = staged(replay, play, 0), jnp.asarray(0)
    assert same_bits(run(first, count), run(replay, count))
    assert replay.staging.noted  # nothing of the round is left to be read
    replay = replay.learned()
    grown = replay
    for _ in range(10):
        grown = grown.add(stream.batch())
    wanted, late = run(grown, jnp.asarray(1)), run(replay, jnp.asarray(1))
    found = run(staged(grown, play, 1), jnp.asarray(1))
    assert same_bits(row(found, 0), row(late, 0)) and not same_bits(row(found, 0), row(wanted, 0))
    assert same_bits(row(found, slice(1, None)), row(wanted, slice(1, None)))


def test_batches_are_read_before_they_are_asked_for_and_not_again(tmp_path, monkeypatch):
    replay, _ = filled(tmp_path, 20)
    play, run = round_of(5)
    staged(replay, play, 0)
    replay.staging.wait()
    drawn = []
    monkeypatch.setattr(replay.store, "read", lambda *args, read=replay.store.read: drawn.append(1) or read(*args))
    run(replay, jnp.asarray(0))
    replay.staging.wait()
    assert len(drawn) == 6 * (5 + 1 - AHEAD)  # what is left of the round, and the first batch of the next one
    staged(replay.learned(), play, 1)
    replay.staging.wait()
    assert len(drawn) == 6 * (5 + 1 - AHEAD) + 6 * (AHEAD - 1)


def test_batch_that_cannot_be_read_is_a_clear_error_once_the_round_is_over(tmp_path):
    replay, _ = filled(tmp_path, 20)
    reader = reopened(replay, tmp_path)
    for path in tmp_path.glob("*.steps"):
        path.unlink()
    assert np.isnan(round_of(2)[1](reader, jnp.asarray(0)).reward).all()
    with pytest.raises(StorageFault, match=r"cannot read .*steps"):
        reader.learned()
    reader.learned()


def test_round_of_one_batch_finds_it_on_the_device(tmp_path):
    replay, _ = filled(tmp_path, 20)
    play, run = round_of(1)
    ready = staged(replay, play, 0)
    assert isinstance(ready.ready.pixels, jax.Array) and "callback" not in str(jax.make_jaxpr(run)(ready, 0))


def test_transitions_are_those_of_the_list(tmp_path):
    replay, stream = filled(tmp_path, 150)
    pairs = [
        (a.obs.tobytes(), b.obs.tobytes())
        for kept in stored(replay, stream)
        for a, b in itertools.pairwise(kept)
        if not b.first
    ]
    rows, in_use = replay.rows()
    assert [(o.tobytes(), n.tobytes()) for o, n in zip(rows.obs, rows.next_obs)] == pairs
    assert in_use.all() and replay.size == len(pairs)
    last = [values for batch in stream.transitions[-10:] for _, values in batch]
    latest = replay.latest(20)
    for i, values in enumerate(last):
        for leaf, value in zip(jax.tree.leaves(row(latest, i)), values):
            np.testing.assert_array_equal(leaf, value)
    sample = replay.sample(500, key=jr.key(0))
    assert {(o.tobytes(), n.tobytes()) for o, n in zip(sample.obs, sample.next_obs)} <= set(pairs)
    assert len({n.tobytes() for n in sample.next_obs}) > 0.9 * len(pairs)


def test_rows_that_are_not_valid_are_left_out_and_a_cut_opens_an_episode(tmp_path):
    stream, replay, rng = Stream(2, ends=0.0), empty(tmp_path), np.random.default_rng(0)
    for k in range(12):
        mask = rng.random(2) < 0.6
        if k == 6:
            stream.cut()
            replay = replay.cut()
        replay = replay.add(stream.batch(mask), jnp.asarray(mask))
    for env, steps in enumerate(stream.steps):
        found = replay.store.read(env, 0, len(steps))
        assert found["first"].tolist() == [s.first for s in steps] and found["first"].sum() == 2
        np.testing.assert_array_equal(found["vector"], [s.obs[SPEC.num_pixels :] for s in steps])


def test_reopened_folder_holds_the_same_and_what_is_added_opens_episodes(tmp_path):
    replay, stream = filled(tmp_path, 100)
    again = empty(tmp_path)
    assert same_bits(again.sequences(20, 6, key=jr.key(0)), replay.sequences(20, 6, key=jr.key(0)))
    stream.cut()
    again = again.add(stream.batch())
    assert bool(again.store.read(0, int(again.end[0]) - 2, 1)["first"][0])


def test_what_came_after_a_checkpoint_is_forgotten_when_its_replay_goes_on(tmp_path):
    replay, stream = filled(tmp_path, 30)
    batches = [stream.batch() for _ in range(40)]
    whole = replay
    for batch in batches:
        whole = whole.add(batch)
    wanted = whole.sequences(20, 6, key=jr.key(0))
    resumed = reopened(replay, tmp_path)
    for batch in batches:
        resumed = resumed.add(batch)
    assert same_bits(resumed.sequences(20, 6, key=jr.key(0)), wanted)


def test_draws_after_a_kill_are_those_of_the_checkpoint_though_the_limit_was_met(tmp_path):
    replay, stream = filled(tmp_path, 100)
    wanted = replay.sequences(20, 6, key=jr.key(0))
    later = replay
    for _ in range(5):  # less than an eighth of the room, new episodes included
        later = later.add(stream.batch())
    resumed, note = reopened(replay, tmp_path).resumed()
    assert note is None and resumed.store.end.tolist() == replay.end.tolist()
    assert same_bits(resumed.sequences(20, 6, key=jr.key(0)), wanted)


def test_checkpoint_whose_steps_were_dropped_since_goes_on_with_the_newer_ones_and_says_so(tmp_path):
    replay, stream = filled(tmp_path, 10)
    partly = replay
    for _ in range(45):
        partly = partly.add(stream.batch())
    later = partly
    for _ in range(12):
        later = later.add(stream.batch())
    resumed, note = reopened(replay, tmp_path).resumed()
    assert "newer ones" in note and same_bits(resumed.rows()[0], later.rows()[0])
    resumed, note = reopened(partly, tmp_path).resumed()
    assert "dropped for its limit" in note and resumed.store.end.tolist() == partly.end.tolist()
    with pytest.raises(UserError, match="as the run left it"):
        reopened(later, tmp_path).resumed()
    with pytest.raises(UserError, match="as the run left it"):
        replay.add(stream.batch())


def test_folder_is_not_touched_by_who_only_reads(tmp_path):
    replay, stream = filled(tmp_path / "replay", 10)
    early = replay
    for _ in range(3):
        replay = replay.add(stream.batch())
    newest = sorted((tmp_path / "replay").glob("*.steps"))[-1]
    with open(newest, "ab") as file:
        file.write(b"x" * (SIZE // 2))  # the writer is in the middle of a step
    before = {path: path.read_bytes() for path in (tmp_path / "replay").iterdir()}
    reader = reopened(early, tmp_path / "replay")
    assert same_bits(reader.rows()[0], early.rows()[0]) and same_bits(reader.latest(5), early.latest(5))
    assert {path: path.read_bytes() for path in (tmp_path / "replay").iterdir()} == before
    empty(tmp_path / "none").rows()
    assert len(empty(tmp_path / "none").latest(5).reward) == 0 and not (tmp_path / "none").exists()


def test_newest_steps_are_read_from_memory_and_older_ones_from_disk(tmp_path):
    replay, _ = filled(tmp_path, 100, num_envs=1)
    chunk = replay.store.chunk_steps
    memory = 3 * chunk * SIZE / 1e9
    held = DiskReplay.at(tmp_path / "b", SPEC, gigabytes=ROOM * SIZE / 1e9, memory_gigabytes=memory)
    stream = Stream(1)
    for _ in range(100):
        held = held.add(stream.batch())
    assert len(held.store._held) == 3
    newest, end = replay.rows()[0], int(held.end[0])
    for path in sorted((tmp_path / "b").glob("*.steps"))[-2:]:
        path.write_bytes(b"")  # what memory holds is not read
    assert same_bits(held.latest(chunk), jax.tree.map(lambda x: x[-chunk:], newest))
    held.store.read(0, end - 4 * chunk, chunk)
    assert len(held.store._mapped)


def test_flushed_steps_are_synced(tmp_path, monkeypatch):
    replay, _ = filled(tmp_path, 5)
    failing_sync(monkeypatch, errno.EIO)
    with pytest.raises(StorageFault, match="cannot write"):
        replay.flush()
    monkeypatch.undo()
    replay.flush()
    assert not replay.store._unsynced


KILLED = """
import sys, numpy as np
from forethought.replay.chunks import ChunkStore, record
from forethought.types import Discrete, EnvSpec
from pathlib import Path
spec = EnvSpec("toy", 3001, Discrete(3), image=(30, 100, 1))
store = ChunkStore(Path(sys.argv[1]), spec, 2, 40_000_000)
k = 0
while True:
    for env in range(2):
        step = np.zeros(1, record(spec))
        step["pixels"], step["vector"], step["action"] = k % 251, k, k % 3
        store.append(env, step)
    k += 1
    print(k, flush=True)
"""


def test_every_step_that_was_added_survives_kill_minus_nine(tmp_path):
    process, said = start(KILLED, str(tmp_path)), 0
    for line in process.stdout:
        said = int(line)
        if said >= 700:
            process.send_signal(signal.SIGKILL)
            break
    said = max([said, *(int(line) for line in process.stdout.read().split("\n")[:-1])])
    process.wait()
    spec = EnvSpec("toy", 3001, Discrete(3), image=(30, 100, 1))
    store = ChunkStore(tmp_path, spec, 2, 40_000_000)
    for env in range(2):
        count = int(store.end[env])
        assert said <= count <= said + 1
        steps = store.read(env, 0, count)
        k = np.arange(count)
        np.testing.assert_array_equal(steps["vector"][:, 0], k)
        assert (steps["pixels"] == (k % 251)[:, None]).all() and (steps["action"] == k % 3).all()


def test_part_of_a_record_is_cut_off(tmp_path):
    replay, _ = filled(tmp_path, 5, num_envs=1)
    replay.store.close()
    newest = sorted(tmp_path.glob("*.steps"))[-1]
    with open(newest, "ab") as file:
        file.write(b"x" * (SIZE // 2))
    again = empty(tmp_path, 1)
    assert same_bits(again.rows()[0], replay.rows()[0])
    again = again.add(Stream(1, seed=3).batch())
    assert newest.stat().st_size % SIZE == 0 and int(again.end[0]) == int(replay.end[0]) + 2


def test_full_disk_is_a_clear_error_and_nothing_is_lost(tmp_path):
    stream, replay = Stream(2), empty(tmp_path, room=1000)
    for _ in range(5):
        replay = replay.add(stream.batch())
    before = replay.sequences(20, 4, key=jr.key(0))
    batch = stream.batch()
    written = max(path.stat().st_size for path in tmp_path.glob("*.steps"))
    with file_size_limit(written + SIZE // 2), pytest.raises(StorageFault, match=r"cannot write .*steps"):
        replay.add(batch)
    assert same_bits(replay.sequences(20, 4, key=jr.key(0)), before)
    assert same_bits(empty(tmp_path, room=1000).sequences(20, 4, key=jr.key(0)), before)
    after = replay.add(batch)
    assert int(after.end.sum()) > int(replay.end.sum())


def test_projection_says_what_fits_and_what_is_free(tmp_path, monkeypatch):
    replay = empty(tmp_path / "deep" / "er", 1, 100)
    kept = replay.store.kept
    assert replay.projection(kept) == [
        "replay on disk: about 82 steps of 33 bytes are 2.71e-06 GB, the limit is 3.3e-06 GB"
    ]
    dropping = replay.projection(1000)[1]
    assert f"keeps the last {kept}" in dropping
    enough = float(re.search(r"give it (\S+) GB", dropping)[1])
    assert len(DiskReplay.at(tmp_path, SPEC, gigabytes=enough).projection(1000)) == 1
    monkeypatch.setattr(chunks.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    assert "will fill the disk" in replay.projection(kept)[1] and len(replay.projection(30)) == 1


def test_bad_folders_and_sizes_are_one_line(tmp_path):
    replay, stream = filled(tmp_path, 3)
    other = EnvSpec("other", 9, Box((-1.0,), (1.0,)))
    with pytest.raises(UserError, match="holds a replay with record"):
        DiskReplay.at(tmp_path, other, num_envs=2)
    with pytest.raises(UserError, match="num_envs 2, toy needs 3"):
        DiskReplay.at(tmp_path, SPEC, num_envs=3)
    with pytest.raises(UserError, match="room for 0 steps"):
        DiskReplay.at(tmp_path / "b", SPEC, gigabytes=1e-9)
    with pytest.raises(ValueError, match="length=65"):
        replay.sequences(2, 65, key=jr.key(0))
    with pytest.raises(ValueError, match="2 rows for a replay of num_envs=1"):
        empty(tmp_path / "c", 1).add(stream.batch())
    assert np.isnan(replay.sequences(2, 30, key=jr.key(0)).reward).all()
    (tmp_path / LAYOUT).write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match="newer Forethought"):
        empty(tmp_path)


def test_step_driver_fills_it_and_a_resumed_run_holds_the_same(tmp_path):
    run = StepDriver(Averaging(random_steps=1000), HostedJaxEnv(Walk(), 2))
    spec = run.env.spec
    whole = run_to(run, run.start({"env": DiskReplay.at(tmp_path / "a", spec, num_envs=2)}, seed=0), 30)
    half = run_to(
        run, run.start({"env": DiskReplay.at(tmp_path / "b", spec, num_envs=2)}, seed=0), 14
    )  # an episode's end
    both = run_to(run, half, 30)
    assert same_bits(whole.data["env"].rows()[0], both.data["env"].rows()[0])
    assert whole.data["env"].size == 30


def test_jit_driver_refuses_it(tmp_path):
    run = JitDriver(Averaging(), Walk())
    with pytest.raises(ValueError, match="use the step driver"):
        run.start({"env": DiskReplay.at(tmp_path, Walk().spec)}, seed=0)
