"""Checkpoint files: exact, verified, and whole whatever happens while they are written."""

import errno
import io
import json
import random
import signal
import time
import tracemalloc
import zipfile

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from faulty import failing_sync, file_size_limit, leftovers, start

from forethought.errors import StorageFault, UserError
from forethought.storage import archive, checkpoint


class Part(eqx.Module):
    weight: jax.Array
    key: jax.Array
    nothing: None
    function: object
    name: str = eqx.field(static=True)


def nested_tree():
    part = Part(jnp.arange(6.0).reshape(2, 3), jax.random.key(3), None, jnp.tanh, "a")
    with jax.enable_x64(True):
        double = jnp.array([1.0, np.nan, 1e300])
    return {
        "part": part,
        "model/loss": jnp.float32(0.1),
        "half": jnp.array([1.5, -2.0], jnp.bfloat16),
        "byte": jnp.array([1, 2], jnp.float8_e4m3fn),
        "double": double,
        "keys": jax.random.split(jax.random.key(1, impl="rbg"), 3),
        "host": (np.arange(4, dtype=">i4"), np.float64(2.5), np.zeros((0, 3))),
        "column_major": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "flag": jnp.array(True),
        "python": 7,
    }


def assert_same_bits(got, wanted):
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted)):
        if not eqx.is_array(b):
            assert a is b
            continue
        assert isinstance(a, type(b))
        assert a.dtype == b.dtype and a.shape == b.shape
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture
def saved(tmp_path):
    """A small checkpoint, its tree and its bytes."""
    path = tmp_path / "step.npz"
    tree = {"w": jnp.arange(12.0).reshape(3, 4), "n": jnp.int32(5), "key": jax.random.key(0)}
    checkpoint.save(path, tree, {"env_steps": 5, "best": -float("inf")})
    return path, tree, path.read_bytes()


def test_a_nested_tree_comes_back_bit_for_bit(tmp_path):
    tree = nested_tree()
    checkpoint.save(tmp_path / "a.npz", tree, {"env_steps": 3})
    loaded, meta = checkpoint.load(tmp_path / "a.npz", tree)
    assert_same_bits(loaded, tree)
    assert loaded["part"].name == "a" and loaded["part"].function is jnp.tanh
    assert meta == {"env_steps": 3}
    assert checkpoint.read_meta(tmp_path / "a.npz") == {"env_steps": 3}


def test_shapes_alone_are_enough_to_load_into(saved):
    path, tree, _ = saved
    like = jax.eval_shape(lambda: tree)
    assert_same_bits(checkpoint.load(path, like)[0], tree)


def test_numpy_alone_reads_the_arrays(saved):
    path, tree, _ = saved
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["['w']"], tree["w"])
    with zipfile.ZipFile(path) as file:
        assert json.loads(file.read("manifest.json"))["arrays"]["['w']"]["shape"] == [3, 4]


def test_the_same_tree_gives_the_same_bytes(saved, tmp_path):
    _, tree, data = saved
    time.sleep(0.01)
    checkpoint.save(tmp_path / "again.npz", tree, {"env_steps": 5, "best": -float("inf")})
    assert (tmp_path / "again.npz").read_bytes() == data


def test_loaded_arrays_may_be_donated_and_changed(saved):
    path, tree, data = saved
    loaded, _ = checkpoint.load(path, {**tree, "w": np.zeros((3, 4), np.float32)})
    loaded["w"][0, 0] = 9.0
    jax.jit(lambda n: n + 1, donate_argnums=0)(checkpoint.load(path, tree)[0]["n"])
    assert path.read_bytes() == data
    assert_same_bits(checkpoint.load(path, tree)[0], tree)


def test_objects_are_refused_because_they_would_need_pickle(tmp_path):
    with pytest.raises(ValueError, match=r"\['x'\] is an array of Python objects"):
        checkpoint.save(tmp_path / "a.npz", {"x": np.array([{}])}, {})
    assert not list(tmp_path.iterdir())


def test_every_flipped_bit_is_detected_or_harmless(saved):
    path, tree, data = saved
    draw = random.Random(0)
    detected = 0
    for _ in range(1500):
        damaged = bytearray(data)
        damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            loaded, meta = checkpoint.load(path, tree)
        except checkpoint.DamagedCheckpoint:
            detected += 1
        else:
            assert_same_bits(loaded, tree)
            assert meta["env_steps"] == 5
    assert detected > 1000


