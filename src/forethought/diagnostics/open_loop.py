"""Imagination beside reality: stretches of real episodes, and what a model makes of their actions alone."""

import dataclasses
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..core import AbstractDistribution, AbstractModel
from ..errors import UserError
from ..types import Discrete, EnvSpec, Transition

MAX_ENDINGS = 100
CHUNK = 32  # starts imagined at a time: enough to fill the matrix products, few enough for the cache


class Windows(eqx.Module):
    """What really happened after each start; leaves `[starts, ...]`. The last action of an episode is repeated."""

    obs: Float[Any, "starts obs"]
    action: Any  # [starts, horizon, *action]
    reward: Float[Any, "starts horizon"]
    next_obs: Float[Any, "starts horizon obs"]
    terminated: Bool[Any, "starts horizon"]
    valid: Bool[Any, "starts horizon"]  # the episode was still going on before this step, and it was recorded


@dataclasses.dataclass(frozen=True)
class Cut:
    """Windows of real episodes, and the units in which predictions of them are judged."""

    windows: Windows  # of NumPy arrays
    even: int  # the first so many starts are spread evenly; those behind them only see terminations
    episode: np.ndarray  # [starts] which episode each window is from
    ended: np.ndarray  # [starts] the window's episode ended in a real termination
    scale: np.ndarray  # [obs] standard deviation of the observations; 1 where nothing varies
    reward_scale: float  # standard deviation of the rewards; 1 where nothing varies
    constant: tuple[int, ...]  # dimensions of the observation that never vary
    num_episodes: int
    num_terminations: int
    notes: tuple[str, ...]

    @property
    def horizon(self) -> int:
        """Steps of the longest window that the data hold, at most what was asked for."""
        return self.windows.reward.shape[1]

    def evenly(self) -> Self:
        """Without the starts that only see terminations."""
        first = lambda x: x[: self.even]
        windows = jax.tree.map(first, self.windows)
        return dataclasses.replace(self, windows=windows, episode=first(self.episode), ended=first(self.ended))


class Imagined(eqx.Module):
    """What a model said of every step of every window; leaves `[starts, horizon, ...]`.

    The predictive distribution is the mixture over particles of `model.observation`.
    """

    error: Float[Any, "starts horizon obs"]  # real minus predictive mean, angles the short way round
    variance: Float[Any, "starts horizon obs"]  # of the predictive distribution
    below: Float[Any, "starts horizon obs"]  # its distribution function at what really happened
    log_density: Float[Any, "starts horizon obs"]  # its log-density there; NaN where the model is certain
    reward: Float[Any, "starts horizon"]  # mean over particles
    continuation: Float[Any, "starts horizon"]  # mean predicted probability that the episode goes on
    survival: Float[Any, "starts horizon"]  # imagined probability that it has gone on through this step
    total: Float[Any, "starts horizon"]  # imagined sum of rewards up to and with this step


