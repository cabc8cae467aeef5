"""A replay on disk whose files were altered, moved, removed or linked: noticed and said, and the run goes on."""

import dataclasses
import json
import random
import shutil

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from stream import SPEC, Stream
from tiny import same_bits

from forethought.errors import StorageFault, UserError
from forethought.replay.checksums import damaged, sealed
from forethought.replay.chunks import LAYOUT, ChunkStore, record
from forethought.replay.disk import DiskReplay

SIZE = record(SPEC).itemsize


def at(folder, room: int = 64, num_envs: int = 1) -> DiskReplay:
    return DiskReplay.at(folder, SPEC, num_envs=num_envs, gigabytes=room * num_envs * SIZE / 1e9, memory_gigabytes=0)


def filled(folder, batches: int, *, room: int = 64, num_envs: int = 1) -> DiskReplay:
    stream, replay = Stream(num_envs), at(folder, room, num_envs)
    for _ in range(batches):
        replay = replay.add(stream.batch())
    replay.store.close()
    return replay


def reopened(replay: DiskReplay, folder, room: int = 64) -> DiskReplay:
    """What a process that loads its checkpoint has."""
    new = at(folder, room, len(replay.end))
    return dataclasses.replace(new, end=replay.end, before=replay.before, open=replay.open)


def chunks(folder):
    return sorted(folder.glob("*.steps"))


def flip(path, place: int = -20) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


def test_every_flipped_byte_of_a_record_is_noticed_and_so_is_another_place():
    records = np.zeros(3, record(SPEC))
    records["vector"] = np.arange(6).reshape(3, 2)
    whole = sealed(records, env=1, start=7)
    assert not damaged(whole, 1, 7).any()
    assert damaged(whole, 0, 7).all() and damaged(whole, 1, 8).all()
    for place in range(SIZE):
        raw = bytearray(whole.tobytes())
        raw[SIZE + place] ^= 1 << place % 8
        assert damaged(np.frombuffer(bytes(raw), whole.dtype), 1, 7).tolist() == [False, True, False]


@pytest.mark.parametrize("read", ["rows", "latest", "sample", "sequences"])
def test_damaged_steps_are_never_handed_out(tmp_path, read):
    replay = filled(tmp_path, 20)
    for path in chunks(tmp_path):
        flip(path)
    again = reopened(replay, tmp_path)
    with pytest.raises(
        StorageFault, match=r"env0000-\d+\.steps is damaged: step \d+ does not have the checksum"
    ) as found:
        reads = {
            "rows": again.rows,
            "latest": lambda: again.latest(15),
            "sample": lambda: again.sample(30, key=jr.key(0)),
            "sequences": lambda: again.sequences(30, 4, key=jr.key(0)),
        }
        reads[read]()
    assert "\n" not in str(found.value)


def test_a_run_resumes_without_damaged_steps_and_says_which(tmp_path):
    replay = filled(tmp_path, 20)
    path = chunks(tmp_path)[1]
    flip(path)
    resumed, note = reopened(replay, tmp_path).resumed()
    first = 2 * resumed.store.chunk_steps
    assert note == (
        f"damaged in the replay: {path.name}; {first} steps up to the damage are left out; the run can differ from one "
        "that was not stopped"
    )
    wanted = filled(tmp_path / "b", 20)
    kept = wanted.store.read(0, first, int(replay.end[0]) - first)
    assert np.array_equal(resumed.store.read(0, first, len(kept)), kept)
    assert len(resumed.sequences(20, 4, key=jr.key(0)).reward) == 20 and not chunks(tmp_path)[0].name.endswith(
        "00.steps"
    )
    again, note = reopened(resumed, tmp_path).resumed()
    assert np.array_equal(again.store.begin, [first]) and "damaged" not in note and "dropped" not in note


@pytest.mark.parametrize("count", [20, 22, 23])
def test_damage_in_the_newest_file_leaves_what_came_after_it(tmp_path, count):
    replay = filled(tmp_path, count)
    flip(chunks(tmp_path)[-1], 5)
    resumed, note = reopened(replay, tmp_path).resumed()
    assert (
        int(resumed.store.begin[0])
        == (int(replay.end[0]) - 1) // resumed.store.chunk_steps * resumed.store.chunk_steps + 1
    )
    assert chunks(tmp_path)[-1].name in note and len(chunks(tmp_path)) == 1
    resumed.add(Stream(1, seed=9).batch()).rows()


def test_a_replay_without_one_whole_step_is_refused(tmp_path):
    replay = filled(tmp_path, 3)
    flip(chunks(tmp_path)[-1], (int(replay.end[0]) - 1) % replay.store.chunk_steps * SIZE)
    with pytest.raises(
        UserError, match=r"is damaged: env0000-.* no other step is there; put a copy of the folder back"
    ):
        reopened(replay, tmp_path).resumed()


def test_files_that_changed_their_names_are_noticed(tmp_path):
    replay = filled(tmp_path, 20)
    one, other = chunks(tmp_path)[:2]
    shutil.move(one, tmp_path / "x")
    shutil.move(other, one)
    shutil.move(tmp_path / "x", other)
    _, note = reopened(replay, tmp_path).resumed()
    assert f"damaged in the replay: {other.name}" in note


