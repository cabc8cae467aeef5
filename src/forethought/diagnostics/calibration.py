"""Recalibration: what a model's intervals would have to be for real observations to fall into them as often as stated.

Standardised residuals of held-out episodes, z = (observation - predictive mean) / predictive deviation, have at every
horizon and dimension an empirical quantile function; a standard normal score is mapped to the residual of the same
rank. This is split-conformal prediction with normalised scores (Lei et al. 2018, Sec. 5.2) at all levels at once, and
Kuleshov et al. 2018 with the residual's rank in place of the predictive one, so that it also cures a model whose
observations all fall outside of what it thought possible.
"""

import dataclasses
import statistics
from pathlib import Path
from typing import Any, Self

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import AbstractModel
from ..errors import UserError
from ..storage import checkpoint
from ..types import EnvSpec, Transition
from .examination import Examination, examine
from .open_loop import compare, particles_of
from .windows import cut

KNOTS = 25
REACH = 3.0  # knots are spaced evenly over standard normal scores from -REACH to REACH
_STEP = 2 * REACH / (KNOTS - 1)
GRID = np.linspace(-REACH, REACH, KNOTS)
_PROBABILITY = np.array([statistics.NormalDist().cdf(g) for g in GRID])

MIN_RESIDUALS = 20  # per horizon; with fewer, the ends of 90 % intervals are beyond the largest residual
_LEAST_SLOPE = 1e-3  # keeps the map one to one where residuals are all alike
_FLOOR = 0.05  # of the median stated deviation, so that a rare claim of near-certainty does not blow up its residual

_MOST = 10**6  # horizon, observations or particles of a file; more is no size but damage


class Recalibration(eqx.Module):
    """How to stretch predictions. Index h-1 is horizon h; the last horizon also stands for all beyond.

    `table[h-1, d]` is the residual, in predictive deviations, at the standard normal scores GRID; increasing,
    and continued linearly. The predictive deviation is the root of the mixture's variance plus `floor` squared,
    which is all there is of it where a model states none.
    """

    table: Float[Array, "horizon obs knots"]
    floor: Float[Array, "horizon obs"]
    count: Int[Array, " horizon"]  # residuals that the table is made of
    particles: int = eqx.field(static=True)  # of the predictive mixtures that the residuals are from
    origin: tuple[tuple[str, str], ...] = eqx.field(static=True, default=())  # what it is of: names and what they are

    @property
    def horizon(self) -> int:
        """Steps ahead up to which residuals were measured."""
        return self.table.shape[0]

    def save(self, path: Path | str, about: dict[str, str] | None = None) -> None:
        """Writes a file of arrays, with what it is `about`: of which model, checkpoint, seed. Default: its `origin`.

        Raises StorageFault if that fails, ValueError for an `about` that holds anything but strings.
        """
        about = dict(self.origin) if about is None else about
        for name, value in about.items():
            if not (isinstance(name, str) and isinstance(value, str)):
                raise ValueError(f"about: {name} is {value!r}; give strings only")
        horizon, obs, knots = self.table.shape
        meta = {"horizon": horizon, "obs": obs, "knots": knots, "particles": self.particles, "about": about}
        checkpoint.save(path, self, {"recalibration": meta})

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """What `save` wrote; runs no code from the file. Raises UserError if it is none or damaged."""
        meta = _meta(path)
        horizon, obs, particles = (meta[name] for name in ("horizon", "obs", "particles"))
        origin = tuple(meta["about"].items())
        blank = lambda: cls(
            jnp.zeros((horizon, obs, KNOTS)),
            jnp.zeros((horizon, obs)),
            jnp.zeros(horizon, jnp.int32),
            particles,
            origin,
        )
        like = eqx.filter_eval_shape(blank)
        return checkpoint.load(path, like)[0]

    @staticmethod
    def about(path: Path | str) -> dict[str, str]:
        """What `save` was told of the recalibration in a file; empty if nothing. Raises as `load` does."""
        return _meta(path)["about"]


