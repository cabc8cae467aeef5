"""What can be wrong with transitions, found in the transitions alone. Thresholds are explained in docs/doctor.md."""

import math

import numpy as np

from ..text import percent
from ..types import Box, EnvSpec
from .finding import Finding
from .logged import Logged
from .on_host import difference, features, varies
from .over_episodes import spearman
from .regression import FOLDS, folds, fourier, linear_error, thinned, unexplained

FEWEST_ROWS = 100  # below this no regression is asked anything
EARLY = 3  # first steps of an episode, which begin as the environment does and not as the policy likes
EARLY_CHANCE = 0.05  # that training and fresh episodes of one kind differ in these as they do
MOST_ENDS = 500  # episode ends, and first observations, that are compared with one another
LAG_ROWS = 1200  # rows that the question about the reward is put to
LEARNED = 0.05  # share of the reward that a model may leave unexplained to be asked what it leaves
RANKED = 0.9  # rank correlation of predicted and real reward above which it has learned it
UNLEARNED = 0.5  # the same, beyond which it has not learned the reward where a regression can
LAG_BETTER = 0.6  # share of the unexplained reward that may be left at the better lag
LAG_LEAST = 0.002  # unexplained share of the reward that is worth a question
HIDDEN_LEAST = 0.05  # unexplained share of a change that is worth a question
HIDDEN_BETTER = 0.4  # part of it that may be left once the step before is known
CLIP_BETTER = 0.8  # part of the error that may be left with the actions clipped
GAINS = 20  # random features that an action's effect may depend on
CLIP_LEVELS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of half the action range
JUMP = 2.0  # change at an episode's end, in the 99.9 % quantile of changes elsewhere
PERIODS = {2 * np.pi: "2 pi", 360.0: "360"}


def change(data: Logged, spec: EnvSpec) -> np.ndarray:
    """Change of the observation in every row `[n, obs]`, the short way round for angles."""
    return difference(spec, data.rows.next_obs, data.rows.obs)


def without_faults(data: Logged, what: str) -> tuple[Logged, list[Finding]]:
    """The episodes in which every number is finite, and a finding if there are others."""
    parts = {"obs": data.rows.obs, "action": data.rows.action, "reward": data.rows.reward}
    parts["next_obs"] = data.rows.next_obs
    bad = {name: ~np.isfinite(x).reshape(len(x), -1).all(1) for name, x in parts.items()}
    wrong = np.any(list(bad.values()), axis=0)
    if not wrong.any():
        return data, []
    touched = set(np.unique(data.episode[wrong]).tolist())
    names = ", ".join(f"{name} ({int(rows.sum())})" for name, rows in bad.items() if rows.any())
    sentence = (
        f"{int(wrong.sum())} of {len(wrong)} transitions of the {what} hold NaN or infinity, the first in row "
        f"{int(np.argmax(wrong))}: {names}. Their {len(touched)} of {len(data.spans)} episodes are left out here"
    )
    remedy = "mend what writes them and train again: a model fitted to such rows learns nothing of use"
    finding = Finding(
        "not-finite", "error", sentence, remedy, {"rows": float(wrong.sum()), "episodes": float(len(touched))}
    )
    return data.chosen([k for k in range(len(data.spans)) if k not in touched]), [finding]


def constant_columns(data: Logged, fresh: Logged | None, pixels: int = 0) -> list[Finding]:
    """Dimensions of the observation that never change in the data: where they vary in fresh episodes, lost perhaps.

    The first `pixels` dimensions are left to `still_picture`.
    """
    still = pixels + np.flatnonzero(_still(data.rows.obs[:, pixels:]))
    if not len(still):
        return []
    found, moved = [], []
    if fresh is not None and fresh is not data:
        moving = ~_still(fresh.rows.obs[:, still])
        moved = [int(d) for d in still[moving]]
        found = _dropped(data, fresh, moved) if moved else []
    others = [int(d) for d in still if d not in moved]
    if others:
        sentence = f"{_dims(others)} of the observation never changes: nothing can be learned about it"
        remedy = "leave it out of the observation, or look why it stands still"
        found.append(Finding("constant-column", "note", sentence, remedy, {"columns": float(len(others))}))
    return found