def test_every_changed_byte_of_an_array_is_detected(saved):
    path, tree, data = saved
    start_of_data = data.index(np.asarray(tree["w"]).tobytes())
    for offset in range(start_of_data, start_of_data + 48):
        damaged = bytearray(data)
        damaged[offset] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises(checkpoint.DamagedCheckpoint, match=r"\['w'\]"):
            checkpoint.load(path, tree)


def test_every_truncation_is_detected(saved):
    path, tree, data = saved
    for length in [*range(0, len(data), 17), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(checkpoint.DamagedCheckpoint):
            checkpoint.load(path, tree)


def test_a_zip_that_is_valid_but_altered_is_detected_by_its_sha256(saved):
    path, tree, _ = saved
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    members["['n'].npy"] = members["['n'].npy"][:-4] + np.int32(6).tobytes()
    with zipfile.ZipFile(path, "w") as file:  # with matching CRCs
        for name, data in members.items():
            file.writestr(name, data)
    with pytest.raises(checkpoint.DamagedCheckpoint, match=r"\['n'\] does not have the checksum"):
        checkpoint.load(path, tree)


def test_a_member_that_is_missing_is_detected(saved):
    path, tree, _ = saved
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    del members["['n'].npy"]
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    with pytest.raises(checkpoint.DamagedCheckpoint, match="members"):
        checkpoint.load(path, tree)


def rewrite_manifest(path, change):
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    manifest = json.loads(members["manifest.json"])
    change(manifest)
    members["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)


def test_a_newer_format_says_how_to_upgrade(saved):
    path, tree, _ = saved
    rewrite_manifest(path, lambda manifest: manifest.update(format=3))
    with pytest.raises(checkpoint.NewerFormat, match=r"format 3, this one reads up to 1.*pip install -U"):
        checkpoint.load(path, tree)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(format=None),
        lambda m: m.update(arrays=[]),
        lambda m: m.update(meta=3),
        lambda m: m["arrays"]["['n']"].update(shape=None),
        lambda m: m["arrays"]["['n']"].update(extra=1),
        lambda m: m["arrays"]["['key']"].update(impl="none such"),
        lambda m: m.clear(),
    ],
)
def test_a_manifest_that_makes_no_sense_is_damage(saved, change):
    path, tree, _ = saved
    rewrite_manifest(path, change)
    with pytest.raises(checkpoint.DamagedCheckpoint):
        checkpoint.load(path, tree)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"w": jnp.zeros((3, 5))}, r"\['w'\] is float32\[3, 4\] in the file, wanted float32\[3, 5\]"),
        ({"n": jnp.float32(0)}, r"\['n'\] is int32\[\] in the file, wanted float32\[\]"),
        ({"more": jnp.zeros(2)}, r"\['more'\] is nothing in the file, wanted float32\[2\]"),
        ({"w": None}, r"\['w'\] is float32\[3, 4\] in the file, wanted nothing"),
        ({"key": jax.random.key(0, impl="rbg")}, r"\['key'\] is key<fry>\[\] in the file, wanted key<rbg>"),
    ],
)
def test_a_tree_of_another_shape_names_the_first_leaf_that_differs(saved, change, message):
    path, tree, _ = saved
    with pytest.raises(UserError, match=message) as caught:
        checkpoint.load(path, {**tree, **change})
    assert not isinstance(caught.value, checkpoint.DamagedCheckpoint)
    assert "\n" not in str(caught.value)


def test_no_checkpoint_there_is_said_plainly(tmp_path):
    with pytest.raises(UserError, match="there is no checkpoint at"):
        checkpoint.load(tmp_path / "none.npz", {})


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_disk_that_fails_leaves_the_previous_checkpoint(saved, monkeypatch, number):
    path, _, data = saved
    failing_sync(monkeypatch, number)
    with pytest.raises(StorageFault, match=f"cannot write {path}: ") as caught:
        checkpoint.save(path, {"w": jnp.ones(100)}, {})
    assert "\n" not in str(caught.value) and caught.value.exit_code == 4
    assert path.read_bytes() == data
    assert not leftovers(path.parent)


