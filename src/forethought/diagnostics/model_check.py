"""Can the model be trusted? Its predictions, open loop over several steps, held against real trajectories."""

import dataclasses
import math
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..core import AbstractDistribution, AbstractModel
from ..errors import UserError
from ..types import EnvSpec, Transition
from .figures import MUTED, PALETTE, save_figure, spread_labels

LEVELS = (0.5, 0.9)
"""Nominal levels of the central predictive intervals whose coverage is measured."""


@dataclasses.dataclass(frozen=True)
class ModelCheck:
    """How far and how surely a model predicts. Index h-1 of the first axis is horizon h = 1 .. H.

    Errors and deviations of the observation are in units of `scale`, those of the reward in units of
    `reward_scale`; a quantity that never varied in the data has scale 1. Horizons that no start reached are
    NaN.
    """

    count: np.ndarray  # [H] starts whose episode was still going on
    error: np.ndarray  # [H, obs] root mean squared error of the predictive mean
    persistence: np.ndarray  # [H, obs] the same for "nothing changes"
    deviation: np.ndarray  # [H, obs] predictive standard deviation, root mean square over starts
    coverage: np.ndarray  # [H, obs, levels] share of observations inside the central intervals of `LEVELS`
    reward_error: np.ndarray  # [H] root mean squared error of the mean predicted reward
    continuation_error: np.ndarray  # [H] mean squared error of the predicted probability of going on
    scale: np.ndarray  # [obs] standard deviation of the observations in the trajectories
    reward_scale: float  # standard deviation of the rewards in the trajectories
    particles: int  # predictions that each predictive distribution is made of

    @property
    def horizon(self) -> int:
        """H, the longest horizon that was asked for."""
        return len(self.count)

    @property
    def overall(self) -> np.ndarray:
        """`error` as one number per horizon, root mean square over dimensions `[H]`."""
        return _rms(self.error)

    @property
    def baseline(self) -> np.ndarray:
        """`persistence` as one number per horizon, root mean square over dimensions `[H]`."""
        return _rms(self.persistence)

    @property
    def useful_steps(self) -> int:
        """The largest h such that the model beats persistence at every horizon up to h; 0 if not even at one."""
        beaten = self.overall < self.baseline
        return int(np.argmin(beaten)) if not beaten.all() else len(beaten)

    @property
    def states_uncertainty(self) -> bool:
        """False for a model whose predictions are all certain; coverage then says nothing."""
        return bool(np.nanmax(self.deviation, initial=0.0) > 1e-6)


class _Windows(NamedTuple):
    """What really happened after each start; leaves `[starts, ...]`."""

    obs: Float[Array, "starts obs"]
    action: Array  # [starts, horizon, *action]
    reward: Float[Array, "starts horizon"]
    next_obs: Float[Array, "starts horizon obs"]
    terminated: Bool[Array, "starts horizon"]
    valid: Bool[Array, "starts horizon"]  # the episode was still going on before this step


