"""Brings the tables and the figure of docs/speed.md up to date with the raw files.

    python -m benchmarks.tables

Tables stand between `<!-- table: NAME -->` and `<!-- end -->`; what is between is written anew from
benchmarks/results/*.json. A test holds the page against the raw files.
"""

import argparse
import pathlib
import re
import statistics
from typing import Any

from . import arms
from .record import RESULTS, ROOT, read, summary

PAGE = ROOT / "docs" / "speed.md"
FIGURE = ROOT / "docs" / "images" / "speed-return-by-latency.png"
PEERS = ("stable-baselines3", "mbrl-lib", "sheeprl")
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def spread(values: dict[str, float], digits: int, scale: float = 1.0) -> str:
    """`median (min to max)`."""
    middle, low, high = (f"{values[k] * scale:,.{digits}f}" for k in ("median", "min", "max"))
    return f"{middle} ({low} to {high})"


def where(raw: dict[str, Any], machine: dict[str, Any]) -> str:
    """One sentence: which machine, when, and how busy it was with other work."""
    hardware, threads = raw["hardware"], raw["settings"]["threads"]
    text = f"{hardware['cpu']}, {hardware['cores']} cores, {threads} threads, {raw['date'][:10]}"
    others = machine["used_by_others"]
    if others is None:
        return f"{text}; how busy the machine was is not known.\n"
    text += f"; other processes used {100 * others:.0f} % of the machine"
    return text + (", so **these figures are a first look**.\n" if machine["busy"] else ".\n")


def matmul_peak(raw: dict[str, Any]) -> str:
    """GFLOP/s of every library and size."""
    rows = []
    for name, arm in raw["arms"].items():
        library, size = name.removeprefix("peak ").rsplit(" ", 1)
        rows.append([library, size, spread(arm["gflops"], 0)])
    best, speed = arms.best_peak(raw["arms"])
    text = f"\nThe peak is that of {best.removeprefix('peak ')}: {speed['median']:.0f} GFLOP/s.\n"
    return where(raw, raw["machine"]) + "\n" + table(["library", "size", "GFLOP/s, median (min to max)"], rows) + text


def speeds(raw: dict[str, Any]) -> str:
    """Milliseconds, GFLOP/s, share of the peak and time to compile of every arm."""
    found = raw["arms"]
    peak = arms.best_peak(found)[1]
    rows = []
    for name, arm in found.items():
        if name.startswith("peak "):
            continue
        share = 100 * arm["gflops"]["median"] / peak["median"]
        ratio = against_peer(arm, found)
        compiling = f"{arm['compile_s']:.1f} ({arm['cached_compile_s']:.1f})" if "compile_s" in arm else ""
        rows.append(
            [name, spread(arm["wall_s"], 0, 1e3), f"{arm['gflops']['median']:.0f}", f"{share:.0f} %", ratio, compiling]
        )
    head = ["arm", "ms, median (min to max)", "GFLOP/s", "of the peak", "speed-up", "compile, s (from disk)"]
    return where(raw, raw["machine"]) + "\n" + table(head, rows) + peak_line(raw)


def peak_line(raw: dict[str, Any]) -> str:
    """The peak that shares are of."""
    best, peak = arms.best_peak(raw["arms"])
    rounds = raw["settings"]["rounds"]
    return f"\nPeak in the same {rounds} rounds: {spread(peak, 0)} GFLOP/s ({best.removeprefix('peak ')}).\n"


def against_peer(arm: dict[str, Any], found: dict[str, Any]) -> str:
    """How many times faster an arm is than the peer as shipped at the same work; empty where that was not measured."""
    same = [a for name, a in found.items() if name.startswith(PEERS) and a["flop"] == arm["flop"]]
    peers = [a for a in same if not a["env"] and not a["options"]]
    return f"{peers[0]['wall_s']['median'] / arm['wall_s']['median']:.2f}" if peers else ""


def dreaming(raw: dict[str, Any]) -> str:
    """As `speeds`, with the number of weights and what a gradient step comes to."""
    found = raw["arms"]
    peak = arms.best_peak(found)[1]
    rows = []
    for name, arm in found.items():
        if name.startswith("peak "):
            continue
        sizes = [f"{arm['parameters']:,}", f"{arm['flop'] / 1e9:.1f}", spread(arm["wall_s"], 0, 1e3)]
        share = 100 * arm["gflops"]["median"] / peak["median"]
        started = arm.get("compile_s", arm["first_s"])
        rows.append([name, *sizes, f"{share:.0f} %", against_peer(arm, found), f"{started:.1f}"])
    head = ["arm", "weights", "GFLOP", "ms, median (min to max)", "of the peak", "speed-up", "to start, s"]
    return where(raw, raw["machine"]) + "\n" + table(head, rows) + peak_line(raw)


