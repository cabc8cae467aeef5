"""Where metrics go besides the run folder's own file."""

import importlib
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .files import faults, own

NOT_METRICS = ("kind", "seed", "env_steps", "wall_s", "update", "episode")
FLUSH_EVERY = 10.0  # seconds


class TensorBoardSink:
    """Scalars for TensorBoard, one sub-folder per seed; the step axis is environment steps.

    Writes on the caller's thread: tensorboardX's own SummaryWriter writes on another, which dies on a full
    disk and leaves the caller waiting for it.
    """

    def __init__(self, folder: Path | str, resumed_at: int | None = None) -> None:
        """`resumed_at`: environment steps that a resumed run starts from; later points are then hidden."""
        self._folder = Path(folder)
        self._resumed_at = resumed_at
        self._writers: dict[int, Any] = {}
        self._flushed = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Write the numbers in rows of metrics: `episode/return`, `eval/mean_return`, `latency/p50_ms`, ...

        Update metrics keep their own names, `model/loss`; those without a slash become `update/NAME`. Raises
        StorageFault.
        """
        summary = _proto("summary_pb2")
        with faults(self._folder):
            for row in rows:
                values = [summary.Summary.Value(tag=tag, simple_value=x) for tag, x in scalars(row).items()]
                if values:
                    event = _event(row["env_steps"], summary=summary.Summary(value=values))
                    self._writer(int(row.get("seed", 0))).write_event(event)
            if time.monotonic() - self._flushed > FLUSH_EVERY:
                self._flush()

    def close(self) -> None:
        """Flush and close the files. Raises StorageFault."""
        writers, self._writers = self._writers, {}
        with faults(self._folder):
            for writer in writers.values():
                writer.close()

    def _flush(self) -> None:
        for writer in self._writers.values():
            writer.flush()
        self._flushed = time.monotonic()

    def _writer(self, seed: int) -> Any:
        if seed not in self._writers:
            from tensorboardX.event_file_writer import EventsWriter

            folder = own(self._folder, f"seed-{seed}")
            folder.mkdir(parents=True, exist_ok=True)
            # the suffix keeps a run that is resumed within the same second from overwriting its first file
            writer = EventsWriter(str(folder / "events"), f".{time.time_ns()}")
            if self._resumed_at is not None:
                # TensorBoard hides earlier points from the step of a START on; those at the resumed step stay
                log = _proto("event_pb2").SessionLog
                writer.write_event(_event(self._resumed_at + 1, session_log=log(status=log.START)))
            self._writers[seed] = writer
        return self._writers[seed]


def _proto(name: str) -> Any:
    # generated modules, whose classes no type checker sees; and tensorboardX is slow to import
    return importlib.import_module(f"tensorboardX.proto.{name}")


def _event(step: int, *, summary: Any = None, session_log: Any = None) -> Any:
    return _proto("event_pb2").Event(wall_time=time.time(), step=int(step), summary=summary, session_log=session_log)


def scalars(row: dict[str, Any]) -> dict[str, float]:
    """The numbers of a row of metrics by the tag that TensorBoard shows them under."""
    kind = str(row.get("kind", "row"))
    named = {}
    for name, value in row.items():
        if name not in NOT_METRICS and not isinstance(value, str | bool | list | tuple | dict | None):
            named[name if "/" in name else f"{kind}/{name}"] = float(value)
    return named
