"""TensorBoard event files and what is recorded of the machine."""

import struct

import numpy as np
import pytest
from faulty import file_size_limit
from tensorboardX.proto.event_pb2 import Event, SessionLog

from forethought.errors import StorageFault
from forethought.storage import provenance
from forethought.storage.sinks import TensorBoardSink


def events(folder):
    """The events in all files of `folder`: records of length, checksum, data, checksum."""
    found = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def points(folder):
    return {
        (value.tag, event.step): round(value.simple_value, 4)
        for event in events(folder)
        for value in event.summary.value
    }


def test_rows_become_scalars_by_kind_seed_and_step(tmp_path):
    with TensorBoardSink(tmp_path) as sink:
        sink.write(
            [
                {"kind": "episode", "seed": 0, "env_steps": 200, "episode": 1, "return": 9.5, "length": 200},
                {"kind": "update", "seed": 0, "env_steps": 200, "update": 1, "model/loss": np.float32(0.25), "rows": 3},
                {"kind": "eval", "seed": 1, "env_steps": 300, "returns": [1.0, 3.0], "mean_return": 2.0, "final": True},
                {"kind": "event", "seed": 1, "env_steps": 300, "message": "saved"},
                {"kind": "latency", "seed": 1, "env_steps": 300, "p50_ms": 4.0, "misses": 0},
            ]
        )  # fmt: skip
    assert points(tmp_path / "seed-0") == {
        ("episode/return", 200): 9.5,
        ("episode/length", 200): 200,
        ("model/loss", 200): 0.25,
        ("update/rows", 200): 3,
    }
    assert points(tmp_path / "seed-1") == {
        ("eval/mean_return", 300): 2.0,
        ("latency/p50_ms", 300): 4.0,
        ("latency/misses", 300): 0.0,
    }


def test_a_resumed_run_adds_a_file_and_hides_the_later_points(tmp_path):
    row = {"kind": "episode", "seed": 0, "env_steps": 200, "return": 1.0}
    for resumed_at in (None, 100):
        with TensorBoardSink(tmp_path, resumed_at) as sink:
            sink.write([row])
    assert len(list((tmp_path / "seed-0").iterdir())) == 2
    starts = [e.step for e in events(tmp_path / "seed-0") if e.session_log.status == SessionLog.START]
    assert starts == [101]


def test_a_full_disk_is_reported_and_does_not_hang(tmp_path):
    sink = TensorBoardSink(tmp_path)
    with file_size_limit(2000), pytest.raises(StorageFault, match="cannot write"):
        for step in range(10_000):
            sink.write([{"kind": "episode", "seed": 0, "env_steps": step, "return": 1.0}])
    assert sink._writers


def test_versions_name_every_package_that_decides_the_numbers():
    versions = provenance.versions()
    assert set(provenance.PACKAGES) | {"python", "os"} <= versions.keys()
    assert versions["numpy"] == np.__version__


def test_hardware_lists_the_devices_that_it_is_given():
    class Device:
        platform = "gpu"
        device_kind = "Some Accelerator"

    found = provenance.hardware([Device()])
    assert found["devices"] == ["gpu: Some Accelerator"]
    assert found["cores"] >= 1 and found["memory_gib"] > 0 and found["cpu"]