def still_picture(data: Logged, fresh: Logged | None, spec: EnvSpec) -> list[Finding]:
    """Pictures that are all the same in the training data, or in fresh episodes."""
    for what, part in (("the data", data), ("fresh episodes", fresh)):
        if spec.image is None or part is None or len(part.rows.reward) < 2:
            continue
        pixels = part.rows.obs[:, : spec.num_pixels]
        if (pixels == pixels[0]).all():
            sentence = f"every picture in {what} is the same, mean grey level {pixels[0].mean():.3g} of 255"
            remedy = "look at what the renderer draws (`forethought check-env`); a model can learn nothing from it"
            return [Finding("picture-still", "error", sentence, remedy, {"steps": float(len(pixels))})]
    return []


def _dropped(data: Logged, fresh: Logged, dims: list[int]) -> list[Finding]:
    """An error where `dims`, constant in the data only, cannot be the policy's doing; a warning where they can."""
    sure = [d for d in dims if _lost(data, fresh, d)]
    shown = sure or dims
    sentence = (
        f"{_dims(shown)} of the observation never changes in the training data (always "
        f"{', '.join(f'{v:.4g}' for v in data.rows.obs[0, shown])}) but does in fresh episodes (standard deviation "
        f"{', '.join(f'{v:.3g}' for v in fresh.rows.obs[:, shown].std(0))}): "
    )
    numbers = {"dimension": float(shown[0])}
    if not sure:
        sentence += "either it was dropped on the way into the data, or the policy has only now come to where it varies"
        remedy = "see whether what stores the observation loses it; if not, train on: the model has never seen it vary"
        return [Finding("dimension-dropped", "warning", sentence, remedy, numbers)]
    sentence += "it was dropped on the way into the data"
    if len(sure) < len(dims):
        sentence += f". Perhaps so was {_dims([d for d in dims if d not in sure])}"
    remedy = "mend what stores the observation, then train again"
    return [Finding("dimension-dropped", "error", sentence, remedy, numbers)]


def _lost(data: Logged, fresh: Logged, dim: int) -> bool:
    """Whether `dim`, constant in the data, varies in fresh episodes where no policy can have made the difference.

    That is in the first EARLY steps of so many of them that episodes of one kind would hardly ever fall apart so; or
    where it moves within fresh episodes and is never what it always was in the data.
    """
    value = float(data.rows.obs[0, dim])
    seen, tolerance = fresh.rows.obs[:, dim], 1e-6 * (1 + abs(value))
    other = np.abs(seen - value) > tolerance
    moves = np.abs(fresh.rows.next_obs[:, dim] - seen) > tolerance
    if other.all() and moves.any() and len(seen) >= FEWEST_ROWS:
        return True
    early = np.minimum(fresh.first[:, None] + np.arange(EARLY), fresh.last[:, None])
    new, count, episodes = int(other[early].any(1).sum()), len(fresh.spans), len(data.spans)
    # The first training episode says what the constant is; all `new` ones are among the fresh of the rest by chance.
    return math.comb(count, new) < EARLY_CHANCE * math.comb(count + episodes - 1, new)


def wrapped_angle(data: Logged, spec: EnvSpec) -> list[Finding]:
    """A dimension, no pixel, that jumps by a full turn between steps and is not declared to be an angle."""
    found = []
    for dim in range(spec.num_pixels, spec.obs_dim):
        if dim in spec.angle_dims:
            continue
        before, after = data.rows.obs[:, dim], data.rows.next_obs[:, dim]
        jump, width = np.abs(after - before), np.ptp(np.concatenate([before, after]))
        for period, name in PERIODS.items():
            turns = jump > 0.75 * period
            between = (jump > 0.35 * period) & ~turns
            if not 0.9 * period < width < 1.02 * period or turns.sum() < 2 or between.sum() > 0.1 * turns.sum():
                continue
            sentence = (
                f"dimension {dim} of the observation jumps by about {name} in {int(turns.sum())} of {len(turns)} "
                "steps and stays within one turn: it is an angle that wraps, and the model takes the jumps for motion"
            )
            radians = "" if name == "2 pi" else "convert it to radians, then "
            remedy = (
                f"{radians}declare it: `--angles {dim}` for `forethought fit`, angle_dims=({dim},) in the EnvSpec of "
                "an environment of yours; or observe sine and cosine"
            )
            numbers = {"dimension": float(dim), "jumps": float(turns.sum()), "range": float(width)}
            found.append(Finding("angle-wraps", "error", sentence, remedy, numbers))
    return found


