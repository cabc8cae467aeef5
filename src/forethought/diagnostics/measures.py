"""What an examination measures: figures of what a model imagined, held against the windows of what really happened.

Shapes and units are stated at the fields of `Examination`.
"""

from typing import Any

import jax
import numpy as np

from ..types import EnvSpec
from .on_host import difference
from .open_loop import LEVELS, Imagined
from .over_episodes import OverEpisodes, correlation, spearman
from .windows import Cut

TERMINATION_STEPS = 5
"""Steps ahead over which the headline shares of missed terminations and false alarms are counted."""

BINS = 10


def varying(dims: int, constant: tuple[int, ...]) -> np.ndarray:
    """The dimensions that averages are over: those that vary, or all if none does."""
    kept = [d for d in range(dims) if d not in constant]
    return np.array(kept or range(dims))


def measured(real: Cut, said: Imagined, spec: EnvSpec) -> dict[str, Any]:
    """The fields of `Examination` that compare what was imagined with what happened, by name."""
    even, said_even = real.evenly(), jax.tree.map(lambda x: x[: real.even], said)
    with np.errstate(all="ignore"):  # a model may say NaN; then so do its figures
        return {
            **_observations(even, said_even, spec),
            **_certainty(even, said_even),
            **_rewards(even, said_even),
            **_terminations(even, said_even),
            **_endings(real, said),
            **_returns(even, said_even),
        }


def _observations(real: Cut, said: Imagined, spec: EnvSpec) -> dict[str, np.ndarray]:
    over = OverEpisodes(real.episode, real.windows.valid)
    kept = varying(len(real.scale), real.constant)
    error, square, stay_square = said.error / real.scale, _square(real, said), _stay(real, spec)
    all_dims, stay_all = square[..., kept].mean(-1), stay_square[..., kept].mean(-1)
    persistence = np.sqrt(over.mean(stay_square))
    nll = -(said.log_density + np.log(real.scale))
    stay_nll = np.log(persistence) + 0.5 * (1 + np.log(2 * np.pi))
    return {
        "error": np.sqrt(over.mean(square)),
        "error_band": over.band(square, of=np.sqrt, least=0.0),
        "persistence": persistence,
        "overall": np.sqrt(over.mean(all_dims)),
        "overall_band": over.band(all_dims, of=np.sqrt, least=0.0),
        "baseline": np.sqrt(over.mean(stay_all)),
        "baseline_band": over.band(stay_all, of=np.sqrt, least=0.0),
        "ratio_band": over.band(all_dims, stay_all, of=lambda x, y: np.sqrt(x / y), least=0.0),
        "bias": -over.mean(error),
        "deviation": np.sqrt(over.mean(said.variance / real.scale**2)),
        "nll": over.mean(nll[..., kept]).mean(-1),
        "persistence_nll": stay_nll[:, kept].mean(-1),
    }


def _square(real: Cut, said: Imagined) -> np.ndarray:
    """Squared errors `[starts, H, groups]`, in units of `scale`."""
    square = (said.error / real.scale) ** 2
    if said.picture is not None:
        square[..., 0] = said.picture.square / real.scale[0] ** 2
    return square


def _stay(real: Cut, spec: EnvSpec) -> np.ndarray:
    """The same for the observation that the window starts with."""
    windows = real.windows
    change = difference(spec, windows.next_obs, windows.obs[:, None])
    if spec.image is None:
        return (change.astype(np.float64) / real.scale) ** 2
    return real.groups.mean(np.square(change)) / (real.groups.units * real.scale) ** 2


