"""Actors and critics that learn in the imagination of a latent world model, and the parts of their losses."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ..losses.returns import lambda_returns
from ..models.rssm import LatentBelief
from ..models.world_model import WorldModel
from ..networks.heads import ScalarHead
from ..networks.policies import AbstractPolicy, Actor


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
