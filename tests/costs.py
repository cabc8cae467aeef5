"""Where the suite's time goes: `make test-costs` prints it by folder and by module, and the dearest tests.

CPU seconds, so that a figure does not depend on what else the machine does. Worker processes report them with each
test; tracing, lowering and compiling are what JAX says that it spent on them, and lie within the total.
"""

import collections
import json
import pathlib
import resource
import time

import pytest

_EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}
_PARTS = ("cpu", *_EVENTS.values())


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
        write = terminalreporter.write_line
        self.path.write_text(json.dumps(self.spent, indent=0))
        for title, key, most in (
            ("folder", lambda test: "/".join(test.split("::")[0].split("/")[:2]), 30),
            ("module", lambda test: test.split("::")[0], 30),
            ("test", lambda test: test, 30),
        ):
            sums: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
            for test, spent in self.spent.items():
                sums[key(test)].update(spent | {"tests": 1})
            write(f"\n{'CPU s':>8} {'trace':>7} {'lower':>7} {'compile':>7} {'tests':>6}  {title}")
            for name, spent in sorted(sums.items(), key=lambda pair: -pair[1]["cpu"])[:most]:
                numbers = " ".join(f"{spent[part]:7.1f}" for part in _PARTS)
                write(f" {numbers} {spent['tests']:6.0f}  {name}")
        total = collections.Counter()
        for spent in self.spent.values():
            total.update(spent)
        write(f"\n {' '.join(f'{total[part]:7.1f}' for part in _PARTS)} {len(self.spent):6}  in all")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--costs", metavar="FILE", help="measure the CPU time of every test, print sums, keep it in FILE")


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getoption("--costs"):
        costs = Costs(pathlib.Path(path))
        config.pluginmanager.register(costs, "costs of tests")
        costs.listen()