def _certainty(real: Cut, said: Imagined) -> dict[str, np.ndarray]:
    over, kept = OverEpisodes(real.episode, real.windows.valid), varying(len(real.scale), real.constant)

    def inside(level: float) -> np.ndarray:
        parts = [] if said.picture is None else [said.picture.inside[..., np.isclose(LEVELS, level)]]
        if said.below is not None:
            parts.append((np.abs(said.below - 0.5) <= level / 2 + 1e-6).astype(float))
        return np.concatenate(parts, -1)

    within_90 = inside(0.9)[..., kept].mean(-1)
    error, stated = np.sqrt(_square(real, said)), np.sqrt(said.variance) / real.scale
    rank = [_mean_over([spearman(stated[v, h, d], error[v, h, d]) for d in kept]) for h, v in enumerate(over.valid.T)]
    variation = [_mean_over(list(_variation(stated[v, h][:, kept]))) for h, v in enumerate(over.valid.T)]
    return {
        "coverage": np.stack([over.mean(inside(level)) for level in LEVELS], -1),
        "covered_90": over.mean(within_90),
        "covered_90_band": over.band(within_90, least=0.0, most=1.0),
        "rank": np.array(rank),
        "stated_variation": np.array(variation),
        "binned": _binned(stated[over.valid][:, kept].ravel(), error[over.valid][:, kept].ravel()),
    }


def _rewards(real: Cut, said: Imagined) -> dict[str, np.ndarray]:
    over, reward = OverEpisodes(real.episode, real.windows.valid), np.asarray(real.windows.reward, np.float64)
    pairs = [(said.reward[v, h], reward[v, h]) for h, v in enumerate(over.valid.T)]
    return {
        "reward_error": np.sqrt(over.mean((said.reward - reward) ** 2)) / real.reward_scale,
        "reward_correlation": np.array([correlation(x, y) for x, y in pairs]),
    }


def _endings(real: Cut, said: Imagined) -> dict[str, np.ndarray | float]:
    """Real terminations that were imagined as more likely survived, seen from all starts."""
    ends = real.windows.valid & real.windows.terminated
    missed, near = ends & (said.survival > 0.5), slice(0, TERMINATION_STEPS)
    return {
        "missed": missed.sum(0) / ends.sum(0),
        "missed_share": float(missed[:, near].sum() / ends[:, near].sum()),
    }


def _terminations(real: Cut, said: Imagined) -> dict[str, np.ndarray | float]:
    windows, over = real.windows, OverEpisodes(real.episode, real.windows.valid)
    goes_on = windows.valid & ~windows.terminated
    alarm, near = goes_on & (said.survival <= 0.5), slice(0, TERMINATION_STEPS)
    return {
        "continuation_error": over.mean((said.continuation - ~windows.terminated) ** 2),
        "continuation_constant": over.mean(windows.terminated) * (1 - over.mean(windows.terminated)),
        "false_alarm": alarm.sum(0) / goes_on.sum(0),
        "false_alarm_share": float(alarm[:, near].sum() / goes_on[:, near].sum()),
    }


def _returns(real: Cut, said: Imagined) -> dict[str, np.ndarray]:
    windows = real.windows
    known = real.known
    over = OverEpisodes(real.episode, known)
    total = np.cumsum(np.where(windows.valid, windows.reward, 0.0).astype(np.float64), 1)
    gap = said.total - total
    mean = over.mean(total)
    pairs = [(said.total[k, h], total[k, h]) for h, k in enumerate(known.T)]
    return {
        "return_count": known.sum(0),
        "real_return": mean,
        "imagined_return": over.mean(said.total),
        "drift": over.mean(gap),
        "drift_band": over.band(gap),
        "drift_error": np.sqrt(over.mean(gap**2)),
        "return_spread": np.sqrt(over.mean((total - mean) ** 2)),
        "return_correlation": np.array([correlation(x, y) for x, y in pairs]),
    }


def _mean_over(values: list[float]) -> float:
    finite = [v for v in values if np.isfinite(v)]
    return float(np.mean(finite)) if finite else float("nan")


def _variation(stated: np.ndarray) -> np.ndarray:
    """Coefficients of variation `[D]` of `stated` `[starts, D]`; NaN where nothing is stated."""
    mean = stated.mean(0)
    return stated.std(0) / np.where(mean > 0, mean, np.nan)


def _binned(stated: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Root mean squares of both in bins of equal count by the stated deviation `[bins, 2]`."""
    finite = np.isfinite(stated) & np.isfinite(error)
    order = np.argsort(stated[finite], kind="stable")
    parts = np.array_split(order, min(BINS, max(len(order), 1)))
    rms = lambda x: np.sqrt(np.mean(x**2)) if len(x) else np.nan
    return np.array([(rms(stated[finite][part]), rms(error[finite][part])) for part in parts])
