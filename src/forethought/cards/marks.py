"""What marks measure: functions of a card's results. Means over a final evaluation are one number per seed."""

import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from .card import Mark, Results

Measure = Callable[[Results], float]


def values(results: Results, arm: str, field: str) -> list[float]:
    """One number of every seed's raw file, in order of seeds."""
    return [float(raw[field]) for _, raw in sorted(results[arm].items())]


def median_return(least: float, reason: str) -> Mark:
    """The median over seeds of the final return of a card's only arm."""
    return Mark(
        "median final return", least, reason, lambda results: statistics.median(values(results, "", "final_return"))
    )


def ratio_of_medians(above: tuple[str, str], below: tuple[str, str]) -> Measure:
    """The median over seeds of one number divided by that of another; each is (arm, field)."""
    return lambda results: statistics.median(values(results, *above)) / statistics.median(values(results, *below))


def worst(field: str) -> Measure:
    """The largest of one number over the seeds of a card's only arm."""
    return lambda results: max(values(results, "", field))


def median_of(field: str) -> Measure:
    """The median over seeds of one number of a card's only arm."""
    return lambda results: statistics.median(values(results, "", field))


def mean_steps_in_episode(arm: str, episode: int) -> Measure:
    """The mean, over the seeds of an arm's runs, of the length of a training episode, counted from 1."""

    def measure(results: Results) -> float:
        runs = [steps for raw in results[arm].values() for steps in raw["episode_steps"]]
        return statistics.fmean(steps[episode - 1] for steps in runs)

    return measure


def ratio_of_rewards(above: str, below: str) -> Measure:
    """The reward that training gathered in one arm divided by that in another, means over seeds."""

    def mean(results: Results, arm: str) -> float:
        return statistics.fmean(run[-1] for raw in results[arm].values() for run in raw["reward"])

    return lambda results: mean(results, above) / mean(results, below)


def lowest(arm: str, field: str = "final_return") -> Measure:
    """The smallest of one number over the seeds of an arm."""
    return lambda results: min(values(results, arm, field))


def _evaluations(raw: Mapping[str, Any]) -> list[tuple[int, float]]:
    """Environment steps and mean returns of the evaluations during training."""
    rows = [row for row in raw["rows"] if row["kind"] == "eval" and not row["final"]]
    return [(int(row["env_steps"]), float(row["mean_return"])) for row in rows]


def area_above(one: str, other: str) -> Measure:
    """The mean return over all evaluations of a seed in one arm minus that in another, the smallest of the seeds."""

    def measure(results: Results) -> float:
        mean = lambda raw: statistics.fmean(value for _, value in _evaluations(raw))
        return min(mean(raw) - mean(results[other][seed]) for seed, raw in results[one].items())

    return measure


def evaluations_running(value: float, count: int) -> Measure:
    """Environment steps at which `count` evaluations running were at least `value` for the first time; of the slowest
    seed of a card's only arm, infinite where that never was."""

    def first(raw: Mapping[str, Any]) -> float:
        seen = _evaluations(raw)
        for i in range(len(seen) - count + 1):
            if all(mean >= value for _, mean in seen[i : i + count]):
                return seen[i + count - 1][0]
        return math.inf

    return lambda results: max(first(raw) for raw in results[""].values())


def share_of_seeds(field: str, least: float) -> Measure:
    """The share of the seeds of a card's only arm in which one number is at least `least`."""
    return lambda results: statistics.mean(value >= least for value in values(results, "", field))


def share_of_seeds_by(field: str, most: float) -> Measure:
    """The share of the seeds of a card's only arm in which one number is there and at most `most`."""

    def measure(results: Results) -> float:
        found = [raw[field] for raw in results[""].values()]
        return statistics.mean(value is not None and value <= most for value in found)

    return measure


def lower_end(results: Results) -> float:
    """Lower end of the 95 % bootstrap interval, over seeds, of the mean final return of a card's only arm."""
    from ..diagnostics.statistics import bootstrap_interval

    return bootstrap_interval(values(results, "", "final_return"), lambda x: x.mean()).low


def gap_between_intervals(above: str, below: str) -> Measure:
    """Lower end of the 95 % interval of arm `above` minus the upper end of arm `below`.

    Bootstrap intervals, over seeds, of the mean final return.
    """

    def measure(results: Results) -> float:
        from ..diagnostics.statistics import bootstrap_interval  # NumPy only, but `list cards` needs not even that

        upper = bootstrap_interval(values(results, above, "final_return"), lambda x: x.mean())
        lower = bootstrap_interval(values(results, below, "final_return"), lambda x: x.mean())
        return upper.low - lower.high

    return measure