def test_a_missing_file_is_not_said_to_be_dropped_for_the_limit(tmp_path):
    replay = filled(tmp_path, 20)
    chunks(tmp_path)[0].unlink()
    _, note = reopened(replay, tmp_path).resumed()
    assert f"lost, because files are missing or cut short in {tmp_path}" in note and "limit" not in note


def test_dropped_for_the_limit_is_said_where_it_was(tmp_path):
    stream, replay = Stream(1), at(tmp_path)
    for _ in range(55):
        replay = replay.add(stream.batch())
    later = replay
    while later.store.begin[0] <= int(replay.end[0]) - replay.store.kept:
        later = later.add(stream.batch())
    _, note = reopened(replay, tmp_path).resumed()
    assert "dropped for its limit since the checkpoint" in note


@pytest.mark.parametrize(
    "alter",
    [
        lambda path: path.write_text("{"),
        lambda path: path.write_bytes(b"\xff" * 40),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text(path.read_text().replace('"chunk_steps": 4', '"chunk_steps": 5')),
        lambda path: path.write_text(path.read_text().replace('"num_envs": 1', '"num_envs": "x"')),
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "check": None})),
        lambda path: path.unlink(),
    ],
)
def test_a_damaged_layout_is_written_again_and_nothing_is_lost(tmp_path, alter):
    replay = filled(tmp_path, 20)
    before = (tmp_path / LAYOUT).read_bytes()
    wanted = reopened(replay, tmp_path).sequences(20, 4, key=jr.key(0))
    alter(tmp_path / LAYOUT)
    resumed, note = reopened(replay, tmp_path).resumed()
    assert note is None or note == f"{tmp_path / LAYOUT} was damaged and is written again from the run's settings"
    assert same_bits(resumed.sequences(20, 4, key=jr.key(0)), wanted)
    resumed.add(Stream(1, seed=9).batch())
    assert (tmp_path / LAYOUT).read_bytes() == before


def test_any_flipped_bit_of_a_layout_is_harmless_or_one_line(tmp_path):
    replay, draw = filled(tmp_path, 10), random.Random(0)
    wanted, before = replay.store.read(0, 0, int(replay.end[0])), (tmp_path / LAYOUT).read_bytes()
    for _ in range(50):
        data = bytearray(before)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        (tmp_path / LAYOUT).write_bytes(data)
        try:
            found = at(tmp_path)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert np.array_equal(found.store.read(0, 0, len(wanted)), wanted)


def test_a_replay_without_checksums_is_read_as_before(tmp_path):
    """Folders of versions whose chunks had none."""
    replay, old = filled(tmp_path, 20), record(SPEC, checked=False)
    for path in chunks(tmp_path):
        steps = np.frombuffer(path.read_bytes(), record(SPEC))
        plain = np.zeros(len(steps), old)
        for name in old.names:
            plain[name] = steps[name]
        path.write_bytes(plain.tobytes())
    layout = {k: v for k, v in json.loads((tmp_path / LAYOUT).read_text()).items() if k != "check"}
    layout["record"] = [part for part in layout["record"] if part[0] != "check"]
    (tmp_path / LAYOUT).write_text(json.dumps({**layout, "format": 1}))
    resumed, note = reopened(replay, tmp_path).resumed()
    whole = filled(tmp_path / "b", 20)
    assert note is None and same_bits(resumed.rows()[0], whole.rows()[0])
    assert same_bits(resumed.sequences(5, 4, key=jr.key(0)), whole.sequences(5, 4, key=jr.key(0)))
    assert int(resumed.add(Stream(1, seed=9).batch()).end[0]) > int(replay.end[0])


def test_a_link_in_place_of_a_file_is_neither_read_nor_written_through(tmp_path):
    folder, outside = tmp_path / "replay", tmp_path / "outside"
    replay = filled(folder, 20)
    newest = chunks(folder)[-1]
    shutil.move(newest, outside)
    newest.symlink_to(outside)
    before = outside.read_bytes()
    with pytest.raises(UserError, match="put the folder back as the run left it"):
        reopened(replay, folder).resumed()
    store = ChunkStore(folder, SPEC, 1, 64 * SIZE)
    with pytest.raises(UserError, match="is a link"):
        store.append(0, np.zeros(2, record(SPEC)))
    assert outside.read_bytes() == before
    (folder / LAYOUT).unlink()
    (folder / LAYOUT).symlink_to(outside)
    with pytest.raises(UserError, match=r"layout\.json is a link"):
        at(folder)


def test_damage_that_a_compiled_update_meets_is_a_clear_error_after_it(tmp_path):
    replay = filled(tmp_path, 20)
    for path in chunks(tmp_path):
        flip(path)
    reader = reopened(replay, tmp_path)
    found = jax.jit(lambda end: dataclasses.replace(reader, end=end).sequences(4, 4, key=jr.key(0)).reward)(reader.end)
    assert jnp.isnan(found).all()
    with pytest.raises(StorageFault, match="does not have the checksum"):
        reader.learned()
