"""Where the suite's time goes: `make test-costs` prints it by folder and by module, and the dearest tests.

CPU seconds, so that a figure does not depend on what else the machine does. Worker processes report them with each
test; tracing, lowering and compiling are what JAX says that it spent on them, and lie within the total.
"""

import collections
import json
import pathlib
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

_EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}
PARTS = ("cpu", *_EVENTS.values())
MOST = 30  # rows of a table


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class Costs:
    """Measures every test, setup and teardown included, and prints the sums."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.spent: dict[str, dict[str, float]] = {}
        self.now = collections.Counter()

    def listen(self) -> None:
        """Counts what JAX reports from now on."""
        import jax

        jax.monitoring.register_event_duration_secs_listener(self._heard)

    def _heard(self, event: str, duration: float, **_: object) -> None:
        if event in _EVENTS:
            self.now[_EVENTS[event]] += duration

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item):
        self.now.clear()
        self.begun = _cpu_seconds()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo):
        report = yield
        if call.when == "teardown":
            spent = {"cpu": _cpu_seconds() - self.begun, **self.now}
            report.user_properties = [*report.user_properties, ("costs", spent)]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, spent in report.user_properties:
            if name == "costs" and report.when == "teardown":
                self.spent[report.nodeid] = spent

    def pytest_terminal_summary(self, terminalreporter) -> None:
        modules = _sums(self.spent, lambda test: test.split("::")[0])
        dearest = dict(sorted(self.spent.items(), key=lambda pair: -pair[1]["cpu"])[:MOST])
        raw = {"modules": modules, "tests": {test: _rounded(spent) for test, spent in dearest.items()}}
        self.path.write_text(json.dumps(raw, indent=1) + "\n")
        for lines in (by_folder(raw), by_module(raw), table(raw["tests"], "test")):
            terminalreporter.write_line("\n" + "\n".join(lines))


def _rounded(spent: Mapping[str, float]) -> dict[str, float]:
    return {part: round(spent.get(part, 0.0), 2) for part in PARTS}


def _sums(spent: Mapping[str, Mapping[str, float]], key: Callable[[str], str]) -> dict[str, dict[str, float]]:
    """Costs added up by what `key` says of their names."""
    sums: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for name, parts in spent.items():
        sums[key(name)].update({"tests": 1, **parts})
    return {name: {**_rounded(parts), "tests": int(parts["tests"])} for name, parts in sorted(sums.items())}


def table(costs: Mapping[str, Mapping[str, float]], what: str) -> list[str]:
    """Lines of a Markdown table, the dearest first."""
    head = ["CPU seconds", "tracing", "lowering", "compiling", *(["tests"] if what != "test" else []), what]
    rows = []
    for name, parts in sorted(costs.items(), key=lambda pair: -pair[1]["cpu"])[:MOST]:
        count = [f"{parts['tests']:,}"] if "tests" in parts else []
        rows.append([*(f"{parts[part]:,.0f}" for part in PARTS), *count, name if what == "folder" else f"`{name}`"])
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def by_folder(raw: Mapping[str, Any]) -> list[str]:
    """The table by folder of `tests/`, and what all of it takes."""
    modules = raw["modules"]
    folders = _sums(modules, lambda path: path.split("/")[1] if path.count("/") > 1 else "files of `tests/` itself")
    return table(folders | _sums(modules, lambda path: "all"), "folder")


def by_module(raw: Mapping[str, Any]) -> list[str]:
    """The table by module."""
    return table(raw["modules"], "module")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--costs", metavar="FILE", help="measure the CPU time of every test, print sums, keep it in FILE")


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getoption("--costs"):
        costs = Costs(pathlib.Path(path))
        config.pluginmanager.register(costs, "costs of tests")
        costs.listen()


if __name__ == "__main__":
    print("\n".join(by_folder(json.loads(pathlib.Path(sys.argv[1]).read_text()))))