def frames(raw: dict[str, Any]) -> str:
    """Environment steps per second, and the gradient steps among them."""
    rows = []
    for name, arm in raw["arms"].items():
        steps = arm["timings"][0]["env_steps"]
        updates = arm["frames_per_s"]["median"] * raw["settings"]["updates_per_step"]
        rows.append([name, f"{steps:,}", str(arm["wall_s"]["n"]), spread(arm["frames_per_s"], 1), f"{updates:.1f}"])
    head = ["arm", "steps counted", "runs", "environment steps per second, median (min to max)", "updates per second"]
    return where(raw, raw["machine"]) + "\n" + table(head, rows)


PLANNED = 600  # of the first 800 steps on the cart-pole; the others are random


def time_per_action(raw: dict[str, Any]) -> str:
    """Seconds per action, and the work in them."""
    rows = []
    for name, arm in raw["arms"].items():
        speed = f"{arm['gflops']['median']:.0f}"
        ratio = against_peer(arm, raw["arms"])
        minutes = f"{PLANNED * arm['wall_s']['median'] / 60:.1f}"
        rows.append([name, f"{arm['flop'] / 1e9:,.1f}", spread(arm["wall_s"], 3), speed, ratio, minutes])
    head = ["arm", "GFLOP per action", "seconds, median (min to max)", "GFLOP/s", "speed-up"]
    head.append(f"minutes for {PLANNED} actions")
    return where(raw, raw["machine"]) + "\n" + table(head, rows)


def time_to_oracle(raw: dict[str, Any]) -> str:
    """Per arm: how many seeds reached the mark, and what it took them."""
    by_arm: dict[str, list[dict]] = {}
    for run in raw["runs"].values():
        by_arm.setdefault(run["arm"], []).append(run)
    longest = lambda runs: max(t["env_steps"] for run in runs for t in run["trials"])
    every = list(raw["runs"].values())
    common = min(longest([run]) for run in [run for run in every if run["reached"]] or every)
    rows = []
    for arm, runs in by_arm.items():
        done = [run["reached"] for run in runs if run["reached"]]
        at_common = [t["wall_s"] for run in runs for t in run["trials"] if t["env_steps"] == common]
        cells = [arm, f"{len(done)} of {len(runs)}"]
        if done:
            pick = lambda name, done=done: [r[name] for r in done]
            cells += [f"{statistics.median(pick('env_steps')):,.0f}", _span(pick("wall_s")), _span(pick("cpu_s"))]
        else:
            cells += [f"more than {longest(runs):,}", _beyond(runs, "wall_s"), _beyond(runs, "cpu_s")]
        best = max(t["return"] for run in runs for t in run["trials"])
        cells += [f"{best:.1f}", _span(at_common) if at_common else _beyond(runs, "wall_s")]
        rows.append(cells)
    head = ["arm", "seeds that reached it", "environment steps", "seconds", "CPU seconds", "best return"]
    head.append(f"seconds for {common:,} steps")
    settings = raw["settings"]
    mark = f"Mark: {settings['mark']:.1f}, 95 % of {settings['oracle']:.1f}. Medians (lowest to highest seed).\n"
    watched = [run["machine"] for run in raw["runs"].values() if "machine" in run]
    if not watched:
        return mark + "\n" + table(head, rows)
    busiest = max(watched, key=lambda m: m["used_by_others"] or 0.0)
    newest = max(run["date"] for run in raw["runs"].values())
    threads = max(run["threads"] for run in raw["runs"].values())
    named = {**raw, "date": newest, "settings": {"threads": threads}}
    return where(named, busiest) + mark + "\n" + table(head, rows)


def _beyond(runs: list[dict], name: str) -> str:
    """What was spent without getting there, at least: until a run was stopped, or else its last trial."""
    return f"more than {max(run.get(name, run['trials'][-1][name]) for run in runs):,.0f}"


