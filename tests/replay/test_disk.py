"""The replay on disk: against a Python list and the device replay, killed, out of space, reopened."""

import itertools
import json
import signal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from faulty import file_size_limit, start
from stream import SPEC, Stream, same_steps
from tiny import Averaging, Walk, run_to, same_bits

from forethought.envs.hosted import HostedJaxEnv
from forethought.errors import StorageFault, UserError
from forethought.replay.chunks import LAYOUT, ChunkStore, projection, record
from forethought.replay.disk import DiskReplay
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


def row(tree, i):
    return jax.tree.map(lambda x: np.asarray(x)[i], tree)


def stored(replay, stream):
    """What the list says is there."""
    return [s[int(b) : int(e)] for s, b, e in zip(stream.steps, replay.store.begin, replay.store.end)]


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
        assert ROOM / 2 < replay.store.kept <= len(steps) - int(replay.store.begin[env])


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


def test_staged_batch_is_the_one_that_would_be_drawn_also_when_steps_came_in_between(tmp_path):
    replay, stream = filled(tmp_path, 30)
    wanted = replay.sequences(6, 4, key=jr.key(7))
    replay.stage(6, 4, key=jr.key(7))
    staged = replay.staged._batch.result()
    taken = replay.sequences(6, 4, key=jr.key(7))
    assert same_bits(wanted, taken) and taken.reward is staged.reward
    replay.stage(6, 4, key=jr.key(7))
    later = replay.add(stream.batch())
    fresh = DiskReplay(later.end, later.open, SPEC, later.store, empty(tmp_path / "other").staged)
    assert same_bits(later.sequences(6, 4, key=jr.key(7)), fresh.sequences(6, 4, key=jr.key(7)))


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
    resumed = DiskReplay(replay.end, replay.open, SPEC, empty(tmp_path).store, replay.staged)
    for batch in batches:
        resumed = resumed.add(batch)
    assert same_bits(resumed.sequences(20, 6, key=jr.key(0)), wanted)


def test_checkpoint_of_steps_that_are_gone_is_one_line(tmp_path):
    replay, stream = filled(tmp_path, 10)
    later = replay
    for _ in range(150):
        later = later.add(stream.batch())
    with pytest.raises(UserError, match="take a later checkpoint"):
        replay.add(stream.batch())


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
    assert newest.stat().st_size % SIZE == 0


def test_full_disk_is_a_clear_error_and_nothing_is_lost(tmp_path):
    replay, stream = filled(tmp_path, 5)
    before = replay.sequences(20, 4, key=jr.key(0))
    batch = stream.batch()
    written = max(path.stat().st_size for path in tmp_path.glob("*.steps"))
    with file_size_limit(written + SIZE // 2), pytest.raises(StorageFault, match=r"cannot write .*steps"):
        replay.add(batch)
    assert same_bits(replay.sequences(20, 4, key=jr.key(0)), before)
    assert same_bits(empty(tmp_path).sequences(20, 4, key=jr.key(0)), before)
    after = replay.add(batch)
    assert int(after.end.sum()) > int(replay.end.sum())


def test_projection_says_what_fits_and_what_is_free(tmp_path):
    replay = empty(tmp_path / "deep" / "er", 1, 100)
    assert "keeps the last 100" in replay.projection(1000) and "keeps" not in replay.projection(99)
    huge = projection(SPEC, 10**15, 10**18, tmp_path)
    assert "will fill the disk" in huge and f"{SIZE} bytes" in huge


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
    (tmp_path / LAYOUT).write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        empty(tmp_path)
    (tmp_path / LAYOUT).write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match="newer Forethought"):
        empty(tmp_path)


def test_step_driver_fills_it_and_a_resumed_run_holds_the_same(tmp_path):
    run = StepDriver(Averaging(random_steps=1000), HostedJaxEnv(Walk(), 2))
    spec = run.env.spec
    whole = run_to(run, run.start(DiskReplay.at(tmp_path / "a", spec, num_envs=2), seed=0), 30)
    half = run_to(run, run.start(DiskReplay.at(tmp_path / "b", spec, num_envs=2), seed=0), 14)  # an episode's end
    both = run_to(run, half, 30)
    assert same_bits(whole.replay.rows()[0], both.replay.rows()[0])
    assert whole.replay.size == 30


def test_jit_driver_refuses_it(tmp_path):
    run = JitDriver(Averaging(), Walk())
    with pytest.raises(ValueError, match="use the step driver"):
        run.start(DiskReplay.at(tmp_path, Walk().spec), seed=0)