def cut(
    trajectories: Transition, spec: EnvSpec, *, horizon: int, max_starts: int, endings: int = 0, key: PRNGKeyArray
) -> Cut:
    """Windows of up to `horizon` steps from up to `max_starts` starts, spread evenly over all recorded steps.

    Behind these come, of up to MAX_ENDINGS real terminations, the `endings` last starts that are not among them.
    `trajectories` has leaves `[episodes, time, ...]`; what follows an episode's first terminated or truncated
    step is ignored. Raises ValueError for sizes that cannot be, UserError for data that do not fit `spec` or
    are not finite.
    """
    if min(horizon, max_starts) < 1:
        raise ValueError(f"horizon={horizon} and max_starts={max_starts} must be at least 1")
    data, length = checked(trajectories, spec)
    notes = []
    num, first = len(length), np.concatenate([[0], np.cumsum(length)])
    n = min(max_starts, int(first[-1]))
    phase = float(jr.uniform(key))
    flat = np.minimum(((np.arange(n) + phase) * first[-1] / n).astype(int), first[-1] - 1)
    terminated = np.asarray(data.terminated)[np.arange(num), length - 1]
    flat = np.concatenate([flat, _before_endings(first, np.flatnonzero(terminated), endings, flat)])
    episode = np.searchsorted(first, flat, side="right") - 1
    time = flat - first[episode]
    left = (length[episode] - time)[:n]
    if left.max() < horizon:
        notes.append(f"horizon {horizon} cut to {left.max()} steps: no episode is longer")
        horizon = int(left.max())
    ahead = time[:, None] + np.arange(horizon)
    rows, times = episode[:, None], np.minimum(ahead, length[episode, None] - 1)
    take = lambda x: np.asarray(x)[rows, times]
    windows = Windows(
        obs=np.asarray(data.obs)[episode, time],
        action=take(data.action),
        reward=take(data.reward),
        next_obs=take(data.next_obs),
        terminated=take(data.terminated),
        valid=ahead < length[episode, None],
    )
    scale, reward_scale, constant = scales(data, length, spec)
    if num == 1:
        notes.append("one episode only: there are no bands over episodes")
    if constant:
        named = ", ".join(map(str, constant))
        notes.append(f"observation {named} never varies: judged in its own units and left out of averages")
    return Cut(
        windows=windows,
        even=n,
        episode=episode,
        ended=terminated[episode],
        scale=scale,
        reward_scale=reward_scale,
        constant=constant,
        num_episodes=num,
        num_terminations=int(terminated.sum()),
        notes=tuple(notes),
    )