def reset_as_next_obs(data: Logged, spec: EnvSpec) -> list[Finding]:
    """Ends of episodes whose successor is the first observation of the next episode."""
    ended = thinned(np.flatnonzero(data.over), MOST_ENDS)
    if len(ended) < 2 or len(data.spans) < 3:
        return []
    delta = np.abs(change(data, spec))
    inside = np.ones(len(delta), bool)
    inside[data.last] = False
    usual = np.quantile(delta[inside], 0.999, axis=0) if inside.any() else np.full(spec.obs_dim, np.inf)
    scale = np.maximum(data.rows.obs.std(0), 1e-9)
    jump = (delta[data.last[ended]] / np.maximum(usual, 1e-6 * scale)).max(1)
    starts, reached = data.rows.obs[data.first], data.rows.next_obs[data.last[ended]]
    size, some = np.maximum(starts.std(0), 1e-3 * scale), thinned(np.arange(len(starts)), MOST_ENDS)
    away = _nearest(reached / size, ended, starts[some] / size, some)
    between = _nearest(starts[some] / size, some, starts[some] / size, some)
    lands = (jump > JUMP) & (away <= 1.5 * np.quantile(between, 0.9))
    # Where episodes begin differently, the very same numbers are no coincidence, however small the jump.
    varied = np.ptp(starts, axis=0).max() > 1e-3 * scale.max()
    same = np.isclose(reached, starts[(ended + 1) % len(starts)], rtol=1e-5, atol=1e-7).all(1) & varied
    both = lands | same
    if both.sum() < max(2, 0.5 * len(ended)):
        return []
    times = f", a change of {np.median(jump[both]):.2g} times what steps elsewhere reach" if inside.any() else ""
    sentence = (
        f"at {int(both.sum())} of {len(ended)} episode ends the successor lies among the first observations of "
        f"episodes{times}: the observation of the reset was stored as next_obs"
    )
    remedy = (
        "store the true last observation (Gymnasium's vector environments hand it over in info['final_obs']; "
        "autoreset must not reach the replay), then train again"
    )
    numbers = {"ends": float(len(ended)), "at_start": float(both.sum()), "jump": float(np.median(jump[both]))}
    return [Finding("reset-as-next-obs", "error", sentence, remedy, numbers)]


