"""A model from logged transitions alone: fitted, held against episodes it has not seen, saved and loaded."""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .core import AbstractLearner, AbstractModel
from .diagnostics import page
from .diagnostics.examination import Examination, examine
from .diagnostics.examination_figures import plot_examination
from .diagnostics.verdict import plain_verdict
from .envs.given import check_given
from .errors import TrainingFault, UserError, checked_path, clear_errors
from .learners.model_planning import ensemble_learner
from .presets.fit import FitConfig
from .presets.parts import EnsembleConfig
from .presets.values import checked, from_dict, to_dict
from .references import load_object
from .replay.dataset import Dataset, load_dataset
from .replay.uniform import UniformReplay
from .room import check_config_room
from .run.progress import strongly_typed
from .storage import checkpoint, provenance, records
from .storage.files import own, replacing
from .storage.records import make_folder, read_json, write_json
from .text import percent
from .types import Box, Discrete, EnvSpec, Given, Transition, never_terminates

ROUNDS = 10
MAX_CHECKED = 100  # held-out episodes that the model is compared with
Progress = Callable[[float, float | None], None]
"""Called with the part done, in [0, 1], and the latest training loss."""


@dataclasses.dataclass
class Fitted:
    """A fitted model and how good it is."""

    model: AbstractModel
    spec: EnvSpec
    config: FitConfig
    source: str
    given: dict[str, str]
    check: Examination
    verdict: str  # one sentence that says how far the model can be trusted
    loss: float
    num_train: int  # transitions
    num_holdout: int
    seconds: float
    notes: list[str]

    def summary(self) -> dict[str, Any]:
        """What is written to `fit.json`: where the model comes from and its errors, as plain numbers."""
        listed = lambda x: [None if not math.isfinite(v) else round(float(v), 6) for v in np.ravel(x)]
        coverage = {f"{level:.2f}": listed(self.check.covered(level)) for level in (0.5, 0.9)}
        return {
            "format": 1,
            "source": self.source,
            "given": self.given,
            "config": to_dict(self.config),
            "transitions": {"train": self.num_train, "held_out": self.num_holdout},
            "loss": self.loss,
            "verdict": self.verdict,
            "trusted_steps": self.check.trusted_steps,
            "useful_steps": self.check.useful_steps,
            "error": listed(self.check.overall),
            "persistence": listed(self.check.baseline),
            "coverage": coverage,
            "reward_error": listed(self.check.reward_error),
            "seconds": round(self.seconds, 2),
            "notes": self.notes,
            "versions": provenance.versions(),
            "hardware": provenance.hardware(jax.devices()),
        }

    def save(self, folder: Path | str) -> dict[str, Path]:
        """Writes model.npz, fit.json, model_check.png and report.html to a new folder; returns their paths.

        Raises UserError if the folder is in use, StorageFault if it cannot be written.
        """
        folder = Path(folder)
        make_folder(folder)
        names = {"model": "model.npz", "summary": "fit.json", "figure": "model_check.png", "report": "report.html"}
        paths = {what: folder / name for what, name in names.items()}
        meta = {"spec": _spec_to_dict(self.spec), "model": to_dict(self.config.model), "given": self.given}
        checkpoint.save(paths["model"], self.model, {"fit": meta})
        write_json(paths["summary"], self.summary())
        plot_examination(self.check, paths["figure"])
        with replacing(paths["report"]) as file:
            file.write(_report(self, paths["figure"]).encode())
        return paths


