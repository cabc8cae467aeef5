"""Fitting a model by gradient steps, with fixed shapes: one compilation serves a growing data set."""

import abc
from typing import Any, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .core import AbstractLearner, AbstractModel
from .types import Metrics, Transition

HOLDOUT_CHUNK = 256  # held-out rows that are judged at once


class AbstractFittable(AbstractModel):
    """What `GradientLearner` needs of a model made of `num_members` networks (1 for a single one)."""

    num_members: eqx.AbstractVar[int]

    @abc.abstractmethod
    def normalised(self, data: Transition, mask: Bool[Array, " n"]) -> Self:
        """With statistics refitted to the rows of `data` where `mask`."""

    @abc.abstractmethod
    def examples(self, data: Transition) -> PyTree:
        """What the losses are computed from, leaves `[*batch, ...]`: worked out once, before the gradient steps."""

    @abc.abstractmethod
    def losses(self, batch: PyTree) -> tuple[Float[Array, " members"], Float[Array, " members"]]:
        """Training loss and squared error per member on examples, leaves `[members, n, ...]`."""

    @abc.abstractmethod
    def regulariser(self) -> Float[Array, ""]:
        """What is added to the sum of the losses."""

    @abc.abstractmethod
    def keep(self, better: Bool[Array, " members"], other: Self) -> Self:
        """With this model's networks where `better`, and those of `other` elsewhere."""

    @abc.abstractmethod
    def with_elites(self, error: Float[Array, " members"]) -> Self:
        """With the members of smallest holdout `error` chosen to predict."""


class Split(eqx.Module):
    """Rows of a replay in random order: `rows[:num_holdout]` held out, the next `num_train` to train on."""

    rows: Int[Array, " capacity"]
    num_holdout: Int[Array, ""]
    num_train: Int[Array, ""]