def test_a_disk_that_fills_up_half_way_leaves_the_previous_checkpoint(saved):
    path, _, data = saved
    with file_size_limit(4096), pytest.raises(StorageFault):
        checkpoint.save(path, {"w": np.ones(10_000)}, {})
    assert path.read_bytes() == data
    assert not leftovers(path.parent)


def test_an_interruption_leaves_no_temporary_file(saved, monkeypatch):
    path, tree, data = saved

    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr("forethought.storage.files.os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, tree, {})
    assert path.read_bytes() == data
    assert not leftovers(path.parent)


# NumPy only: a child that imports JAX would take seconds to start
SAVE_FOR_EVER = """
import sys, pathlib, numpy as np
from forethought.storage.archive import Stored, write
for i in range(10**9):
    write(pathlib.Path(sys.argv[1]), {"w": Stored(np.full(200_000, i, "int32"), "int32")}, {"i": i})
    if i == 0:
        print("saved", flush=True)
"""

DIE_AT = """
import os, sys, pathlib, signal, numpy as np
from forethought.storage import files
from forethought.storage.archive import Stored, write
def save(i):
    write(pathlib.Path(sys.argv[1]), {"w": Stored(np.full(1000, i, "int32"), "int32")}, {"i": i})
save(0)
setattr(os, sys.argv[2], lambda *arguments: os.kill(os.getpid(), signal.SIGKILL))
save(1)
"""


def assert_whole(path) -> int:
    with archive.Archive(path) as file:
        i = file.meta["i"]
        assert (file.array("w") == i).all()
        return i


def test_kill_9_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    path, draw = tmp_path / "w.npz", random.Random(0)
    for _ in range(6):
        child = start(SAVE_FOR_EVER, str(path))
        assert child.stdout.readline() == "saved\n"
        time.sleep(draw.uniform(0, 0.1))
        child.kill()
        assert child.wait() == -signal.SIGKILL
        child.stdout.close()
        assert_whole(path)


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_kill_9_before_the_new_file_is_in_place_keeps_the_old_one(tmp_path, moment):
    child = start(DIE_AT, str(tmp_path / "w.npz"), moment)
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    assert assert_whole(tmp_path / "w.npz") == 0
    assert len(leftovers(tmp_path)) == 1  # which the run folder clears away when it next saves


MEGABYTES = 64


def peak(call) -> float:
    """Megabytes that Python and NumPy hold at most during a call that is refused in one line."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            call()
        assert "\n" not in str(caught.value)
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def npy(shape, zeros: int) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(zeros)


@pytest.mark.parametrize("name", ["['w'].npy", "manifest.json"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_small_file_that_inflates_to_a_large_one_is_refused_before_it_takes_memory(saved, name, compression):
    path, tree, _ = saved
    with zipfile.ZipFile(path) as file:
        members = {member: file.read(member) for member in file.namelist()}
    zeros = MEGABYTES * 2**20
    members[name] = npy((zeros // 4,), zeros) if name.endswith("npy") else members[name] + b" " * zeros
    with zipfile.ZipFile(path, "w") as file:
        for member, data in members.items():
            file.writestr(member, data, compression if member == name else zipfile.ZIP_STORED)
    del members
    assert path.stat().st_size < 2**20
    assert peak(lambda: checkpoint.load(path, tree)) < 4
    assert peak(lambda: checkpoint.load(path, {"w": jax.ShapeDtypeStruct((zeros // 4,), np.float32)})) < 4


def test_an_array_of_more_bytes_than_its_shape_is_refused_before_it_takes_memory(saved):
    path, tree, _ = saved
    with zipfile.ZipFile(path) as file:
        members = {member: file.read(member) for member in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for member, data in members.items():
            file.writestr(member, data + bytes(MEGABYTES * 2**20) if "w" in member else data)
    del members, data
    assert peak(lambda: checkpoint.load(path, tree)) < 4


def test_a_manifest_says_null_for_what_is_not_finite(tmp_path):
    checkpoint.save(tmp_path / "a.npz", {}, {"best": -float("inf"), "losses": [float("nan"), 1.0]})
    with zipfile.ZipFile(tmp_path / "a.npz") as file:
        assert b"NaN" not in file.read("manifest.json") and b"Infinity" not in file.read("manifest.json")
    assert checkpoint.read_meta(tmp_path / "a.npz") == {"best": None, "losses": [None, 1.0]}
