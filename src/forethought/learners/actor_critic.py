"""Actors and critics that learn in the imagination of a latent world model, and the parts of their losses."""

import abc
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.stats import norm as gaussian
from jaxtyping import Array, Float, PRNGKeyArray

from ..losses.returns import lambda_returns
from ..models.heads import ScalarHead
from ..models.layers import MLP, ActivationName, NormKind
from ..models.rssm import LatentBelief
from ..models.world_model import WorldModel
from ..types import ActionSpace, Box


class AbstractPolicy(eqx.Module):
    """A distribution over actions. What it draws is `raw`; `executed` makes an action of it."""

    @abc.abstractmethod
    def sample(self, *, key: PRNGKeyArray) -> Array:
        """A raw action; gradients pass through it where the distribution can be re-parameterised."""

    @abc.abstractmethod
    def mode(self) -> Array:
        """The likeliest raw action."""

    @abc.abstractmethod
    def log_prob(self, raw: Array) -> Float[Array, "*batch"]:
        """Log-probability or -density of a raw action."""

    @abc.abstractmethod
    def entropy(self) -> Float[Array, "*batch"]:
        """In nats."""

    @abc.abstractmethod
    def features(self, raw: Array) -> Float[Array, "*batch features"]:
        """A raw action as the world model's network input."""

    @abc.abstractmethod
    def executed(self, raw: Array) -> Array:
        """A raw action as the environment takes it."""