class GradientLearner(AbstractLearner):
    """An ensemble and its Adam state. `fit` goes on from the last weights (warm start).

    Each call draws a new bootstrap resample per member and takes `epochs` passes over it in shuffled minibatches
    (the last one of a pass wraps round to keep its shape), or, with a holdout, stops once `patience` passes have
    not lowered the holdout error by `improvement` of itself and returns each member's best weights.
    """

    model: AbstractFittable
    opt_state: Any
    learning_rate: float = eqx.field(static=True)
    epochs: int = eqx.field(static=True)
    min_steps: int = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    holdout_ratio: float = eqx.field(static=True)
    max_holdout: int = eqx.field(static=True)
    patience: int = eqx.field(static=True)
    improvement: float = eqx.field(static=True)
    bootstrap: bool = eqx.field(static=True)
    data_noise: float = eqx.field(static=True)
    new_fraction: float | None = eqx.field(static=True)
    old_rows: int = eqx.field(static=True)

    def __init__(
        self,
        model: AbstractFittable,
        *,
        learning_rate: float = 1e-3,
        epochs: int = 5,
        min_steps: int = 0,
        batch_size: int = 32,
        holdout_ratio: float = 0.0,
        max_holdout: int = 5000,
        patience: int = 5,
        improvement: float = 0.01,
        bootstrap: bool = True,
        data_noise: float = 0.0,
        new_fraction: float | None = None,
        old_rows: int = 0,
    ):
        """`min_steps` raises the number of passes while data are few.

        `data_noise` is the standard deviation of the noise put on observations, continuous actions and changes of the
        observation at each fit, in standard deviations of the data. `new_fraction` is the share, among the rows trained
        on, of those added after the first `old_rows` ever, once there are any; None takes rows as they are.
        Raises ValueError for invalid sizes.
        """
        for name, value in {"epochs": epochs, "batch_size": batch_size, "patience": patience}.items():
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if not 0 < learning_rate < float("inf"):
            raise ValueError(f"learning_rate={learning_rate} must be above 0")
        if min_steps < 0:
            raise ValueError(f"min_steps={min_steps} must be at least 0")
        if not 0 <= holdout_ratio < 1:
            raise ValueError(f"holdout_ratio={holdout_ratio} must be at least 0 and below 1; 0.1 is usual")
        if not 0 <= data_noise < float("inf"):
            raise ValueError(f"data_noise={data_noise} must be at least 0")
        if new_fraction is not None and not 0 < new_fraction < 1:
            raise ValueError(f"new_fraction={new_fraction} must be above 0 and below 1; 0.9 is usual")
        self.model = model
        self.data_noise, self.new_fraction, self.old_rows = data_noise, new_fraction, old_rows
        self.learning_rate, self.epochs, self.min_steps = learning_rate, epochs, min_steps
        self.batch_size, self.holdout_ratio, self.max_holdout = batch_size, holdout_ratio, max_holdout
        self.patience, self.improvement, self.bootstrap = patience, improvement, bootstrap
        self.opt_state = self.optimiser.init(eqx.filter(model, eqx.is_inexact_array))

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam, as every paper here uses."""
        return adam(self.learning_rate)

    def fit(self, replay, *, key: PRNGKeyArray) -> tuple[Self, Metrics]:
        split_key, boot_key, pass_key = jr.split(key, 3)
        data, mask = replay.rows()
        split = split_rows(mask, self.holdout_ratio, self.max_holdout, key=split_key)
        model = self.model.normalised(data, mask)
        if self.data_noise:
            data = _with_noise(data, mask, self.data_noise, key=jr.fold_in(key, 3))
        examples = model.examples(data)
        rows = self._resample(split, replay.numbers(), key=boot_key)
        none, zero = jnp.full(model.num_members, jnp.inf), jnp.zeros((), jnp.int32)
        start = _Pass(model, self.opt_state, model, none, zero, zero, zero, jnp.zeros(()))
        passes = jnp.ceil(self.min_steps / self._steps_per_pass(split)).astype(jnp.int32)
        limit = jnp.maximum(self.epochs, passes)

        def passes(start: _Pass, examples: PyTree, rows: Array, split: Split, limit: Array, key: Array) -> _Pass:
            go_on = lambda state: (state.epoch < limit) & (state.stale < self.patience)
            on = lambda state: self._one_pass(state, examples, rows, split, key=jr.fold_in(key, state.epoch))
            return _while(go_on, on, start)

        end = _in_turn(passes, start, examples, rows, split, limit, pass_key)
        model = end.model
        if self.holdout_ratio:
            model = end.best.with_elites(end.best_error)
        metrics = {
            "model/loss": end.loss,
            "model/epochs": end.epoch.astype(jnp.float32),
            "model/steps": end.steps.astype(jnp.float32),
            "model/holdout_mse": jnp.mean(end.best_error) if self.holdout_ratio else jnp.array(jnp.nan),
        }
        if not self.holdout_ratio:
            del metrics["model/holdout_mse"]
        return eqx.tree_at(lambda s: (s.model, s.opt_state), self, (model, end.opt_state)), metrics

    @property
    def _resamples(self) -> bool:
        """Whether each member draws the rows that it is trained on."""
        return self.new_fraction is not None or (self.bootstrap and self.model.num_members > 1)

    def _steps_per_pass(self, split: Split) -> Int[Array, ""]:
        return jnp.maximum((split.num_train + self.batch_size - 1) // self.batch_size, 1)

    def _resample(
        self, split: Split, numbers: Int[Array, " capacity"], *, key: PRNGKeyArray
    ) -> Int[Array, "members capacity"]:
        """Rows to train on per member: positions below `num_train` hold a bootstrap resample."""
        shape = (self.model.num_members, split.rows.shape[0])
        if self.new_fraction is not None:
            pick = self._mixed(split, self.new_fraction, numbers >= self.old_rows, jr.uniform(key, shape))
        elif self._resamples:
            pick = jr.randint(key, shape, 0, jnp.maximum(split.num_train, 1))
        else:
            pick = jnp.broadcast_to(jnp.arange(shape[1]), shape)
        return split.rows[jnp.minimum(split.num_holdout + pick, shape[1] - 1)]

    def _mixed(
        self, split: Split, fraction: float, is_new: Bool[Array, " capacity"], draw: Float[Array, "members capacity"]
    ) -> Int[Array, "members capacity"]:
        """Positions among the training rows such that a share of `fraction` is new."""
        place = jnp.arange(split.rows.shape[0])
        rows = jnp.roll(split.rows, -split.num_holdout)
        train = place < split.num_train
        new, old = train & is_new[rows], train & ~is_new[rows]
        share = jnp.where(jnp.any(new) & jnp.any(old), fraction, jnp.mean(new) / jnp.maximum(jnp.mean(train), 1e-9))
        weight = new * share / jnp.maximum(jnp.sum(new), 1) + old * (1 - share) / jnp.maximum(jnp.sum(old), 1)
        total = jnp.cumsum(weight)
        return jnp.clip(jnp.searchsorted(total, draw * total[-1], side="right"), 0, split.num_train - 1)

    def _one_pass(self, state: "_Pass", examples: PyTree, rows: Array, split: Split, *, key: PRNGKeyArray) -> "_Pass":
        """One shuffled pass over every member's resample, then the holdout error."""
        last = jnp.arange(rows.shape[1]) >= split.num_train
        # Members that draw their own rows can share one order: sorting for each would be a fifth of a fit.
        shape = (1, rows.shape[1]) if self._resamples else rows.shape
        order = jnp.argsort(jr.uniform(key, shape) + last, axis=1)
        rows = jnp.take_along_axis(rows, order, 1)
        steps = self._steps_per_pass(split)

        def body(i, carry):
            model, opt_state, total = carry
            at = (i * self.batch_size + jnp.arange(self.batch_size)) % jnp.maximum(split.num_train, 1)
            batch = jax.tree.map(lambda x: x[rows[:, at]], examples)
            model, opt_state, loss = self._step(model, opt_state, batch)
            return model, opt_state, total + loss

        model, opt_state, total = _fori(steps, body, (state.model, state.opt_state, jnp.zeros(())))
        state = eqx.tree_at(
            lambda s: (s.model, s.opt_state, s.epoch, s.steps, s.loss),
            state,
            (model, opt_state, state.epoch + 1, state.steps + steps, total / steps),
        )
        return self._judge(state, examples, split) if self.holdout_ratio else state

    def _step(self, model, opt_state, batch: PyTree):
        def objective(model):
            losses, _ = model.losses(batch)
            return jnp.sum(losses) + model.regulariser(), jnp.mean(losses)

        (_, loss), grads = eqx.filter_value_and_grad(objective, has_aux=True)(model)
        updates, opt_state = self.optimiser.update(grads, opt_state, eqx.filter(model, eqx.is_inexact_array))
        return eqx.apply_updates(model, updates), opt_state, loss

    def _judge(self, state: "_Pass", examples: PyTree, split: Split) -> "_Pass":
        """Keep each member's best weights by holdout error, and count passes without improvement."""
        error = self.holdout_error(state.model, examples, split)
        better = error < state.best_error * (1 - self.improvement)
        best = state.model.keep(better, state.best)
        stale = jnp.where(jnp.any(better), 0, state.stale + 1)
        return eqx.tree_at(
            lambda s: (s.best, s.best_error, s.stale), state, (best, jnp.where(better, error, state.best_error), stale)
        )

    def holdout_error(self, model: AbstractFittable, examples: PyTree, split: Split) -> Float[Array, " members"]:
        """Mean squared error per member on the held-out rows, in normalised units."""
        most = max(1, min(self.max_holdout, int(self.holdout_ratio * split.rows.shape[0]) + 1))
        chunk = min(most, HOLDOUT_CHUNK)

        def one(row, weight):
            batch = jax.tree.map(lambda x: jnp.broadcast_to(x[row], (model.num_members, 1, *x.shape[1:])), examples)
            return jnp.where(weight > 0, model.losses(batch)[1], 0.0)

        def of_chunk(i, total):
            place = i * chunk + jnp.arange(chunk)
            # Per-row errors by vmap become one batched product per layer.
            error = jax.vmap(one)(split.rows[place], (place < split.num_holdout).astype(jnp.float32))
            return total + jnp.sum(error, 0)

        # Few held-out rows of a large replay are a chunk or two, whatever its capacity.
        chunks = (split.num_holdout + chunk - 1) // chunk
        total = jax.lax.fori_loop(0, chunks, of_chunk, jnp.zeros(model.num_members))
        return total / jnp.maximum(split.num_holdout, 1)