def fit(
    data: Path | str | Dataset,
    *,
    config: FitConfig | None = None,
    reward: Callable[..., Any] | None = None,
    termination: Callable[..., Any] | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """A model fitted to logged transitions, judged on whole episodes that were held out.

    `data` is what `load_dataset` reads, or its result. `reward` and `termination` take the place of the functions
    that `config` names. With `config.model.holdout_ratio` 0 progress comes in ten parts, each of which draws the
    members' resamples anew; otherwise early stopping makes it one. Raises UserError for data or settings that do
    not work, TrainingFault if the loss is not finite.
    """
    config = checked(FitConfig() if config is None else config)
    source = data if isinstance(data, Dataset) else load_dataset(data)
    name = source.spec.name if isinstance(data, Dataset) else str(data)
    with clear_errors("angles"):
        spec = dataclasses.replace(source.spec, angle_dims=tuple(config.angles))
    check_config_room(spec, config)
    given, functions = _given(config, reward, termination)
    notes = list(source.notes)
    mismatch = check_given(
        functions.reward, functions.termination, jax.tree.map(lambda x: x[:1000], source.transitions)
    )
    if mismatch:
        notes.append(mismatch)
    key = jr.key(config.seed)
    train, held_out, split_notes = split_by_episode(source.transitions, config.holdout, seed=config.seed)
    began = time.monotonic()
    model, loss = _train(spec, config, functions, train, key=key, progress=progress)
    check = examine(model, held_out, spec, horizon=config.horizon, key=jr.fold_in(key, 2))
    return Fitted(
        model=model,
        spec=spec,
        config=config,
        source=name,
        given=given,
        check=check,
        verdict=plain_verdict(check),
        loss=loss,
        num_train=len(train.reward),
        num_holdout=len(source.transitions.reward) - len(train.reward),
        seconds=time.monotonic() - began,
        notes=notes + split_notes + list(check.notes),
    )


@dataclasses.dataclass
class FittedModel:
    """A fitted model as it was saved, and what it was fitted with."""

    model: AbstractModel
    spec: EnvSpec
    given: Given


def load_model(path: Path | str) -> AbstractModel:
    """The model in a `model.npz` that `Fitted.save` wrote, or in its folder. Runs no code from the file.

    Raises UserError if the file is none or damaged, or if a function that it was given cannot be imported.
    """
    return load_fitted(path).model


def load_fitted(path: Path | str) -> FittedModel:
    """As `load_model`, with the spaces and the given functions of the model."""
    path = checked_path(path)
    path = own(path, "model.npz") if path.is_dir() else path
    meta = checkpoint.read_meta(path).get("fit")
    if not isinstance(meta, dict):
        raise UserError(f"{path} holds no fitted model; give a model.npz that `forethought fit` wrote")
    where, remedy = str(path), "fit the model again"
    records.check(meta, records.FitRecord, where, remedy=remedy)
    records.check(meta["given"], records.GivenRecord, f"{where}: given", remedy=remedy)
    records.check_spec(meta["spec"], f"{where}: spec", remedy)
    config = FitConfig(reward=meta["given"]["reward"], termination=meta["given"]["termination"])
    _, functions = _given(config, None, None)
    model_config = from_dict(EnsembleConfig, meta["model"], "model")
    with clear_errors(where):
        spec = _spec_from_dict(meta["spec"])
    make = lambda: ensemble_learner(spec, model_config, given=functions, key=jr.key(0)).model
    return FittedModel(checkpoint.load(path, eqx.filter_eval_shape(make))[0], spec, functions)


def own_split(folder: Path | str) -> tuple[Transition, Transition]:
    """The rows that a saved model was trained on `[n, ...]` and its held-out episodes `[episodes, time, ...]`.

    The data are read again from where `fit.json` says they were. Raises UserError if they are not there any more.
    """
    folder = Path(folder)
    folder = folder if folder.is_dir() else folder.parent
    record = read_json(folder / "fit.json", 1)
    records.check(record, records.SourceRecord, str(folder / "fit.json"), remedy="give other data with --data")
    config = from_dict(FitConfig, record["config"], f"{folder}/fit.json: config")
    config = checked(config)
    try:
        data = load_dataset(record["source"]).transitions
    except UserError as error:
        raise UserError(
            f"{folder} was fitted to {record['source']}, which is needed for its held-out episodes ({error}); "
            "give others with --data"
        ) from error
    train, held_out, _ = split_by_episode(data, config.holdout, seed=config.seed)
    if len(train.reward) != record["transitions"].get("train"):
        raise UserError(f"{record['source']} is not what {folder} was fitted to any more; give other data with --data")
    return train, held_out


def same_spaces(model: EnvSpec, data: EnvSpec) -> str:
    """In what the spaces of a model and of data differ; empty if they do not."""
    if model.obs_dim != data.obs_dim:
        return f"observations have {data.obs_dim} dimensions, the model takes {model.obs_dim}"
    if isinstance(model.action, Discrete) != isinstance(data.action, Discrete):
        kind = lambda spec: "discrete" if isinstance(spec.action, Discrete) else "continuous"
        return f"actions are {kind(data)}, the model takes {kind(model)} ones"
    if isinstance(model.action, Discrete) and isinstance(data.action, Discrete):
        few = data.action.n > model.action.n
        return f"there are actions up to {data.action.n - 1}, the model knows {model.action.n}" if few else ""
    if model.action.shape != data.action.shape:
        return f"actions have {data.action.shape[0]} dimensions, the model takes {model.action.shape[0]}"
    return ""


def split_by_episode(data: Transition, ratio: float, *, seed: int) -> tuple[Transition, Transition, list[str]]:
    """Rows to train on `[n, ...]`, held-out episodes `[episodes, time, ...]`, and what should be known of the split.

    An episode ends where the data say so, or where a step's successor is not the next step's observation. Shorter
    episodes are padded behind their end, which is marked as truncated. A single episode is cut in time.
    """
    last = np.asarray(data.terminated | data.truncated)
    jump = ~np.isclose(data.next_obs[:-1], data.obs[1:], rtol=1e-4, atol=1e-5).all(1)
    ends = np.flatnonzero(last | np.append(jump, True)) + 1
    spans = list(zip([0, *ends[:-1]], ends))
    notes = []
    if len(spans) == 1:
        steps = int(ends[0])
        cut = steps - max(1, round(ratio * steps))
        if cut < 1:
            raise UserError(f"{steps} transition is too little to fit and judge a model; log at least 2")
        spans = [(0, cut), (cut, steps)]
        chosen = np.array([1])
        notes.append(f"the data are one episode: its last {steps - cut} steps are held out")
    else:
        count = min(max(1, round(ratio * len(spans))), len(spans) - 1)
        chosen = np.random.default_rng(seed).permutation(len(spans))[:count]
    held = np.zeros(len(last), bool)
    for i in chosen:
        held[slice(*spans[i])] = True
    shown = [spans[i] for i in chosen[:MAX_CHECKED]]
    longest = max(end - start for start, end in shown)
    rows = np.stack([np.minimum(np.arange(start, start + longest), end - 1) for start, end in shown])
    closed = dataclasses.replace(data, truncated=np.array(data.truncated))
    for _, end in shown:
        closed.truncated[end - 1] |= not closed.terminated[end - 1]
    return jax.tree.map(lambda x: x[~held], data), jax.tree.map(lambda x: jnp.asarray(x[rows]), closed), notes


def _train(
    spec: EnvSpec, config: FitConfig, given: Given, train: Transition, *, key: Any, progress: Progress | None
) -> tuple[AbstractModel, float]:
    """The fitted model and its last training loss."""
    c = config.model
    learner_key, fit_key = jr.split(key)
    per_pass = -(-len(train.reward) // c.batch_size) if c.batch_size > 0 else 1
    passes = max(c.epochs, -(-c.min_steps // per_pass))
    rounds = 1 if c.holdout_ratio else max(1, min(ROUNDS, passes))
    part = (
        c
        if c.holdout_ratio
        else dataclasses.replace(c, epochs=-(-passes // rounds) if passes > 0 else c.epochs, min_steps=0)
    )
    with clear_errors("model"):
        learner = strongly_typed(ensemble_learner(spec, part, given=given, key=learner_key))
    replay = UniformReplay.of(train)
    loss = math.nan
    for i in range(rounds):
        if progress is not None:
            progress(i / rounds, None if i == 0 else loss)
        learner, metrics = _round(learner, replay, jr.fold_in(fit_key, i))
        learner = strongly_typed(learner)  # else each of the first rounds compiles anew
        loss = float(metrics["model/loss"])
        if not math.isfinite(loss):
            raise TrainingFault(
                f"the model's loss became {loss} after {percent((i + 1) / rounds)} of the fit; a smaller "
                "--model.learning-rate is the usual remedy"
            )
    if progress is not None:
        progress(1.0, loss)
    return learner.model, loss


@eqx.filter_jit
def _round(learner: AbstractLearner, replay: UniformReplay, key: Any) -> tuple[AbstractLearner, Any]:
    return learner.fit(replay, key=key)


def _given(config: FitConfig, reward: Any, termination: Any) -> tuple[dict[str, str], Given]:
    names, found = {}, {}
    for kind, choice, function in (("reward", config.reward, reward), ("termination", config.termination, termination)):
        if function is not None:
            names[kind], found[kind] = f"{function.__module__}:{function.__qualname__}", function
        elif choice == "learned":
            names[kind], found[kind] = "learned", None
        elif choice == "never" and kind == "termination":
            names[kind], found[kind] = "never", never_terminates
        elif ":" in choice:
            names[kind], found[kind] = choice, load_object(choice)
        else:
            options = "learned or pkg.mod:fn" if kind == "reward" else "learned, never or pkg.mod:fn"
            raise UserError(f"{kind}={choice!r} must be {options}")
    return names, Given(found["reward"], found["termination"])


def _spec_to_dict(spec: EnvSpec) -> dict[str, Any]:
    space = spec.action
    bounds = {"low": space.low, "high": space.high} if isinstance(space, Box) else {"n": space.n}
    return {"name": spec.name, "obs_dim": spec.obs_dim, "action": bounds, "angle_dims": spec.angle_dims}


def _spec_from_dict(values: dict[str, Any]) -> EnvSpec:
    a = values["action"]
    space = Discrete(a["n"]) if "n" in a else Box(tuple(a["low"]), tuple(a["high"]))
    return EnvSpec(values["name"], values["obs_dim"], space, angle_dims=tuple(values["angle_dims"]))


def _report(fitted: Fitted, figure: Path) -> str:
    """The page that says how good the model is."""
    check = fitted.check
    error, baseline = check.overall, check.baseline
    cards = [
        page.card("One-step error", f"{error[0]:.3g} sd", f"nothing changes: {baseline[0]:.3g} sd"),
        page.card("Trusted to", f"{check.trusted_steps} steps", f"of {check.horizon} examined"),
        page.card("Transitions", f"{fitted.num_train:,}", f"and {fitted.num_holdout:,} held out, by whole episodes"),
    ]
    shown = [h for h in (1, 2, 3, 5, 10, 15, 20, 25, 50, 100) if h <= check.horizon]
    rows = [
        (
            h,
            f"{error[h - 1]:.3g}",
            f"{baseline[h - 1]:.3g}",
            percent(check.covered_90[h - 1]),
            f"{check.reward_error[h - 1]:.3g}",
        )
        for h in shown
    ]
    head = ["steps ahead", "model", "nothing changes", "inside 90 % intervals", "reward"]
    settings = [(name, json.dumps(value)) for name, value in to_dict(fitted.config).items()]
    body = [
        f"<header><h1>Model of {page.text(fitted.source)}</h1></header>",
        f'<div class="cards">{"".join(cards)}</div>',
        page.section("Model", page.sentence(fitted.verdict, "verdict"), page.picture("Model check", figure)),
        page.section("Errors in standard deviations of the data", page.table(rows, head)),
        page.section("What the model was told", page.table(fitted.given.items())),
        page.section("Settings", page.table(settings)),
        page.section("Notes", *(page.sentence(note) for note in fitted.notes)) if fitted.notes else "",
    ]
    return page.page(f"Model of {fitted.source}", [part for part in body if part])