def _before_endings(first: np.ndarray, terminated: np.ndarray, endings: int, taken: np.ndarray) -> np.ndarray:
    """Steps, counted through all episodes, from which a real termination is at most `endings` steps ahead."""
    every = -(-len(terminated) // MAX_ENDINGS) or 1
    chosen = terminated[::every]
    back = first[chosen + 1][:, None] - 1 - np.arange(endings)
    return np.setdiff1d(back[back >= first[chosen][:, None]], taken).astype(int)


def checked(trajectories: Transition, spec: EnvSpec) -> tuple[Transition, np.ndarray]:
    """The data as NumPy arrays, and the length `[episodes]` of every episode.

    Raises ValueError unless leaves are `[episodes, time, ...]`, UserError if there is nothing, spaces do not
    fit, or a number is not finite.
    """
    data = jax.tree.map(np.asarray, dataclasses.replace(trajectories, extras=None))
    if data.reward.ndim != 2:
        raise ValueError(
            f"trajectories: reward has shape {data.reward.shape}; wanted [episodes, time], one row per episode"
        )
    if data.reward.size == 0:
        raise UserError(f"trajectories hold no step (reward has shape {data.reward.shape}); give at least one episode")
    wanted = (spec.obs_dim,)
    for name, got, want in (
        ("obs", data.obs.shape[2:], wanted),
        ("next_obs", data.next_obs.shape[2:], wanted),
        ("action", data.action.shape[2:], spec.action.shape),
    ):
        if got != want:
            raise UserError(
                f"trajectories do not fit {spec.name}: one {name} has shape {got}, wanted {want}; "
                "give episodes of the environment that the model was made for"
            )
    over = data.terminated | data.truncated
    length = np.where(over.any(1), over.argmax(1) + 1, over.shape[1])
    inside = np.arange(over.shape[1]) < length[:, None]
    for name in ("obs", "action", "reward", "next_obs"):
        values = getattr(data, name)
        wrong = ~np.isfinite(values) & inside.reshape(*inside.shape, *[1] * (values.ndim - 2))
        if wrong.any():
            episode, step, *where = (int(i) for i in np.argwhere(wrong)[0])
            place = f", dimension {where[0]}" if where else ""
            raise UserError(
                f"trajectories: {name} is {values[episode, step, *where]} in episode {episode}, step {step}{place} "
                f"({int(wrong.any(tuple(range(2, wrong.ndim))).any(1).sum())} of {len(values)} episodes are not "
                "finite); leave such episodes out"
            )
    if isinstance(spec.action, Discrete):
        wrong = inside & ((data.action < 0) | (data.action >= spec.action.n))
        if wrong.any():
            episode, step = (int(i) for i in np.argwhere(wrong)[0])
            raise UserError(
                f"trajectories: action is {data.action[episode, step]} in episode {episode}, step {step}; "
                f"wanted 0..{spec.action.n - 1}"
            )
    return data, length


def scales(data: Transition, length: np.ndarray, spec: EnvSpec) -> tuple[np.ndarray, float, tuple[int, ...]]:
    """Standard deviations of observations (angles about their circular mean) and rewards, and constant dimensions."""
    inside = np.arange(data.reward.shape[1]) < length[:, None]
    obs, reward = np.asarray(data.obs, np.float64)[inside], np.asarray(data.reward, np.float64)[inside]
    centre = obs.mean(0)
    away = obs - centre
    for dim in spec.angle_dims:
        centre[dim] = np.arctan2(np.sin(obs[:, dim]).mean(), np.cos(obs[:, dim]).mean())
        away[:, dim] = (obs[:, dim] - centre[dim] + np.pi) % (2 * np.pi) - np.pi
    deviation = np.sqrt((away**2).mean(0))
    still = deviation <= 1e-6 * (1 + np.abs(centre))
    spread = float(reward.std())
    reward_scale = spread if spread > 1e-6 * (1 + abs(float(reward.mean()))) else 1.0
    constant = tuple(int(d) for d in np.flatnonzero(still))
    return np.where(still, 1.0, deviation), reward_scale, constant


def particles_of(model: AbstractModel, spec: EnvSpec) -> int:
    """Particles of the model's beliefs. Raises UserError unless it takes and predicts what `spec` says."""

    def one_step(obs: Array, action: Array, key: PRNGKeyArray) -> tuple[Any, Array]:
        belief = model.init(obs, key=key)
        n = jax.tree.leaves(belief)[0].shape[0]
        belief, said = model.step(belief, jnp.broadcast_to(action, (n, *action.shape)), key=key)
        return (belief, said.reward, said.continuation), seen_by(model, belief).mean()

    example = Transition.example(spec)
    try:
        (belief, *_), mean = jax.eval_shape(one_step, example.obs, example.action, jr.key(0))
    except (TypeError, ValueError, IndexError) as error:
        first_line = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"{type(model).__name__} does not fit {spec.name} ({spec.obs_dim} observations, actions "
            f"{_described(spec)}): {first_line}; give it data of the environment that it was made for"
        ) from error
    particles = jax.tree.leaves(belief)[0].shape[0]
    if mean.shape != (particles, spec.obs_dim):
        raise UserError(
            f"{type(model).__name__} does not fit {spec.name}: it predicts observations of shape {mean.shape[1:]}, the "
            f"data hold {(spec.obs_dim,)}; give it data of the environment that it was made for"
        )
    return particles


def _described(spec: EnvSpec) -> str:
    return f"0..{spec.action.n - 1}" if isinstance(spec.action, Discrete) else f"of {spec.action.shape[0]} numbers"


def seen_by(model: AbstractModel, belief: Any) -> AbstractDistribution:
    """`model.observation`. Raises UserError if the model cannot say."""
    seen = model.observation(belief)
    if seen is None:
        raise UserError(
            f"{type(model).__name__} does not say what would be seen (its `observation` is None), so its "
            "predictions cannot be compared with real observations"
        )
    return seen


@eqx.filter_jit
def imagine(model: AbstractModel, windows: Windows, spec: EnvSpec, repeats: int, *, key: PRNGKeyArray) -> Imagined:
    """The model's account of every window from its first observation and its actions alone.

    The model is run `repeats` times over, so that the predictive mixture has enough particles.
    """
    keys = jr.split(key, windows.reward.shape[0])
    body = lambda x: _one_start(model, x[0], spec, repeats, key=x[1])
    return jax.lax.map(body, (windows, keys), batch_size=CHUNK)