class AdamState(NamedTuple):
    """Averages of the gradient and of its square, and the steps taken."""

    mean: Any
    square: Any
    count: Int[Array, ""]


def adam(learning_rate: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    """Adam in the order of Kingma & Ba 2015, end of Sec. 2: bias is corrected in the step size, not per weight.

    As in TensorFlow, and so in the code of PETS, `eps` is added before the correction. Three divisions per weight
    fewer than `optax.adam`.
    """

    def init(params: Any) -> AdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return AdamState(zeros, zeros, jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, AdamState]:
        count = state.count + 1
        step = learning_rate * jnp.sqrt(1 - b2**count) / (1 - b1**count)
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, updates)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, state.square, updates)
        change = jax.tree.map(lambda m, v: -step * m / (jnp.sqrt(v) + eps), mean, square)
        return change, AdamState(mean, square, count)

    return optax.GradientTransformation(init, update)


class _Pass(eqx.Module):
    """What is carried from pass to pass of a fit."""

    model: AbstractFittable
    opt_state: Any
    best: AbstractFittable
    best_error: Float[Array, " members"]
    stale: Int[Array, ""]
    epoch: Int[Array, ""]
    steps: Int[Array, ""]
    loss: Float[Array, ""]


def _with_noise(data: Transition, mask: Bool[Array, " n"], scale: float, *, key: PRNGKeyArray) -> Transition:
    """`data` with Gaussian noise on observations, continuous actions and, independently, changes of the observation."""
    obs_key, change_key = jr.split(key)

    def std(x: Array) -> Array:
        return jnp.std(x, 0, where=mask[:, None])

    obs_noise = scale * std(data.obs) * jr.normal(obs_key, data.obs.shape)
    change_noise = scale * std(data.next_obs - data.obs) * jr.normal(change_key, data.obs.shape)
    action = data.action
    if jnp.issubdtype(action.dtype, jnp.inexact):
        action = action + scale * std(action) * jr.normal(jr.fold_in(obs_key, 1), action.shape)
    noisy = (data.obs + obs_noise, action, data.next_obs + obs_noise + change_noise)
    return eqx.tree_at(lambda d: (d.obs, d.action, d.next_obs), data, noisy)