def _span(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def latency(raw: dict[str, Any]) -> str:
    """Actions per second, p50 and p99 of both sizes, with and without a deadline."""
    rows = []
    for name, part in raw["parts"].items():
        kind, _, what = name.partition(", ")
        if kind == "returns":
            continue
        deadline = "none" if part["plan_ms"] is None else f"{part['plan_ms']:g} ms"
        late = str(part["late"]) if "late" in part else ""
        times = [f"{part['p50_ms']:,.1f}", f"{part['p99_ms']:,.1f}"]
        rows.append([what, deadline, f"{part['actions']:,}", f"{part['actions_per_s']:.2f}", *times, late])
    head = ["sizes", "deadline", "actions timed", "actions per second", "p50, ms", "p99, ms", "late"]
    return _where_parts(raw, ("actions", "deadline")) + "\n" + table(head, rows)


def returns(raw: dict[str, Any]) -> str:
    """What a deadline buys."""
    rows = []
    parts = [part for name, part in raw["parts"].items() if name.startswith("returns")]
    for part in sorted(parts, key=lambda part: part["plan_ms"]):
        found = part["latency"]
        taken = [f"{found['p50_ms']:.1f}", f"{found['p99_ms']:.1f}"]
        rows.append([f"{part['plan_ms']:g}", *taken, str(part["return"]["n"]), spread(part["return"], 1)])
    head = ["deadline, ms", "p50, ms", "p99, ms", "episodes", "return, median (min to max)"]
    return _where_parts(raw, ("returns",)) + "\n" + table(head, rows)


def _where_parts(raw: dict[str, Any], kinds: tuple[str, ...]) -> str:
    parts = [part for name, part in raw["parts"].items() if name.startswith(kinds)]
    busiest = max((part["machine"] for part in parts), key=lambda m: m["used_by_others"] or 0.0)
    return where({**raw, "date": max(part["date"] for part in parts)}, busiest)


def search(raw: dict[str, Any]) -> str:
    """Simulations per second of tree search."""
    names = {"network": "the preset's residual network", "none": "nothing"}
    rows = [[names[a["guide"]], f"{a['batch']:,}", spread(a["simulations_per_s"], 0)] for a in raw["arms"]]
    head = ["guided by", "games at once", "simulations per second, median (min to max)"]
    return where(raw, raw["machine"]) + "\n" + table(head, rows)


def dyna(raw: dict[str, Any]) -> str:
    """Real and imagined steps per second of Dyna-Q."""
    peer = raw["arms"][0]["steps_per_s"]["median"]
    rows = []
    for arm in raw["arms"]:
        rate = arm["steps_per_s"]
        name = {"numpy": "NumPy", "forethought": "ours"}[arm["arm"]]
        rows.append([name, str(arm["runs"]), spread(rate, 1, 1e-6), f"{rate['median'] / peer:.1f}"])
    head = ["arm", "runs side by side", "million steps per second, median (min to max)", "speed-up"]
    return where(raw, raw["machine"]) + "\n" + table(head, rows)


def many_runs(raw: dict[str, Any]) -> str:
    """What each run of many in one process takes."""
    rows = [
        [f"{i}", f"{r['wall_s']:.1f}", f"{r['programs']}", f"{r['resident_mb']:,.0f}", f"{r['maps']:,}"]
        for i, r in enumerate(raw["runs"], 1)
    ]
    head = ["run", "seconds", "programs compiled", "resident memory, MB", "memory maps"]
    return where(raw, raw["machine"]) + "\n" + table(head, rows)


def optimal_control(raw: dict[str, Any]) -> str:
    """Solving once and many at once: time, iterations and the cost of what was found."""
    found, rows = raw["solve"], []
    for name, arm in found.items():
        kind, count = name.rsplit(", ", 1)
        peer = found[f"crocoddyl DDP, {count}"]["wall_s"]["median"] if f"crocoddyl DDP, {count}" in found else None
        ratio = "" if peer is None else f"{peer / arm['wall_s']['median']:.1f}"
        worked = f"{statistics.mean(arm['iterations']):.0f}"
        cost = f"{statistics.mean(arm['costs']):.4f}"
        rows.append([kind, count, spread(arm["wall_s"], 1, 1e3), ratio, worked, cost])
    head = ["solver", "problems", "ms for all, median (min to max)", "speed-up", "iterations, mean", "cost, mean"]
    return where(raw, raw["machine"]) + "\n" + table(head, rows)


def replanning(raw: dict[str, Any]) -> str:
    """Plans per second in a closed loop."""
    rows = []
    for name, part in raw["replan"].items():
        kind, iterations = name.rsplit(", ", 1)
        times = [f"{part['p50_ms']:.3f}", f"{part['p99_ms']:.3f}", f"{1e3 / part['p50_ms']:,.0f}"]
        rows.append([kind, iterations, f"{part['ms']['n']:,}", *times])
    head = ["solver", "iterations", "plans timed", "p50, ms", "p99, ms", "plans per second, median"]
    return where(raw, raw["machine"]) + "\n" + table(head, rows)


def versions(raw: dict[str, Any]) -> str:
    """Milliseconds before and now, and how they compare round by round."""
    rows = []
    for name, now in raw["arms"].items():
        if not name.endswith(", now"):
            continue
        before = raw["arms"][name.removesuffix("now") + "before"]
        pairs = zip(now["timings"], before["timings"])
        ratios = summary([100 * (a["wall_s"] / b["wall_s"] - 1) for a, b in pairs])
        times = [spread(arm["wall_s"], 1, 1e3) for arm in (before, now)]
        middle, low, high = (f"{ratios[k]:+.0f} %" for k in ("median", "q25", "q75"))
        rows.append([name.removesuffix(", now"), *times, f"{middle} ({low} to {high})"])
    head = ["work", "before, ms, median (min to max)", "now, ms", "change, median of pairs (middle half)"]
    return where(raw, raw["machine"]) + "\n" + table(head, rows)


def core(raw: dict[str, Any]) -> str:
    """What appending costs, and eight seeds beside one."""
    arms_, rows = raw["arms"], []
    for name, arm in arms_.items():
        if arm["task"].get("how") == "driver":
            copied = arms_[name.removesuffix("driver") + "update"]
            times = [spread(each["wall_s"], 2, 1e3 / arm["task"]["times"]) for each in (arm, copied)]
            rows.append([f"{arm['task']['capacity']:,}", *times])
    one, eight = (arms_[f"mbpo, {label}"]["wall_s"] for label in ("1 seed", "8 seeds"))
    seeds = (
        f"{raw['settings']['steps']:,} steps of MBPO: {spread(one, 0)} s with one seed, {spread(eight, 0)} s with eight"
    )
    head = ["rows that fit", "by the driver, ms, median (min to max)", "inside of an update, ms"]
    times = f"{eight['median'] / one['median']:.1f} times"
    return where(raw, raw["machine"]) + "\n" + table(head, rows) + f"\n{seeds}, {times} as long.\n"


RENDER = {
    "sac-updates": ("sac_updates", dreaming),
    "branched-rollouts": ("branched_rollouts", speeds),
    "versions": ("versions", versions),
    "core": ("core", core),
    "matmul-peak": ("matmul_peak", matmul_peak),
    "planning": ("planning", speeds),
    "fitting": ("fitting", speeds),
    "time-to-oracle": ("time_to_oracle", time_to_oracle),
    "time-per-action": ("time_per_action", time_per_action),
    "dreaming": ("dreaming", dreaming),
    "frames": ("frames", frames),
    "latency": ("latency", latency),
    "returns": ("latency", returns),
    "search": ("search", search),
    "dyna": ("dyna", dyna),
    "many-runs": ("many_runs", many_runs),
    "optimal-control": ("optimal_control", optimal_control),
    "replanning": ("optimal_control", replanning),
}


def rendered(page: str, results: pathlib.Path = RESULTS) -> str:
    """`page` with every table written anew; where there is no raw file it says so. Raises KeyError for other tables."""

    def fresh(match: re.Match) -> str:
        file, render = RENDER[match[2]]
        raw = read(results / f"{file}.json")
        text = f"Not measured yet: `python -m benchmarks.{file}` does it.\n" if raw is None else render(raw)
        return match[1] + "\n" + text + "\n" + match[3]

    return BLOCK.sub(fresh, page)


def draw(raw: dict[str, Any], path: pathlib.Path) -> None:
    """Return against milliseconds per action: every episode, and the medians."""
    from forethought.cards import oracle_return
    from forethought.diagnostics.figures import MUTED, PALETTE, save_figure

    parts = [part for name, part in raw["parts"].items() if name.startswith("returns")]
    parts.sort(key=lambda part: part["latency"]["p50_ms"])

    def fill(figure: Any) -> None:
        axes = figure.add_subplot()
        times = [part["latency"]["p50_ms"] for part in parts]
        for ms, part in zip(times, parts):
            axes.plot([ms] * len(part["returns"]), part["returns"], "o", ms=4, color=PALETTE[0], alpha=0.35, mew=0)
        axes.plot(times, [part["return"]["median"] for part in parts], "-", color=PALETTE[0], lw=2)
        oracle = oracle_return("pets-cartpole")
        axes.axhline(oracle, color=MUTED, lw=1, ls=(0, (4, 3)))
        axes.annotate("planner on the true dynamics", (times[0], oracle), xytext=(0, 4), textcoords="offset points")
        axes.set_xscale("log", base=2)
        axes.set_xticks(times, [f"{ms:.0f}" for ms in times])
        axes.minorticks_off()
        axes.set(xlabel="milliseconds per action (median)", ylabel="return of an episode")
        axes.set_title("What a deadline buys: one trained PETS on its cart-pole")

    save_figure(path, fill)


def main(argv: list[str] | None = None) -> None:
    """Writes the page and the figure."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tables", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", type=pathlib.Path, default=PAGE, help="the page (%(default)s)")
    given = parser.parse_args(argv)
    given.page.write_text(rendered(given.page.read_text()))
    raw = read(RESULTS / "latency.json")
    if raw is not None and any(name.startswith("returns") for name in raw["parts"]):
        draw(raw, FIGURE)
    print(f"wrote {given.page}")


if __name__ == "__main__":
    main()