def truncation_as_termination(data: Logged, fresh: Logged | None, spec: EnvSpec) -> list[Finding]:
    """Episodes that are said to have terminated, but all at the time limit."""
    ended = data.rows.terminated[data.last]
    if ended.sum() < 2:
        return []
    lengths = data.lengths[ended]
    limit = -(-spec.max_episode_steps // spec.action_repeat) if spec.max_episode_steps else int(lengths.max())
    at_limit = int(np.sum(lengths == limit))
    elsewhere = int(ended.sum()) - at_limit
    only_truncated = int(np.sum(data.rows.truncated[data.last] & ~ended & (data.lengths == limit)))
    if limit < 2 or at_limit < 2 or elsewhere > 0.1 * at_limit or only_truncated:
        return []
    also = ""
    if fresh is not None and fresh is not data:
        if np.any(fresh.rows.terminated[fresh.last] & (fresh.lengths == limit)):
            return []  # the environment itself says so, in episodes just played
        judged = int(np.sum(fresh.rows.truncated[fresh.last] & (fresh.lengths == limit)))
        if judged:
            also = f", where fresh episodes ({judged}) are truncated, not terminated"
    sure = bool(also) or spec.max_episode_steps is not None
    sentence = (
        f"{at_limit} of {int(ended.sum())} terminations in the data come at exactly {limit} steps, the time limit"
        f"{also}: time running out was stored as the task's end, and the model learns to expect an end that is none"
    )
    remedy = "store the time limit as truncated and leave terminated to the task's own end, then train again"
    numbers = {"at_limit": float(at_limit), "elsewhere": float(elsewhere), "limit": float(limit)}
    severity = "error" if sure else "warning"
    return [Finding("truncation-as-termination", severity, sentence, remedy, numbers)]


def shifted_reward(data: Logged, spec: EnvSpec, predicted: np.ndarray | None) -> list[Finding]:
    """A reward that the transition before or after explains better than its own.

    `predicted` `[n]` is what a model that learned the reward says on these data: where it was trained on shifted
    rewards, what it leaves over belongs to another transition. None: the reward itself is asked.
    """
    middle, reward = _with_neighbours(data, before=1, after=1), data.rows.reward
    if len(middle) < FEWEST_ROWS or not varies(reward[middle]):
        return []
    rows = thinned(middle, LAG_ROWS)
    left, whole = reward[rows], float(reward[rows].var())
    beyond = 1.0 if predicted is None else float(np.var(left - predicted[rows])) / whole
    if predicted is not None and beyond < LEARNED:
        left = left - predicted[rows]  # finer than the regression here can be
    # Single rows are held out, not episodes: a reward is a fixed function, and rare ones must be in both parts.
    fold = np.random.default_rng(0).integers(0, FOLDS, len(rows))
    transition = lambda at: [*_inputs(data, spec, at), _seen(data.rows.next_obs[at], spec)]
    shares = [float(unexplained(transition(rows + lag), left[:, None], fold)[0]) for lag in (0, -1, 1)]
    own, before, after = (share * float(left.var()) / whole for share in shares)
    best, word, side = (before, "late", "before") if before < after else (after, "early", "after")
    if own < LAG_LEAST or best > LAG_BETTER * own:
        return [] if predicted is None else _not_learned(beyond, own, spearman(predicted[rows], reward[rows]))
    sentence = (
        f"the reward belongs to the transition one step {side} the one it is stored with: that leaves "
        f"{percent(best)} of its variance unexplained, its own {percent(own)}. It is stored one step too {word}"
    )
    remedy = "store with each action the reward that followed it, then train again"
    return [Finding("reward-shifted", "error", sentence, remedy, {"own": own, "shifted": best})]


def _not_learned(left: float, regression: float, rank: float) -> list[Finding]:
    """A warning where a model leaves over most of the reward's variance, and twice what a plain regression does.

    `rank` is the correlation of its ranks with the real ones: a few wild predictions alone are no reason.
    """
    if left < UNLEARNED or regression > 0.5 * left or rank > RANKED:
        return []
    sentence = (
        f"the predicted reward leaves {percent(left)} of the reward's variance in the training data unexplained, a "
        f"plain regression {percent(regression)}: the model has not learned the reward, and plans cannot seek it"
    )
    remedy = "give the reward as a function if you know it (--reward), fit longer, or explore where rewards differ"
    return [Finding("reward-not-learned", "warning", sentence, remedy, {"left": left, "regression": regression})]


def hidden_state(data: Logged, spec: EnvSpec, model_share: np.ndarray | None) -> list[Finding]:
    """Changes that the step before helps to predict: the observation does not hold all that matters.

    `model_share` is the share of each dimension's change that the model leaves unexplained, `[obs]`: what the
    model predicts is not hidden, however hard it is for the regression here.
    """
    rows = thinned(_with_neighbours(data, before=1))
    if len(rows) < FEWEST_ROWS:
        return []
    target = change(data, spec)
    now, fold = _inputs(data, spec, rows), folds(data.episode[rows])
    alone = unexplained(now, target[rows], fold)
    if model_share is not None:
        alone = np.minimum(alone, model_share)
    if not np.any(alone > HIDDEN_LEAST):
        return []
    before = np.column_stack([target[rows - 1], _actions(data, spec, rows - 1)])
    helped = unexplained([*now, before], target[rows], fold)
    ratio = np.where(alone > HIDDEN_LEAST, helped / np.maximum(alone, 1e-12), np.inf)
    dim = int(np.argmin(ratio))
    if ratio[dim] > HIDDEN_BETTER:
        return []
    sentence = (
        f"the step before helps to predict the next change: in dimension {dim} it lowers what is left unexplained from "
        f"{percent(alone[dim])} to {percent(helped[dim])}. The observation does not hold all that matters, a "
        "velocity perhaps"
    )
    remedy = "add what is missing to the observation, or stack the last two observations"
    numbers = {"dimension": float(dim), "alone": float(alone[dim]), "with_step_before": float(helped[dim])}
    return [Finding("hidden-state", "warning", sentence, remedy, numbers)]


def clipped_action(data: Logged, spec: EnvSpec) -> list[Finding]:
    """Actions whose effect stops growing inside their bounds."""
    space = spec.action
    rows = thinned(np.arange(len(data.rows.reward)), 4000)
    inside = np.setdiff1d(rows, data.last)
    if not isinstance(space, Box) or len(inside) < FEWEST_ROWS:
        return []
    low, high = np.array(space.low), np.array(space.high)
    action = 2 * (data.rows.action[inside] - low) / (high - low) - 1
    seen = _seen(data.rows.obs[inside], spec)
    target, fold = change(data, spec)[inside], folds(data.episode[inside])
    # An effect that changes with each of many observations would be thousands of features: then waves have to do.
    waves = fourier(seen, GAINS) if seen.shape[1] <= GAINS else fourier(seen, GAINS)[:, -GAINS:]
    base, gain = fourier(seen, 100), np.column_stack([np.ones(len(seen)), waves])

    def error(action: np.ndarray) -> np.ndarray:
        effect = (action[:, :, None] * gain[:, None, :]).reshape(len(seen), -1)
        return linear_error(np.column_stack([base, effect]), target, fold)

    whole, found = error(action), []
    for dim in range(action.shape[1]):
        clipped = [error(_clipped(action, dim, level)) for level in CLIP_LEVELS]
        best = int(np.argmin([e.mean() for e in clipped]))
        level, ratio = CLIP_LEVELS[best], float(clipped[best].mean() / max(whole.mean(), 1e-12))
        everywhere = all(clipped[best][fold == k].mean() < whole[fold == k].mean() for k in np.unique(fold))
        beyond = float(np.mean(np.abs(action[:, dim]) > level))
        if ratio > CLIP_BETTER or not everywhere or beyond < 0.02:
            continue
        middle, half = (low[dim] + high[dim]) / 2, (high[dim] - low[dim]) / 2
        ends = f"{middle - level * half:.3g} and {middle + level * half:.3g}"
        sentence = (
            f"action {dim} has no more effect beyond about {ends}, though its bounds are {low[dim]:g} and "
            f"{high[dim]:g}: with the action clipped there the error of a regression falls by {percent(1 - ratio)}. "
            f"{percent(beyond)} of the actions lie beyond"
        )
        remedy = "find what clips it (a wrapper, the motor), and give the environment the bounds that hold"
        numbers = {"level": level, "error_ratio": ratio, "beyond": beyond}
        found.append(Finding("action-clipped", "warning", sentence, remedy, numbers))
    return found


def _clipped(action: np.ndarray, dim: int, level: float) -> np.ndarray:
    action = action.copy()
    action[:, dim] = np.clip(action[:, dim], -level, level)
    return action


def _with_neighbours(data: Logged, *, before: int = 0, after: int = 0) -> np.ndarray:
    """Rows that have so many others of their episode before and behind them."""
    spans = [np.arange(start + before, max(start + before, end - after)) for start, end in data.spans]
    return np.concatenate(spans) if spans else np.zeros(0, int)


def _seen(obs: np.ndarray, spec: EnvSpec) -> np.ndarray:
    return features(spec, obs)


def _actions(data: Logged, spec: EnvSpec, rows: np.ndarray) -> np.ndarray:
    return features(spec.action, data.rows.action[rows])


def _inputs(data: Logged, spec: EnvSpec, rows: np.ndarray) -> list[np.ndarray]:
    """Observation and action as blocks of regression features, `[n, ...]` each."""
    return [_seen(data.rows.obs[rows], spec), _actions(data, spec, rows)]


def _still(obs: np.ndarray) -> np.ndarray:
    return obs.std(0) <= 1e-6 * (1 + np.abs(obs).max(0))


def _nearest(obs: np.ndarray, episode: np.ndarray, starts: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distance of each row of `obs` to the nearest first observation of another episode.

    `episode` `[n]` numbers the episodes that `obs` are from, `other` those of `starts`.
    """
    distance = lambda x, k: np.sqrt(np.mean((starts - x) ** 2, 1))[other != k].min()
    return np.array([distance(x, k) for x, k in zip(obs, episode)])


def _dims(dims: list[int]) -> str:
    return f"dimension{'s' if len(dims) > 1 else ''} {', '.join(map(str, dims))}"