def horizon_errors(
    model: AbstractModel,
    trajectories: Transition,
    spec: EnvSpec,
    *,
    horizon: int,
    key: PRNGKeyArray,
    max_starts: int = 256,
    min_particles: int = 20,
) -> ModelCheck:
    """Imagine `horizon` steps with the real actions from up to `max_starts` real observations, and compare.

    `trajectories` has leaves `[trajectories, time, ...]`, one episode (or its beginning) each, which the
    model was not fitted to; what follows an episode's first terminated or truncated step is ignored. The
    predictive distribution is the mixture over particles of `model.observation`; a model with fewer than
    `min_particles` particles is run several times over. An observation counts as covered by the central
    interval of level q when the mixture's distribution function at it lies within (1 - q) / 2 of neither 0
    nor 1. Angles are compared the short way round. Raises ValueError for sizes that cannot be, UserError
    where there is nothing to compare.
    """
    if min(horizon, max_starts, min_particles) < 1:
        raise ValueError(
            f"horizon={horizon}, max_starts={max_starts} and min_particles={min_particles} must be at least 1"
        )
    start_key, model_key = jr.split(key)
    windows, going = _cut(trajectories, horizon, max_starts, key=start_key)
    belief = jax.eval_shape(lambda obs, k: model.init(obs, key=k), windows.obs[0], model_key)
    particles = jax.tree.leaves(belief)[0].shape[0]
    repeats = -(-min_particles // particles)
    scale, reward_scale = _scales(trajectories, going, spec)
    sums = _compare(model, windows, spec, scale, repeats, key=model_key)
    count = windows.valid.sum(0)
    means = jax.tree.map(lambda x: np.asarray(x / count.reshape(-1, *[1] * (x.ndim - 1))), sums)
    return ModelCheck(
        count=np.asarray(count),
        error=np.sqrt(means["error"]),
        persistence=np.sqrt(means["persistence"]),
        deviation=np.sqrt(means["variance"]),
        coverage=means["coverage"],
        reward_error=np.sqrt(means["reward"]) / float(reward_scale),
        continuation_error=means["continuation"],
        scale=np.asarray(scale),
        reward_scale=float(reward_scale),
        particles=particles * repeats,
    )


def _cut(
    data: Transition, horizon: int, max_starts: int, *, key: PRNGKeyArray
) -> tuple[_Windows, Bool[Array, "trajectories time"]]:
    """Windows of `horizon` steps from random starts, and which rows belong to an episode."""
    if data.reward.ndim != 2:
        raise ValueError(
            f"trajectories: reward has shape {data.reward.shape}; wanted [trajectories, time], one row per episode"
        )
    num, length = data.reward.shape
    if length < horizon or num < 1:
        raise UserError(
            f"horizon={horizon} does not fit into {num} trajectories of {length} steps; use --horizon {length} "
            "or less, or longer trajectories"
        )
    ended = jnp.cumsum(data.terminated | data.truncated, 1) > 0
    going = jnp.concatenate([jnp.ones((num, 1), bool), ~ended[:, :-1]], 1)
    rows, times = np.nonzero(np.asarray(going[:, : length - horizon + 1]))
    chosen = np.asarray(jr.permutation(key, len(rows)))[:max_starts]
    rows, times = rows[chosen, None], times[chosen, None] + np.arange(horizon)
    take = lambda x: x[rows, times]
    return _Windows(
        take(data.obs)[:, 0],
        take(data.action),
        take(data.reward),
        take(data.next_obs),
        take(data.terminated),
        take(going),
    ), going


def _scales(
    data: Transition, going: Bool[Array, "trajectories time"], spec: EnvSpec
) -> tuple[Float[Array, " obs"], Float[Array, ""]]:
    """Standard deviations of observations (angles about their circular mean) and rewards; 1 where nothing varies."""
    weight = going / going.sum()
    mean = lambda x: jnp.tensordot(weight, x, 2)
    centre = mean(data.obs)
    for dim in spec.angle_dims:
        angle = data.obs[..., dim]
        centre = centre.at[dim].set(jnp.arctan2(mean(jnp.sin(angle)), mean(jnp.cos(angle))))
    deviation = jnp.sqrt(mean(spec.difference(data.obs, centre) ** 2))
    reward = jnp.sqrt(mean((data.reward - mean(data.reward)) ** 2))
    return jnp.where(deviation > 1e-8, deviation, 1.0), jnp.where(reward > 1e-8, reward, 1.0)


@eqx.filter_jit
def _compare(
    model: AbstractModel,
    windows: _Windows,
    spec: EnvSpec,
    scale: Float[Array, " obs"],
    repeats: int,
    *,
    key: PRNGKeyArray,
) -> dict[str, Array]:
    """Sums over valid starts of squared errors, variances and hits, each `[horizon, ...]`."""
    starts = windows.reward.shape[0]

    def one_start(window: _Windows, key: PRNGKeyArray) -> dict[str, Array]:
        keys = jr.split(key, repeats)
        seen, reward, continuation = jax.vmap(lambda k: _imagine(model, window, key=k))(keys)
        merge = lambda x: jnp.moveaxis(x, 1, 0).reshape(x.shape[1], -1, *x.shape[3:])  # repeats into particles
        mean, variance = merge(seen[0]), merge(seen[1])
        middle = mean[:, :1]
        offset = spec.difference(mean, middle)  # averages angles across the seam
        centre = middle[:, 0] + offset.mean(1)
        target = window.next_obs
        below = _mixture_cdf(spec.difference(target[:, None], mean), variance)
        inside = jnp.stack([jnp.abs(below - 0.5) <= level / 2 for level in LEVELS], -1)
        going_on = 1.0 - window.terminated
        terms = {
            "error": (spec.difference(target, centre) / scale) ** 2,
            "persistence": (spec.difference(target, window.obs) / scale) ** 2,
            "variance": (variance.mean(1) + offset.var(1)) / scale**2,
            "coverage": inside.astype(jnp.float32),
            "reward": (merge(reward).mean(1) - window.reward) ** 2,
            "continuation": (merge(continuation).mean(1) - going_on) ** 2,
        }
        keep = lambda x: jnp.where(window.valid.reshape(-1, *[1] * (x.ndim - 1)), x, 0.0)
        return jax.tree.map(keep, terms)

    terms = jax.vmap(one_start)(windows, jr.split(key, starts))
    return jax.tree.map(lambda x: x.sum(0), terms)


def _imagine(model: AbstractModel, window: _Windows, *, key: PRNGKeyArray) -> tuple[tuple[Array, Array], Array, Array]:
    """Mean and variance of what would be seen, reward and continuation; each `[horizon, particles, ...]`."""
    init_key, step_key = jr.split(key)
    belief = model.init(window.obs, key=init_key)
    particles = jax.tree.leaves(belief)[0].shape[0]

    def step(belief: Any, x: tuple[Array, Array]) -> tuple[Any, Any]:
        action, key = x
        belief, said = model.step(belief, jnp.broadcast_to(action, (particles, *action.shape)), key=key)
        seen: AbstractDistribution | None = model.observation(belief)
        if seen is None:
            raise UserError(
                f"{type(model).__name__} does not say what would be seen (its `observation` is None), so its "
                "predictions cannot be compared with real observations"
            )
        return belief, ((seen.mean(), seen.variance()), said.reward, said.continuation)

    keys = jr.split(step_key, window.action.shape[0])
    return jax.lax.scan(step, belief, (window.action, keys))[1]


def _mixture_cdf(
    difference: Float[Array, "horizon particles obs"], variance: Float[Array, "horizon particles obs"]
) -> Float[Array, "horizon obs"]:
    """Distribution function of the mixture of Gaussians; a variance of 0 is a step, one half exactly on it."""
    certain = variance <= 0
    z = difference / jnp.sqrt(jnp.where(certain, 1.0, variance))
    step = 0.5 * (1.0 + jnp.sign(difference))
    return jnp.where(certain, step, jax.scipy.stats.norm.cdf(z)).mean(1)


def plain_verdict(check: ModelCheck) -> str:
    """One sentence that says how far the model can be trusted, numbers included."""
    error, baseline, last = check.overall, check.baseline, int(np.flatnonzero(check.count)[-1])
    if not np.all(np.isfinite(error[: last + 1])):
        first = int(np.argmin(np.isfinite(error))) + 1
        return f"The model's prediction is not finite from step {first} on: do not plan with it that far."
    parts = [f"One-step error is {error[0]:.2g} of a standard deviation (persistence: {baseline[0]:.2g})"]
    useful = min(check.useful_steps, last + 1)
    if useful == 0:
        parts.append("the model does not beat persistence even at one step")
    else:
        parts.append(f"it beats persistence up to {useful} of {last + 1} steps")
    if not check.states_uncertainty:
        return "; ".join(parts) + "; it states no uncertainty."
    share = check.coverage[: last + 1, :, LEVELS.index(0.9)].mean(1)
    ends = f"{_percent(share[0])} at step 1 and {_percent(share[-1])} at step {last + 1}"
    parts.append(f"90 % intervals cover {ends if last else _percent(share[0])}")
    judged = " (overconfident)" if share.mean() < 0.8 else " (underconfident)" if share.mean() > 0.97 else ""
    return "; ".join(parts) + f"{judged}."


def plot_model_check(check: ModelCheck, path: str | PathLike[str]) -> Path:
    """Draw error by horizon against persistence, and coverage by horizon against its level; the path.

    Where predicted deviation and error agree, the model knows how wrong it is.
    """
    steps = np.arange(1, check.horizon + 1)

    def draw(figure: Any) -> None:
        errors, cover = figure.subplots(1, 2)
        lines = [("model", check.overall, PALETTE[0], "-"), ("nothing changes", check.baseline, PALETTE[7], "-")]
        if check.states_uncertainty:
            lines.append(("deviation it states", _rms(check.deviation), PALETTE[0], ":"))
        highest = max((float(v[np.isfinite(v)].max(initial=0.0)) for _, v, *_ in lines), default=0.0)
        _draw_lines(errors, steps, lines, top=1.08 * highest or 1.0)
        errors.set_title("Model: error by horizon")
        errors.set_ylabel("error in standard deviations")
        cover.set_title("Model: coverage of its intervals")
        cover.set_ylabel("observations inside, %")
        shares = [
            (f"{level:.0%}".replace("%", " %"), 100 * check.coverage[..., i].mean(1), PALETTE[i + 1], "-")
            for i, level in enumerate(LEVELS)
        ]
        for level, (_, _, colour, _) in zip(LEVELS, shares):
            cover.axhline(100 * level, color=colour, linewidth=1, dashes=(4, 3), alpha=0.8)
        _draw_lines(cover, steps, shares if check.states_uncertainty else [], top=102.0)
        if not check.states_uncertainty:
            cover.text(0.5, 0.25, "The model states no uncertainty.", transform=cover.transAxes, ha="center")
        note = f"Dashed: what was aimed at. {int(check.count[0])} starts, {check.particles} particles each."
        figure.supxlabel(note, x=0.01, ha="left", fontsize=8, color=MUTED)

    return save_figure(path, draw, size=(8.4, 3.5))


def _draw_lines(axes: Any, steps: np.ndarray, lines: list[tuple[str, np.ndarray, str, str]], *, top: float) -> None:
    """Lines of (label, values, colour, style) over the steps ahead, from 0 to `top`, named at their right ends."""
    from matplotlib.ticker import MaxNLocator

    ends = []
    for _, values, colour, style in lines:
        axes.plot(steps, values, style, color=colour, linewidth=2, marker="o" if len(steps) == 1 else None)
        finite = values[np.isfinite(values)]
        ends.append(float(finite[-1]) if len(finite) else 0.0)
    for (label, _, colour, _), height in zip(lines, spread_labels(ends, 0.075 * top)):
        axes.annotate(
            label,
            (1, height),
            (6, 0),
            axes.get_yaxis_transform(),
            "offset points",
            va="center",
            color=colour,
            fontsize=9,
            annotation_clip=False,
        )
    axes.set_xlabel("steps ahead")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlim(*((1, steps[-1]) if len(steps) > 1 else (0, 2)))
    axes.set_ylim(0, top)
    axes.tick_params(length=3)


def _rms(x: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(x**2, axis=-1))


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.0f} %"
