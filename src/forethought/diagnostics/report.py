"""The report of a run: one HTML file that can be mailed, and opened without a network."""

import datetime
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import StorageFault
from ..storage.files import replacing
from ..text import percent
from .baseline import Baseline
from .curves import Row, is_number, seed_series
from .doctor_page import found, imagined_beside_real
from .finding import Finding
from .page import card, commands, folded, page, picture, section, sentence, table, text, video
from .statistics import bootstrap_interval, interquartile_mean

_KNOWN = ("oracle_return", "random_return", "wall_s")
_SHORT_CONFIG = 16  # settings up to which the table starts unfolded


def write_report(
    path: str | PathLike[str],
    *,
    record: Mapping[str, Any],
    rows: Sequence[Row],
    figures: Mapping[str, str | PathLike[str]],
    video: str | PathLike[str] | None = None,
    imagined: tuple[Path | None, Path | None] = (None, None),
    summary: Mapping[str, Any] | None = None,
    verdict: str | None = None,
    findings: Sequence[Finding] | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write the page to `path` (in the run's folder, which its commands name) and return the path.

    `record` is the run's `run.json` and `rows` its metrics; what either lacks is left out or said to be
    missing. `imagined` are a still picture and a video of what the model imagined beside what was real.
    `figures` maps a title to a .png or .svg; those whose title starts with "Model" stand beside `verdict` and
    the doctor's `findings` (None: it has not looked). `summary` may hold `oracle_return`,
    `random_return` and `wall_s`; everything else in it becomes a card of its own. Every text is
    escaped, and the page forbids scripts. Raises StorageFault if the file cannot be written.
    """
    target = Path(path)
    known = dict(summary or {})
    rows = [row for row in rows if is_number(row.get("seed")) and is_number(row.get("env_steps"))]
    images = {title: Path(file) for title, file in figures.items()}
    name = f"{record.get('agent', 'agent')} on {record.get('env', 'environment')}"
    body = [
        _header(record),
        _cards(record, rows, known),
        _learning(rows, record, {t: f for t, f in images.items() if not t.startswith("Model")}),
        _model({t: f for t, f in images.items() if t.startswith("Model")}, verdict, findings),
        imagined_beside_real(*imagined),
        _film(None if video is None else Path(video)),
        _seeds(rows),
        _told(record),
        _config(record),
        _origin(record),
        _commands(record, target),
        _notes(rows, notes),
        "<footer>Written by Forethought. One file: no script, no network, no tracking.</footer>",
    ]
    _write(target, page(name, [part for part in body if part]))
    return target


def _write(target: Path, document: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            file.write(document.encode("utf-8", errors="backslashreplace"))
    except (OSError, StorageFault) as error:
        raise StorageFault(f"cannot write the report {str(target)!r}: {error.__cause__ or error}") from error


def _header(record: Mapping[str, Any]) -> str:
    status = str(record.get("status", "unknown"))
    colour = status if status in ("finished", "running", "interrupted", "failed") else "unknown"
    facts = [f'<span class="status {colour}">{text(status)}</span>']
    if record.get("created"):
        facts.append(f"<span>{text(_date(record['created']))}</span>")
    if record.get("preset"):
        facts.append(f"<span>preset {text(record['preset'])}</span>")
    if record.get("seed") is not None:
        seed, count = record["seed"], record.get("num_seeds") or 1
        several = isinstance(seed, int) and isinstance(count, int) and count > 1
        facts.append(f"<span>{text(f'seeds {seed} to {seed + count - 1}' if several else f'seed {seed}')}</span>")
    message = f'<p class="message">{text(record["message"])}</p>' if record.get("message") else ""
    return (
        f'<header><h1>{text(record.get("agent", "unknown agent"))} <span class="on">on</span> '
        f"{text(record.get('env', 'unknown environment'))}</h1>"
        f'<div class="facts">{"".join(facts)}</div>{message}</header>'
    )


def _cards(record: Mapping[str, Any], rows: Sequence[Row], known: Mapping[str, Any]) -> str:
    parts = [_return_card(rows), *_random_card(record), *_oracle_card(rows, known)]
    steps = max((int(row["env_steps"]) for row in rows), default=0)
    seeds = len({row.get("seed") for row in rows}) or 1
    total = record.get("total_steps")
    detail = f"of {_number(total)} planned" if total and total != steps else "as planned" if total else ""
    parts.append(card("Environment steps", f"{steps:,}", detail + (", in each seed" if seeds > 1 else "")))
    clock = [float(row["wall_s"]) for row in rows if is_number(row.get("wall_s"))]
    wall = known.get("wall_s", max(clock, default=None))
    parts.append(card("Wall-clock time", _duration(wall), "training and evaluation"))
    parts += list(_loss_card(rows)) + list(_latency_card(rows))
    parts += [card(str(label), _number(value)) for label, value in known.items() if label not in _KNOWN]
    return f'<div class="cards">{"".join(parts)}</div>'


def _return_card(rows: Sequence[Row]) -> str:
    finals = last_evaluations(rows)
    if not finals:
        return card("Return", "–", "not evaluated yet")
    label = "Final return" if all(row.get("final") for row in finals.values()) else "Latest return"
    episodes = sum(len(returns_of(row)) for row in finals.values())
    if len(finals) == 1:
        returns = returns_of(next(iter(finals.values())))
        if len(returns) == 1:
            return card(label, _number(returns[0]), "of one episode")
        both = " ± ".join(_column([float(np.mean(returns)), float(np.std(returns, ddof=1))]))
        return card(label, both, f"mean ± standard deviation of {episodes} episodes")
    middle, low, high = bootstrap_interval([np.mean(returns_of(row)) for row in finals.values()])
    shown, lowest, highest = _column([middle, low, high])
    detail = f"interquartile mean of {len(finals)} seeds: 95 % interval {lowest} to {highest}; {episodes} episodes"
    return card(label, shown, detail)


def _random_card(record: Mapping[str, Any]) -> Iterator[str]:
    baseline = Baseline.of_record(record)
    if baseline is not None:
        several = "mean and 95 % interval of it, " if len(baseline.returns) > 1 else ""
        count = f"{len(baseline.returns)} " if len(baseline.returns) > 1 else ""
        yield card("Random actions", str(baseline), f"{several}{count}{baseline.source}")


def _oracle_card(rows: Sequence[Row], known: Mapping[str, Any]) -> Iterator[str]:
    oracle, random = known.get("oracle_return"), known.get("random_return")
    if oracle is None:
        return
    finals = [np.mean(returns_of(row)) for row in last_evaluations(rows).values()]
    detail = "planner on the true dynamics"
    if finals:
        reached = float(interquartile_mean(finals))
        if reached > 0 and oracle > 0:
            detail = f"this run: {percent(reached / oracle)} of it"
        elif random is not None and oracle > random:
            share = (reached - random) / (oracle - random)
            detail = f"{percent(share)} of the way from random actions ({_number(random)})"
        else:
            detail = f"this run: {reached - oracle:+,.4g} against it"
    yield card("Oracle return", _number(oracle), detail)


def _loss_card(rows: Sequence[Row]) -> Iterator[str]:
    ends = [y[-1] for _, y in seed_series(rows, "update", "model/loss").values()]
    held = [y[-1] for _, y in seed_series(rows, "update", "model/holdout_mse").values()]
    if ends:
        detail = f"holdout squared error {_number(np.mean(held))}" if held else "at the last update"
        yield card("Model loss", _number(np.mean(ends)), detail)


def _latency_card(rows: Sequence[Row]) -> Iterator[str]:
    timed = [row for row in rows if row.get("kind") == "latency"]
    if timed:
        last = timed[-1]
        detail = f"median; 99 %: {_number(last.get('p99_ms'))} ms"
        if last.get("misses") is not None and last.get("actions"):
            detail += f"; {last['misses']} of {last['actions']} late"
        yield card("Time per action", f"{_number(last.get('p50_ms'))} ms", detail)


def _learning(rows: Sequence[Row], record: Mapping[str, Any], figures: Mapping[str, Path]) -> str:
    if figures:
        said = str(record["outcome"]) if record.get("outcome") else ""
        said = sentence(f"{said[:1].upper()}{said[1:]}.", "verdict") if said else ""
        return section("Learning", said, *(picture(title, file) for title, file in figures.items()))
    nothing = "No episode has finished yet." if not rows else "No learning curve has been drawn."
    return section("Learning", sentence(nothing, "quiet"))


def _model(figures: Mapping[str, Path], verdict: str | None, findings: Sequence[Finding] | None) -> str:
    said = sentence(verdict, "verdict") if verdict else ""
    said += found(findings) if findings is not None and verdict else ""
    if not figures and not said:
        return section("Model", sentence("The model has not been checked against real trajectories.", "quiet"))
    return section("Model", said, *(picture(title, file) for title, file in figures.items()))


def _film(path: Path | None) -> str:
    if path is None:
        return section("Video", sentence("There is no video of this run.", "quiet"))
    return section("Video", video(path))


def _seeds(rows: Sequence[Row]) -> str:
    finals = last_evaluations(rows)
    if not finals:
        return section("Seeds", sentence("No evaluation has been logged yet.", "quiet"))
    ordered = sorted(finals.items())
    returns = [returns_of(row) for _, row in ordered]
    means = _column([float(np.mean(r)) for r in returns])
    spreads = _column([float(np.std(r, ddof=1)) if len(r) > 1 else math.nan for r in returns])
    lows, highs = _column([float(r.min()) for r in returns]), _column([float(r.max()) for r in returns])
    lines = [
        (seed, mean, spread, f"{low} to {high}", len(r), f"{int(row['env_steps']):,}{_not_final(row)}")
        for (seed, row), r, mean, spread, low, high in zip(ordered, returns, means, spreads, lows, highs)
    ]
    head = ("seed", "mean return", "deviation", "lowest to highest", "episodes", "environment steps")
    return section("Evaluation by seed", table(lines, head))


def _told(record: Mapping[str, Any]) -> str:
    given = record.get("given")
    if not isinstance(given, Mapping) or not given:
        return ""
    words = {"env": "given: the environment's own function", "learned": "learned from data"}
    lines = [(what, words.get(str(how), f"given: {how}")) for what, how in given.items()]
    return section("Given and learned", table(lines))


def _config(record: Mapping[str, Any]) -> str:
    config = record.get("config")
    lines = list(_flat(config)) if isinstance(config, Mapping) else []
    if not lines:
        return section("Configuration", sentence("This run recorded no configuration.", "quiet"))
    label = f"All {len(lines)} settings"
    return section("Configuration", folded(label, table(lines), unfolded=len(lines) <= _SHORT_CONFIG))


def _origin(record: Mapping[str, Any]) -> str:
    parts = []
    for title, field in (("Versions", "versions"), ("Hardware", "hardware")):
        value = record.get(field)
        if value:
            lines = list(_flat(value)) if isinstance(value, Mapping) else [(field, value)]
            parts.append(f"<div><h3>{title}</h3>{table(lines)}</div>")
    return section("Made with", f'<div class="columns">{"".join(parts)}</div>') if parts else ""


def _commands(record: Mapping[str, Any], target: Path) -> str:
    resumes, run = record.get("status") != "finished", shlex.quote(str(target.parent))
    if own := record.get("own"):  # parts that a shell has no name for
        given = f"{str(target.parent)!r}, {', '.join(f'{part}={part}' for part in own)}"
        loaded = f"forethought.load_run({given})"
        lines = [
            ("Evaluate again", f"{loaded}.evaluate()"),
            ("Film an episode", f"{loaded}.video()"),
            ("Ask the doctor about the model", f"{loaded}.doctor()"),
            ("Export the policy", f"{loaded}.export()"),
        ]
        resume = f"forethought.resume({given})"
    else:
        lines = [
            ("Evaluate again", f"forethought evaluate {run}"),
            ("Film an episode", f"forethought video {run}"),
            ("Ask the doctor about the model", f"forethought doctor {run}"),
            ("Export the policy", f"forethought export {run}"),
        ]
        resume = f"forethought resume {run}"
    if resumes:
        lines.insert(0, ("Go on training", resume))
    if record.get("command"):
        command = record["command"]
        line = command if isinstance(command, str) else shlex.join(str(word) for word in command)
        lines.append(("How it was started", line))
    return section("Commands", commands(lines))


def _notes(rows: Sequence[Row], notes: Sequence[str]) -> str:
    events = [
        f"Step {int(row['env_steps']):,}, after {_duration(row.get('wall_s'))}: {row.get('message')}"
        for row in rows
        if row.get("kind") == "event"
    ]
    lines = [*notes, *events]
    if not lines:
        return ""
    return section("Notes and events", f"<ul>{''.join(f'<li>{text(line)}</li>' for line in lines)}</ul>")


def last_evaluations(rows: Sequence[Row]) -> dict[int, Row]:
    """For each seed the row of its final evaluation, or of the latest while there is no final one."""
    found: dict[int, Row] = {}
    for row in rows:
        if row.get("kind") == "eval" and len(returns_of(row)):
            seed = int(row["seed"])
            if row.get("final") or not found.get(seed, {}).get("final"):
                found[seed] = row
    return found


def returns_of(row: Row) -> np.ndarray:
    """The finite returns of an evaluation's row."""
    returns = row.get("returns")
    numbers = [value for value in returns if is_number(value)] if isinstance(returns, list) else []
    return np.array([value for value in numbers if math.isfinite(value)], float)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "none" if value is None else value


def _number(value: Any) -> str:
    """Four significant digits with thousands separators; a dash for what is missing or not finite."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if not is_number(value):
        return str(value)
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _column(values: Sequence[float]) -> list[str]:
    """Numbers of one column with equally many decimals, so that their points stand below each other."""
    largest = max((abs(v) for v in values if math.isfinite(v)), default=1.0)
    decimals = 0 if largest >= 1000 else 1 if largest >= 100 else 2 if largest >= 1 else 3
    return [f"{v:,.{decimals}f}" if math.isfinite(v) else "–" for v in values]


def _not_final(row: Row) -> str:
    return "" if row.get("final") else " (not final)"


def _duration(seconds: Any) -> str:
    if not is_number(seconds) or not math.isfinite(seconds):
        return "–"
    whole = round(float(seconds))
    if whole < 60:
        return f"{float(seconds):.1f} s" if whole < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _date(created: Any) -> str:
    try:
        if isinstance(created, int | float):
            moment = datetime.datetime.fromtimestamp(created, datetime.UTC)
        else:
            moment = datetime.datetime.fromisoformat(str(created))
    except (ValueError, OverflowError, OSError):
        return str(created)
    return moment.strftime("%Y-%m-%d %H:%M") + (" UTC" if moment.utcoffset() == datetime.timedelta(0) else "")
