"""Learning a policy and a value from what searches said and how games ended: for AlphaZero and expert iteration."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ..networks.policy_value import PolicyValue
from ..replay.games import GameReplay, Position
from ..types import Metrics
from .schedule import GradientSteps, descended

ValueLoss = Literal["squared", "cross-entropy", "none"]
Symmetries = tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


class Imitator(eqx.Module):
    """A network and its optimiser's state."""

    network: PolicyValue
    opt_state: optax.OptState


def search_loss(network: PolicyValue, batch: Position, value_loss: ValueLoss) -> tuple[Float[Array, ""], Metrics]:
    """Cross-entropy to the searches' policies, and the value's loss where the outcome is known; and metrics.

    `squared` is `(z - v)^2` (Silver et al. 2018, eq. 1); `cross-entropy` takes `(1 + v) / 2` as the probability to win
    (Anthony et al. 2017, sec. 6.1), and needs values in [-1, 1].
    """
    logits, score = network(batch.obs)
    log_probs = jax.nn.log_softmax(logits)
    policy = -jnp.mean(jnp.sum(batch.weights * log_probs, -1))
    weights = jnp.maximum(batch.weights, jnp.finfo(jnp.float32).tiny)
    entropy = -jnp.mean(jnp.sum(batch.weights * jnp.log(weights), -1))
    known = batch.known.astype(jnp.float32)
    metrics = {"policy/loss": policy, "policy/divergence": policy - entropy, "policy/target_entropy": entropy}
    if value_loss == "none":
        return policy, metrics
    outcome = jnp.where(batch.known, batch.value, 0.0)
    square = (outcome - network.value(score)) ** 2
    if value_loss == "squared":
        each = square
    else:
        each = optax.sigmoid_binary_cross_entropy(2 * score, (1 + outcome) / 2)  # tanh x = 2 sigmoid(2 x) - 1
    mean = lambda x: jnp.sum(known * x) / jnp.maximum(jnp.sum(known), 1.0)  # 0 where no game has ended yet
    metrics |= {"value/loss": mean(each), "value/error": mean(square), "value/known": jnp.mean(known)}
    return policy + mean(each), metrics


def mirrored(batch: Position, symmetries: Symmetries, *, key: PRNGKeyArray) -> Position:
    """Each row seen in one of the game's symmetries, the identity among them, each as likely."""
    if not symmetries:
        return batch
    whole = lambda places: jnp.stack([jnp.arange(len(places[0])), *map(jnp.asarray, places)])
    obs_places, action_places = (whole([pair[i] for pair in symmetries]) for i in range(2))
    which = jr.randint(key, batch.value.shape, 0, len(symmetries) + 1)
    obs = jnp.take_along_axis(batch.obs, obs_places[which], -1)
    return Position(obs, jnp.take_along_axis(batch.weights, action_places[which], -1), batch.value, batch.known)


def imitate(
    state: Imitator,
    replay: GameReplay,
    optimiser: optax.GradientTransformation,
    gradient_steps: GradientSteps,
    *,
    batch_size: int,
    value_loss: ValueLoss,
    discount: float,
    symmetries: Symmetries,
    key: PRNGKeyArray,
) -> tuple[Imitator, Metrics]:
    """One round of gradient steps on positions drawn from the replay."""
    outcomes = replay.outcomes(discount)

    def step(state: Imitator, key: PRNGKeyArray) -> tuple[Imitator, Metrics]:
        draw_key, mirror_key = jr.split(key)
        batch = mirrored(replay.positions(outcomes, batch_size, key=draw_key), symmetries, key=mirror_key)
        loss = lambda network: search_loss(network, batch, value_loss)
        network, opt_state, metrics = descended(loss, optimiser, state.network, state.opt_state)
        return Imitator(network, opt_state), metrics

    return gradient_steps.repeat(step, state, key=key)
