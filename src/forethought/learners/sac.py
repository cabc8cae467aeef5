"""Soft actor-critic with a learned temperature (Haarnoja et al. 2018, "Algorithms and Applications", Algorithm 1).

Unlike the paper's, the temperature's loss is linear in the logarithm of the temperature, as in the authors' code.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ..networks.actors import SquashedActor
from ..networks.critics import Critics
from ..networks.policies import SquashedNormalPolicy, to_unit
from ..planners import checks
from ..presets.sac import SACConfig
from ..types import Box, EnvSpec, Metrics, Transition
from .schedule import blended, descended, repeated


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
                f"the learner sac needs continuous actions; those of {spec.name} are discrete: take dqn or ppo, or "
                "pets, which plans"
            )
        c = self.config = config
        checks.settings(
            c,
            whole=("updates_per_step", "batch_size", "num_critics", "hidden"),
            fractions=("discount", "tau"),
            positives=("actor_rate", "critic_rate", "temperature_rate", "initial_temperature"),
        )
        if c.target not in ("min", "mean"):
            raise ValueError(f"target={c.target!r} must be min or mean")
        if c.target_bounds is not None and not c.target_bounds[0] < c.target_bounds[1]:
            raise ValueError(f"target_bounds={c.target_bounds} must be (low, high) with low < high; None: no bounds")
        self.spec, self.space = spec, spec.action

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
        targets = jax.tree.map(lambda x: jnp.copy(x) if eqx.is_array(x) else x, critics)  # no buffer is donated twice
        return SACState(actor, critics, targets, log_temperature, opt_state)

    @property
    def target_entropy(self) -> float:
        """The entropy that the temperature is adjusted to, in nats."""
        return -self.space.feature_dim if self.config.target_entropy is None else self.config.target_entropy

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

        def critic_loss(critics: Critics) -> tuple[Array, Metrics]:
            values = critics(features, action)
            loss = 0.5 * jnp.sum(jnp.mean((values - target) ** 2, -1))
            return loss, {"critic/loss": loss, "critic/value": jnp.mean(values)}

        def actor_loss(actor: SquashedActor) -> tuple[Array, Metrics]:
            policy = actor(features)
            raw, log_prob = policy.sample_with_log_prob(key=actor_key)
            value = self.joined(critics(features, policy.features(raw)))
            loss = jnp.mean(jnp.exp(state.log_temperature) * log_prob - value)
            return loss, {"actor/loss": loss, "actor/entropy": -jnp.mean(log_prob)}

        def temperature_loss(log_temperature: Array) -> tuple[Array, None]:
            return log_temperature * (metrics["actor/entropy"] - self.target_entropy), None

        opt = dict(state.opt_state)
        step = lambda name, loss, part: descended(loss, self._optimiser(name), part, opt[name])
        critics, opt["critics"], metrics = step("critics", critic_loss, state.critics)
        actor, opt["actor"], of_actor = step("actor", actor_loss, state.actor)
        metrics = {**metrics, **of_actor, "actor/temperature": jnp.exp(state.log_temperature)}
        log_temperature = state.log_temperature
        if self.config.learn_temperature:
            log_temperature, opt["temperature"], _ = step("temperature", temperature_loss, log_temperature)
        targets = blended(state.targets, critics, self.config.tau)
        return SACState(actor, critics, targets, log_temperature, opt), metrics

    def updates(
        self,
        state: SACState,
        draw: Callable[[PRNGKeyArray], Transition],
        count: int | None = None,
        *,
        key: PRNGKeyArray,
    ) -> tuple[SACState, Metrics]:
        """`count` updates (None: `updates_per_step`), each on a batch of `draw(key)`; metrics are the means.

        All batches are drawn at once: random numbers cost little more for many than for one.
        """

        def one(state: SACState, drawn: tuple[Transition, PRNGKeyArray]) -> tuple[SACState, Metrics]:
            batch, key = drawn
            return self.update(state, batch, key=key)

        keys = jax.vmap(jr.split)(jr.split(key, self.config.updates_per_step if count is None else count))
        return repeated(one, state, (jax.vmap(draw)(keys[:, 0]), keys[:, 1]))
