"""Soft actor-critic with a learned temperature (Haarnoja et al. 2018, "Algorithms and Applications", Algorithm 1).

Unlike the paper's, the temperature's loss is linear in the logarithm of the temperature, as in the authors' code.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ..networks.actors import SquashedActor
from ..networks.critics import Critics
from ..networks.policies import SquashedNormalPolicy, to_unit
from ..presets.sac import SACConfig
from ..types import Box, EnvSpec, Metrics, Transition
from .schedule import blended, descended


class SACState(eqx.Module):
    """Everything that learning changes."""

    actor: SquashedActor
    critics: Critics
    targets: Critics  # moving average of the critics
    log_temperature: Float[Array, ""]
    opt_state: dict[str, Any]


class SAC(eqx.Module):
    """Learns from batches of transitions, real or imagined. Critics see actions scaled to [-1, 1]."""

    spec: EnvSpec
    space: Box
    config: SACConfig = eqx.field(static=True)

    def __init__(self, spec: EnvSpec, config: SACConfig):
        """Raises ValueError for Discrete actions and invalid settings."""
        if not isinstance(spec.action, Box):
            raise ValueError(
                f"SAC needs continuous actions; {spec.name} has Discrete({spec.action.n}): take dqn or ppo"
            )
        check(config)
        self.spec, self.space, self.config = spec, spec.action, config

    def init(self, *, key: PRNGKeyArray) -> SACState:
        """First weights; the target critics start as the critics."""
        c, inputs, actions = self.config, self.spec.feature_dim, self.space.feature_dim
        actor_key, critic_key = jr.split(key)
        actor = SquashedActor(inputs, self.space, c.hidden, key=actor_key)
        sizes: Any = {"num_critics": c.num_critics, "layer_norm": c.layer_norm}
        critics = Critics(inputs, actions, c.hidden, **sizes, key=critic_key)
        log_temperature = jnp.log(jnp.asarray(c.initial_temperature, jnp.float32))
        parts = {"actor": actor, "critics": critics, "temperature": log_temperature}
        opt_state = {name: self._optimiser(name).init(eqx.filter(x, eqx.is_inexact_array)) for name, x in parts.items()}
        return SACState(actor, critics, critics, log_temperature, opt_state)

    def _optimiser(self, name: str) -> optax.GradientTransformation:
        c = self.config
        return optax.adam({"actor": c.actor_rate, "critics": c.critic_rate, "temperature": c.temperature_rate}[name])

    def policy(self, state: SACState, obs: Float[Array, "*batch obs"]) -> SquashedNormalPolicy:
        """What to do in each observation."""
        return state.actor(self.spec.features(obs))

    def joined(self, values: Float[Array, "critics *batch"]) -> Float[Array, "*batch"]:
        """The critics' values as one."""
        return jnp.min(values, 0) if self.config.target == "min" else jnp.mean(values, 0)

    def targets(self, state: SACState, batch: Transition, *, key: PRNGKeyArray) -> Float[Array, " batch"]:
        """Soft values of one step (eq. 2 and 3). A terminal step has no future; a truncated one has."""
        c = self.config
        features = self.spec.features(batch.next_obs)
        policy = state.actor(features)
        raw, log_prob = policy.sample_with_log_prob(key=key)
        value = self.joined(state.targets(features, policy.features(raw)))
        value -= jnp.exp(state.log_temperature) * log_prob
        target = batch.reward + c.discount * (1.0 - batch.terminated) * value
        return target if c.target_bounds is None else jnp.clip(target, *c.target_bounds)

    def update(self, state: SACState, batch: Transition, *, key: PRNGKeyArray) -> tuple[SACState, Metrics]:
        """One gradient step each of critics, actor and temperature, on a batch `[batch, ...]`."""
        target_key, actor_key = jr.split(key)
        target = self.targets(state, batch, key=target_key)
        features, action = self.spec.features(batch.obs), to_unit(self.space, batch.action)

        def critic_loss(critics: Critics) -> tuple[Array, Array]:
            values = critics(features, action)
            return 0.5 * jnp.sum(jnp.mean((values - target) ** 2, -1)), jnp.mean(values)

        def actor_loss(actor: SquashedActor) -> tuple[Array, Array]:
            policy = actor(features)
            raw, log_prob = policy.sample_with_log_prob(key=actor_key)
            value = self.joined(critics(features, policy.features(raw)))
            return jnp.mean(jnp.exp(state.log_temperature) * log_prob - value), jnp.mean(log_prob)

        def temperature_loss(log_temperature: Array) -> tuple[Array, None]:
            return -log_temperature * (log_prob + self.target_entropy), None

        opt = dict(state.opt_state)
        step = lambda name, loss, part: descended(loss, self._optimiser(name), part, opt[name])
        critics, opt["critics"], critic_loss_now, value = step("critics", critic_loss, state.critics)
        actor, opt["actor"], actor_loss_now, log_prob = step("actor", actor_loss, state.actor)
        log_temperature = state.log_temperature
        if self.config.learn_temperature:
            log_temperature, opt["temperature"], *_ = step("temperature", temperature_loss, log_temperature)
        metrics = {
            "critic/loss": critic_loss_now,
            "critic/value": value,
            "actor/loss": actor_loss_now,
            "actor/entropy": -log_prob,
            "actor/temperature": jnp.exp(state.log_temperature),
        }
        targets = blended(state.targets, critics, self.config.tau)
        return SACState(actor, critics, targets, log_temperature, opt), metrics