class CategoricalPolicy(AbstractPolicy):
    """One of n actions. A raw action is one-hot, with straight-through gradients."""

    log_probs: Float[Array, "*batch n"]

    def sample(self, *, key: PRNGKeyArray) -> Float[Array, "*batch n"]:
        return self._one_hot(jr.categorical(key, self.log_probs))

    def mode(self) -> Float[Array, "*batch n"]:
        return self._one_hot(jnp.argmax(self.log_probs, -1))

    def _one_hot(self, chosen: Array) -> Float[Array, "*batch n"]:
        probs = jnp.exp(self.log_probs)
        return jax.nn.one_hot(chosen, probs.shape[-1]) + (probs - jax.lax.stop_gradient(probs))

    def log_prob(self, raw: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
        return jnp.sum(jax.lax.stop_gradient(raw) * self.log_probs, -1)

    def entropy(self) -> Float[Array, "*batch"]:
        return -jnp.sum(jnp.exp(self.log_probs) * self.log_probs, -1)

    def features(self, raw: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        return raw

    def executed(self, raw: Float[Array, "*batch n"]) -> Array:
        return jnp.argmax(raw, -1).astype(jnp.int32)


class BoundedNormalPolicy(AbstractPolicy):
    """A diagonal Gaussian with its mean in [-1, 1]. Draws may lie beyond; they are cut where they are used."""

    mean: Float[Array, "*batch action"]
    std: Float[Array, "*batch action"]
    space: Box

    def sample(self, *, key: PRNGKeyArray) -> Array:
        return self.mean + self.std * jr.normal(key, self.mean.shape)

    def mode(self) -> Array:
        return self.mean

    def log_prob(self, raw: Array) -> Float[Array, "*batch"]:
        return jnp.sum(gaussian.logpdf(raw, self.mean, self.std), -1)

    def entropy(self) -> Float[Array, "*batch"]:
        return jnp.sum(jnp.log(self.std) + 0.5 * jnp.log(2 * jnp.pi * jnp.e), -1)

    def features(self, raw: Array) -> Float[Array, "*batch action"]:
        return jnp.clip(raw, -1.0, 1.0)

    def executed(self, raw: Array) -> Array:
        return in_units(self.space, raw)


class TruncatedNormalPolicy(AbstractPolicy):
    """A Gaussian in [-1, 1], cut there and renormalised, re-parameterised by its distribution function (Dreamer v2)."""

    mean: Float[Array, "*batch action"]
    std: Float[Array, "*batch action"]
    space: Box

    def _edges(self) -> tuple[Array, Array]:
        """The bounds in standard deviations from the mean."""
        return (-1.0 - self.mean) / self.std, (1.0 - self.mean) / self.std

    def _mass(self) -> tuple[Array, Array]:
        """The untruncated distribution function at the lower bound, and the mass between the bounds."""
        low, high = self._edges()
        below = gaussian.cdf(low)
        return below, gaussian.cdf(high) - below

    def sample(self, *, key: PRNGKeyArray) -> Array:
        below, mass = self._mass()
        place = below + mass * jr.uniform(key, self.mean.shape, minval=1e-4, maxval=1 - 1e-4)
        return jnp.clip(self.mean + self.std * gaussian.ppf(place), -1.0, 1.0)

    def mode(self) -> Array:
        return self.mean

    def log_prob(self, raw: Array) -> Float[Array, "*batch"]:
        return jnp.sum(gaussian.logpdf(raw, self.mean, self.std) - jnp.log(self._mass()[1]), -1)

    def entropy(self) -> Float[Array, "*batch"]:
        (low, high), mass = self._edges(), self._mass()[1]
        tilt = (low * gaussian.pdf(low) - high * gaussian.pdf(high)) / (2 * mass)
        return jnp.sum(jnp.log(self.std * mass) + 0.5 * jnp.log(2 * jnp.pi * jnp.e) + tilt, -1)

    def features(self, raw: Array) -> Float[Array, "*batch action"]:
        return raw

    def executed(self, raw: Array) -> Array:
        return in_units(self.space, raw)


class TanhNormalPolicy(AbstractPolicy):
    """A Gaussian squashed into [-1, 1] (Dreamer v1). Its mode is taken to be the squashed mean."""

    mean: Float[Array, "*batch action"]
    std: Float[Array, "*batch action"]
    space: Box

    def sample(self, *, key: PRNGKeyArray) -> Array:
        return jnp.tanh(self.mean + self.std * jr.normal(key, self.mean.shape))

    def mode(self) -> Array:
        return jnp.tanh(self.mean)

    def log_prob(self, raw: Array) -> Float[Array, "*batch"]:
        before = jnp.arctanh(jnp.clip(raw, -1 + 1e-6, 1 - 1e-6))
        return jnp.sum(gaussian.logpdf(before, self.mean, self.std) - log_slope(before), -1)

    def entropy(self) -> Float[Array, "*batch"]:
        """By Gauss-Hermite quadrature."""
        points, weight = np.polynomial.hermite_e.hermegauss(32)
        squashed = log_slope(self.mean[..., None] + self.std[..., None] * points) @ (weight / weight.sum())
        return jnp.sum(jnp.log(self.std) + 0.5 * jnp.log(2 * jnp.pi * jnp.e) + squashed, -1)

    def features(self, raw: Array) -> Float[Array, "*batch action"]:
        return raw

    def executed(self, raw: Array) -> Array:
        return in_units(self.space, raw)


def log_slope(x: Array) -> Array:
    """`log(1 - tanh(x)^2)`, without loss of digits far out."""
    return 2 * (jnp.log(2.0) - x - jax.nn.softplus(-2 * x))


Policy = CategoricalPolicy | BoundedNormalPolicy | TruncatedNormalPolicy | TanhNormalPolicy
PolicyKind = Literal["bounded", "truncated", "tanh"]


def in_units(space: Box, unit: Float[Array, "*batch action"]) -> Float[Array, "*batch action"]:
    """Actions in [-1, 1], cut there, in the environment's own units."""
    low, high = jnp.array(space.low), jnp.array(space.high)
    return low + (jnp.clip(unit, -1.0, 1.0) + 1) / 2 * (high - low)


class Actor(eqx.Module):
    """A policy over features: categorical with a share of uniform, or over a Box the Gaussian that `kind` names.

    `bounded` has a standard deviation in [0.1, 1] (Dreamer v3), `truncated` one in [0.1, 2.1] (v2), and `tanh` one that
    is 5 at first and a mean, before squashing, in [-5, 5] (v1).
    """

    network: MLP
    space: ActionSpace
    kind: PolicyKind = eqx.field(static=True)
    unimix: float = eqx.field(static=True)

    def __init__(
        self,
        features: int,
        space: ActionSpace,
        *,
        units: int,
        layers: int,
        norm: NormKind,
        activation: ActivationName,
        kind: PolicyKind = "bounded",
        unimix: float = 0.0,
        key: PRNGKeyArray,
    ):
        """Close to uniform, or to mean 0, at first. Raises ValueError if `unimix` is not a share."""
        if not 0 <= unimix < 1:
            raise ValueError(f"unimix={unimix} must be at least 0 and below 1; 0.01 is usual")
        outputs = 2 * space.feature_dim if isinstance(space, Box) else space.feature_dim
        style: Any = {"norm": norm, "activation": activation}
        self.network = MLP(features, outputs, units=units, layers=layers, **style, out_scale=0.01, key=key)
        self.space, self.kind, self.unimix = space, kind, unimix

    def __call__(self, features: Float[Array, "*batch features"]) -> Policy:
        raw = self.network(features)
        if isinstance(self.space, Box):
            mean, std = jnp.split(raw, 2, -1)
            if self.kind == "bounded":
                return BoundedNormalPolicy(jnp.tanh(mean), 0.1 + 0.9 * jax.nn.sigmoid(std + 2), self.space)
            if self.kind == "truncated":
                return TruncatedNormalPolicy(jnp.tanh(mean), 0.1 + 2 * jax.nn.sigmoid(std / 2), self.space)
            std = jax.nn.softplus(std + jnp.log(jnp.expm1(5.0))) + 1e-4
            return TanhNormalPolicy(5 * jnp.tanh(mean / 5), std, self.space)
        log_probs = jax.nn.log_softmax(raw)
        if self.unimix:
            log_probs = jnp.log((1 - self.unimix) * jnp.exp(log_probs) + self.unimix / raw.shape[-1])
        return CategoricalPolicy(log_probs)


class Dream(NamedTuple):
    """An imagined trajectory; state 0 is where it starts. Leaves `[horizon + 1, starts, ...]`."""

    features: Float[Array, "time starts features"]
    raw: Array  # the raw action chosen in each state, the last one included


def dream(model: WorldModel, actor: Actor, start: LatentBelief, horizon: int, *, key: PRNGKeyArray) -> Dream:
    """`horizon` steps of the actor in the model from every state of `start` `[starts, ...]`.

    Gradients flow from later states to earlier actions, and from these to the actor's weights, not through what it
    saw.
    """

    def choose(belief: LatentBelief, key: PRNGKeyArray) -> tuple[Array, Array, AbstractPolicy]:
        features = model.features(belief)
        policy = actor(jax.lax.stop_gradient(features))
        return features, policy.sample(key=key), policy

    def step(belief: LatentBelief, x: tuple) -> tuple:
        act_key, noise = x
        features, raw, policy = choose(belief, act_key)
        return model.rssm.imagine(belief, policy.features(raw), noise), (features, raw)

    act_key, model_key = jr.split(key)
    act_keys, model_keys = jr.split(act_key, horizon + 1), jr.split(model_key, horizon)
    noise = jax.vmap(lambda k: model.rssm.latent.noise(start.deter.shape[:1], key=k))(model_keys)
    last, steps = jax.lax.scan(step, start, (act_keys[:-1], noise))
    end = choose(last, act_keys[-1])[:2]
    return Dream(*jax.tree.map(lambda xs, x: jnp.concatenate([xs, x[None]]), steps, end))


class Learned(eqx.Module):
    """What the optimiser changes."""

    model: WorldModel
    actor: Actor
    critic: ScalarHead


class ReturnScale(eqx.Module):
    """Moving 5th and 95th percentiles of returns; what advantages are divided by (Dreamer v3)."""

    low: Float[Array, ""]
    high: Float[Array, ""]

    @classmethod
    def start(cls) -> "ReturnScale":
        """Before any return."""
        return cls(jnp.zeros(()), jnp.zeros(()))

    def updated(self, returns: Float[Array, "*batch"], rate: float) -> "ReturnScale":
        """Moved by `rate` towards the percentiles of `returns`."""
        low, high = jnp.percentile(returns, jnp.array([5.0, 95.0]))
        return ReturnScale(self.low + rate * (low - self.low), self.high + rate * (high - self.high))

    @property
    def scale(self) -> Float[Array, ""]:
        """Their distance, at least 1: small returns are not blown up."""
        return jnp.maximum(self.high - self.low, 1.0)


def dream_weights(discount: Float[Array, "time starts"]) -> Float[Array, "time starts"]:
    """How much each imagined state counts: the probability, discounted, that the episode reached it and went on.

    `discount` is that of each state, its own included, so a terminal start counts for nothing (Dreamer v3).
    """
    return jnp.cumprod(discount, 0)


def reach_weights(discount: Float[Array, "time starts"]) -> Float[Array, "time starts"]:
    """The probability, discounted, that the episode reached each imagined state: 1 at the start (Dreamer v1, v2).

    For values that include the state's own reward, as `state_returns` are: a terminal state still counts, with that
    reward alone, and what is imagined behind it does not.
    """
    return jnp.concatenate([jnp.ones_like(discount[:1]), jnp.cumprod(discount[:-1], 0)])


def dream_returns(
    reward: Float[Array, "time starts"],
    discount: Float[Array, "time starts"],
    value: Float[Array, "time starts"],
    lambda_: float,
) -> Float[Array, "time_m1 starts"]:
    """Lambda returns of all states but the last. Arguments are of states: the reward for reaching it, the discount
    of what comes after it, its value."""
    return lambda_returns(reward[1:], discount[1:], value[1:], lambda_)


def state_returns(
    reward: Float[Array, "time starts"],
    discount: Float[Array, "time starts"],
    value: Float[Array, "time starts"],
    lambda_: float,
) -> Float[Array, "time_m1 starts"]:
    """Lambda returns of all states but the last, each with the reward for reaching the state itself (Hafner et al.
    2021, eq. 4). Arguments are of states, as those of `dream_returns`; a terminal state's return is its reward.
    """
    return lambda_returns(reward[:-1], discount[:-1], value[1:], lambda_)


def blended(slow, fast, rate: float):
    """`slow` moved by `rate` towards `fast`, weight by weight."""
    mix = lambda s, f: s + rate * (f - s) if eqx.is_inexact_array(s) else s
    return jax.tree.map(mix, slow, fast)