def _meta(path: Path | str) -> dict[str, Any]:
    """What a file says of the recalibration in it. Raises UserError if it holds none, or says what cannot be."""
    meta = checkpoint.read_meta(path).get("recalibration")
    if not isinstance(meta, dict) or meta.get("knots") != KNOTS:
        raise UserError(f"{path} holds no recalibration of this version; make one with `recalibrate`")
    for name in ("horizon", "obs", "particles"):
        size = meta.get(name)
        if type(size) is not int or not 1 <= size <= _MOST:
            raise UserError(f"{path} is damaged: {name}={size!r} must be a whole number in 1..{_MOST}; make it again")
    about = meta.get("about", {})
    if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
        raise UserError(f"{path} is damaged: about={about!r} must name strings; make it again with `recalibrate`")
    return {**meta, "about": about}


def recalibrate(
    model: AbstractModel,
    trajectories: Transition,
    spec: EnvSpec,
    *,
    horizon: int = 25,
    key: PRNGKeyArray,
    max_starts: int = 2048,
    min_particles: int = 20,
) -> Recalibration:
    """The recalibration of `model` from held-out on-policy `trajectories`, leaves `[episodes, time, ...]`.

    Quantiles are order statistics at rank / (n + 1), the finite-sample correction of split-conformal
    prediction; beyond the outermost residual the map goes on as steeply as before it, or as it is on the whole
    if that is steeper. A model that states no uncertainty gets one deviation per horizon and dimension, the
    root mean square of its residuals. The table ends where fewer than MIN_RESIDUALS residuals are left. Raises
    as `examine` does, and UserError if there are too few residuals at one step, or predictions are not finite.
    """
    if spec.image is not None:
        raise UserError(f"{spec.name} is seen as pictures, which are not recalibrated")
    start_key, model_key = jr.split(key)
    real = cut(trajectories, spec, horizon=horizon, max_starts=max_starts, key=start_key)
    valid = real.windows.valid
    enough = valid.sum(0) >= MIN_RESIDUALS
    if not enough[0]:
        raise UserError(
            f"{int(valid[:, 0].sum())} held-out steps are too few to recalibrate from; give at least {MIN_RESIDUALS}"
        )
    said, particles, _ = compare(model, real, spec, min_particles=min_particles, key=model_key)
    finite = np.isfinite(said.error) & np.isfinite(said.variance)
    wrong = (~finite.all(-1) & valid).any(0)
    if wrong.any():
        first = int(np.argmax(wrong)) + 1
        raise UserError(
            f"the model's prediction is not finite from step {first} on, so that it cannot be recalibrated; "
            f"use a horizon below {first}, or fit it again"
        )
    steps = len(enough) if enough.all() else int(np.argmin(enough))
    cells = [_stretched(said.error[valid[:, h], h], said.variance[valid[:, h], h], real.scale) for h in range(steps)]
    certain = bool((said.variance <= (1e-6 * real.scale) ** 2).all())
    return Recalibration(
        jnp.asarray(np.stack([table for table, _ in cells]), jnp.float32),
        jnp.asarray(np.stack([floor for _, floor in cells]), jnp.float32),
        jnp.asarray(valid.sum(0)[:steps], jnp.int32),
        particles_of(model, spec) if certain else particles,  # to repeat a certain prediction adds nothing
    )