def compare(
    model: AbstractModel, real: Cut, spec: EnvSpec, *, min_particles: int, key: PRNGKeyArray
) -> tuple[Imagined, int]:
    """`imagine` on the windows of `real` as NumPy float64 arrays, and the number of particles."""
    particles = particles_of(model, spec)
    repeats = -(-min_particles // particles)
    starts = len(real.episode)
    padded = -(-starts // CHUNK) * CHUNK  # whole chunks: a remainder would be compiled a second time
    fill = np.minimum(np.arange(padded), starts - 1)
    windows = jax.tree.map(lambda x: jnp.asarray(x[fill]), real.windows)
    said = imagine(model, windows, spec, repeats, key=key)
    return jax.tree.map(lambda x: np.asarray(x, np.float64)[:starts], said), particles * repeats


def _one_start(model: AbstractModel, window: Windows, spec: EnvSpec, repeats: int, *, key: PRNGKeyArray) -> Imagined:
    init_key, step_key = jr.split(key)
    belief = jax.vmap(lambda k: model.init(window.obs, key=k))(jr.split(init_key, repeats))
    particles = jax.tree.leaves(belief)[0].shape[1]

    def step(carry: Any, x: Any) -> tuple[Any, Imagined]:
        belief, going, total = carry
        action, target, key = x
        action = jnp.broadcast_to(action, (particles, *action.shape))
        move = jax.vmap(lambda b, k: model.step(b, action, key=k))
        belief, said = move(belief, jr.split(key, repeats))
        # A model run on past termination may say NaN or inf, and 0 * NaN is NaN.
        total = total + jnp.where(going > 0, going * said.reward, 0.0)
        going = going * said.continuation
        error, variance, below, log_density = _judged(model, belief, target, spec)
        return (belief, going, total), Imagined(
            error=error,
            variance=variance,
            below=below,
            log_density=log_density,
            reward=said.reward.mean(),
            continuation=said.continuation.mean(),
            survival=going.mean(),
            total=total.mean(),
        )

    going = jnp.ones((repeats, particles))
    keys = jr.split(step_key, window.action.shape[0])
    carry = (belief, going, jnp.zeros_like(going))
    return jax.lax.scan(step, carry, (window.action, window.next_obs, keys))[1]


def _judged(model: AbstractModel, belief: Any, target: Array, spec: EnvSpec) -> tuple[Array, Array, Array, Array]:
    """Error of the mixture's mean, its variance, distribution function and log-density at `target`, each `[obs]`."""

    def one_run(belief: Any) -> tuple[Array, Array, Array, Array]:
        seen = seen_by(model, belief)
        mean = seen.mean()
        near = mean + spec.difference(target, mean)  # the same angle, on the side of the seam where the mean is
        return mean, seen.variance(), seen.cdf(near), seen.log_density(near)

    merge = lambda x: x.reshape(-1, x.shape[-1])
    mean, variance, below, log_density = (merge(x) for x in jax.vmap(one_run)(belief))
    centre, spread = moments(mean, variance, spec)
    error = spec.difference(target, centre)
    # Particles that are each certain still have a spread; only its moments have a density.
    matched = -0.5 * (error**2 / spread + jnp.log(2 * jnp.pi * spread))
    mixture = jax.nn.logsumexp(log_density, 0) - jnp.log(len(log_density))
    density = jnp.where((variance > 0).all(0), mixture, jnp.where(spread > 0, matched, jnp.nan))
    return error, spread, below.mean(0), density


def moments(
    mean: Float[Array, "particles *batch obs"], variance: Float[Array, "particles *batch obs"], spec: EnvSpec
) -> tuple[Float[Array, "*batch obs"], Float[Array, "*batch obs"]]:
    """Mean and variance of the mixture over particles; angles are averaged the short way round."""
    offset = spec.difference(mean, mean[:1])
    return mean[0] + offset.mean(0), variance.mean(0) + offset.var(0)