def split_rows(in_use: Bool[Array, " capacity"], ratio: float, most: int, *, key: PRNGKeyArray) -> Split:
    """A fresh random split of the rows in use: `ratio` of them (rounded up, at most `most`) are held out."""
    order = jnp.argsort(jr.uniform(key, in_use.shape) + ~in_use)
    size = jnp.sum(in_use)
    # At least one where a ratio is asked for: without any, the first pass would look perfect and be kept.
    holdout = jnp.minimum(jnp.ceil(size * ratio).astype(jnp.int32), jnp.clip(size - 1, 0, most))
    return Split(order, holdout, size.astype(jnp.int32) - holdout)


def _in_turn(function, first, *others):
    """`function(first, *others)`, which has the structure of `first`; under `vmap`, on a CPU, one call after another.

    There a fit fills a core. Side by side, each would take as many passes as the longest, and leave the caches.
    """
    arrays, static = eqx.partition((first, *others), eqx.is_array)
    traced = lambda arrays: eqx.filter(function(*eqx.combine(arrays, static)), eqx.is_array)
    if jax.default_backend() == "cpu":
        traced = jax.custom_batching.sequential_vmap(traced)
    return eqx.combine(traced(arrays), static[0])


def _fori(num_steps: Int[Array, ""], body, carry):
    """`fori_loop` over a PyTree with static leaves."""
    dynamic, static = eqx.partition(carry, eqx.is_array)
    step = lambda i, d: eqx.filter(body(i, eqx.combine(d, static)), eqx.is_array)
    return eqx.combine(jax.lax.fori_loop(0, num_steps, step, dynamic), static)


def _while(go_on, body, carry):
    """`while_loop` over a PyTree with static leaves."""
    dynamic, static = eqx.partition(carry, eqx.is_array)
    step = lambda d: eqx.filter(body(eqx.combine(d, static)), eqx.is_array)
    return eqx.combine(jax.lax.while_loop(lambda d: go_on(eqx.combine(d, static)), step, dynamic), static)