def _stretched(error: np.ndarray, variance: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One horizon's `table` `[obs, knots]` and `floor` `[obs]` from residuals `[n, obs]`."""
    n = len(error)
    stated, least = np.median(np.sqrt(variance), 0), 1e-6 * scale
    floor = np.where(stated > least, _FLOOR * stated, np.maximum(np.sqrt((error**2).mean(0)), least))
    z = error / np.sqrt(variance + floor**2)
    table = np.quantile(z, _PROBABILITY, axis=0, method="weibull").T
    held = np.flatnonzero(np.minimum(_PROBABILITY, 1 - _PROBABILITY) >= 1 / (n + 1))  # knots that residuals reach
    low, high = held[0], held[-1]
    rise = np.diff(table, axis=1)
    overall = (table[:, high] - table[:, low]) / (high - low)
    rise[:, :low] = np.maximum(overall, rise[:, low])[:, None]
    rise[:, high:] = np.maximum(overall, rise[:, high - 1])[:, None]
    rise = np.maximum(rise, _STEP * np.maximum(_LEAST_SLOPE, 1e-4 * np.abs(table).max(1, keepdims=True)))
    middle = KNOTS // 2
    steps = np.concatenate([np.zeros((len(scale), 1)), np.cumsum(rise, 1)], 1)
    return table[:, middle, None] + steps - steps[:, middle, None], floor


def stretch(table: Float[Array, "obs knots"], score: Float[Array, "*batch obs"]) -> Float[Array, "*batch obs"]:
    """The residual, in predictive deviations, that has the rank of a standard normal `score`."""
    place = (score + REACH) / _STEP
    low = jnp.clip(jnp.floor(place), 0, KNOTS - 2)
    left, right = _around(table, low.astype(jnp.int32))
    return left + (place - low) * (right - left)


def score_of(
    table: Float[Array, "obs knots"], residual: Float[Array, "*batch obs"]
) -> tuple[Float[Array, "*batch obs"], Float[Array, "*batch obs"]]:
    """The standard normal score that `stretch` maps to `residual`, and the slope of `stretch` there."""
    low = jnp.sum(residual[..., None] >= table[:, 1:-1], -1)
    left, right = _around(table, low)
    slope = (right - left) / _STEP
    return -REACH + _STEP * low + (residual - left) / slope, slope


def stretched_moments(table: Float[Array, "obs knots"]) -> tuple[Float[Array, " obs"], Float[Array, " obs"]]:
    """Mean and variance of `stretch` of a standard normal score."""
    mean = table @ jnp.asarray(_FIRST, table.dtype)
    away = table - mean[:, None]  # the weights of `_FIRST` sum to one
    return mean, jnp.einsum("dk,kl,dl->d", away, jnp.asarray(_SECOND, table.dtype), away)


def _around(table: Float[Array, "obs knots"], low: Int[Array, "*batch obs"]) -> tuple[Array, Array]:
    """The knots' values on both sides."""
    dims = jnp.arange(table.shape[0])
    return table[dims, low], table[dims, low + 1]


def _weights() -> tuple[np.ndarray, np.ndarray]:
    """First and second moments of piecewise linear functions of a standard normal score, in their knots' values."""
    score = np.linspace(-8, 8, 6401)
    density = np.exp(-0.5 * score**2)
    density /= density.sum()
    place = (score + REACH) / _STEP
    low = np.clip(np.floor(place), 0, KNOTS - 2).astype(int)
    basis = np.zeros((len(score), KNOTS))
    rows = np.arange(len(score))
    basis[rows, low], basis[rows, low + 1] = 1 - (place - low), place - low
    return density @ basis, basis.T @ (density[:, None] * basis)


_FIRST, _SECOND = _weights()


@dataclasses.dataclass(frozen=True)
class CoverageChange:
    """Examinations of a model before and after recalibration, on episodes that neither has seen."""

    before: Examination
    after: Examination

    def within(self, low: float = 0.87, high: float = 0.93) -> bool:
        """Whether the 90 % intervals after recalibration cover between `low` and `high` at every horizon."""
        return bool(((self.after.covered_90 >= low) & (self.after.covered_90 <= high)).all())

    def rows(self) -> list[dict[str, float]]:
        """One row per horizon: coverage of the 90 % intervals before and after, and starts compared."""
        columns = zip(self.before.covered_90, self.after.covered_90, self.after.count)
        return [
            {"horizon": h, "before": float(b), "after": float(a), "starts": int(n)}
            for h, (b, a, n) in enumerate(columns, 1)
        ]


def coverage_change(
    model: AbstractModel,
    recalibrated: AbstractModel,
    trajectories: Transition,
    spec: EnvSpec,
    *,
    horizon: int = 20,
    key: PRNGKeyArray,
    max_starts: int = 2048,
) -> CoverageChange:
    """Both models examined on the same fresh `trajectories`, leaves `[episodes, time, ...]`."""
    look = lambda m: examine(m, trajectories, spec, horizon=horizon, key=key, max_starts=max_starts)
    return CoverageChange(look(model), look(recalibrated))
