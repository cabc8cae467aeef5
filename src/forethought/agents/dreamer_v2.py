"""Dreamer v2 (Hafner et al. 2021; settings as in the authors' code).

A world model with categorical latents and balanced divergences; in its imagination an actor learns by REINFORCE
(Discrete actions) or through the model (Box), and a critic against a target network.

As published, a state's value includes the reward for reaching it: the value of a terminal state is its reward, and
what is imagined behind it has no weight.

Deviations from the authors' code:
- an action's advantage is the return of its state less the value of its state, as in the paper (eq. 6); the last
  version of their code takes the return of the next state, which lets rewards behind a terminal state reach the actor;
- weights start as in Dreamer v3, where theirs start by Keras's defaults;
- images are encoded and decoded as in Dreamer v3;
- sequences are drawn uniformly over steps and may run over an episode's end, where the state is reset; theirs lie
  within one episode, and oversample its end on Atari;
- there are no extra gradient steps before the first action, and rewards are not squashed by tanh;
- preset `default` is small, with larger step sizes, for CPUs; `paper-atari` and `paper-dmc` have their sizes.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import AbstractAgent, Additions, Clock, Data, Schedule
from ..learners.actor_critic import Learned, dream, reach_weights, state_returns
from ..learners.optimiser import by_part, clipped_adam
from ..learners.schedule import GradientSteps, descended
from ..models.filtering import FilterMemory
from ..models.world_model import WorldModel
from ..networks.heads import ScalarHead
from ..networks.policies import Actor
from ..presets.dreamer_v2 import DreamerV2Config
from ..replay.sequence import SequenceReplay
from ..types import Box, EnvSpec, Metrics, Sequence


class DreamerV2State(eqx.Module):
    """Everything that learning changes."""

    learned: Learned
    target_critic: ScalarHead
    opt_state: optax.OptState
    steps: Int[Array, ""]  # gradient steps so far


class DreamerV2(AbstractAgent[DreamerV2State, FilterMemory]):
    """Acts from filtered latent states; learns behaviours in imagination. Reward and termination are learned."""

    spec: EnvSpec
    config: DreamerV2Config = eqx.field(static=True)
    gradient_steps: GradientSteps

    def __init__(self, spec: EnvSpec, config: DreamerV2Config | None = None):
        """Raises ValueError for invalid settings."""
        self.spec = spec
        self.config = c = DreamerV2Config() if config is None else config
        if c.actor_gradient not in ("auto", "reinforce", "dynamics"):
            raise ValueError(f"actor_gradient={c.actor_gradient!r} must be auto, reinforce or dynamics")
        self.gradient_steps = GradientSteps.rounds(c.update_every, c.updates, c.batch_size, c.batch_length)
        if c.imagination < 1:
            raise ValueError(f"imagination={c.imagination} must be at least 1")
        if not 0 <= c.imagination_starts <= c.batch_length:
            raise ValueError(f"imagination_starts={c.imagination_starts} must lie in 0..batch_length={c.batch_length}")
        if c.target_every < 1:
            raise ValueError(f"target_every={c.target_every} must be at least 1")

    @property
    def schedule(self) -> Schedule:
        every = self.gradient_steps.update_every
        return Schedule.one_round("model", every, random_steps=self.config.random_steps)

    @property
    def sequence_length(self) -> int:
        return self.config.batch_length

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """One for each of model, actor and critic."""
        c = self.config
        of = lambda rate: clipped_adam(rate, clip=c.clip, eps=1e-5, weight_decay=c.weight_decay)
        return by_part(model=of(c.model_rate), actor=of(c.actor_rate), critic=of(c.critic_rate))

    def data(self, capacity: int, num_envs: int) -> Data:
        return {"env": SequenceReplay.empty(self.spec, max(capacity, 2 * num_envs), num_envs)}

    def init(self, *, key: PRNGKeyArray) -> DreamerV2State:
        c, keys = self.config, jr.split(key, 3)
        model = WorldModel(self.spec, c.model, discount=c.discount, key=keys[0])
        size = model.rssm.feature_dim
        style = {"units": c.model.units, "norm": c.model.norm, "activation": c.model.activation}
        actor = Actor(size, self.spec.action, kind="truncated", layers=c.actor_layers, **style, key=keys[1])
        critic = ScalarHead(size, "normal", layers=c.critic_layers, **style, key=keys[2])
        learned = Learned(model, actor, critic)
        opt_state = self.optimiser.init(eqx.filter(learned, eqx.is_inexact_array))
        target = jax.tree.map(jnp.copy, critic)  # a buffer must not be donated twice
        return DreamerV2State(learned, target, opt_state, jnp.zeros((), jnp.int32))

    def model(self, state: DreamerV2State) -> WorldModel:
        return state.learned.model

    def init_memory(self, state: DreamerV2State) -> FilterMemory:
        return FilterMemory.start(state.learned.model)

    def act(
        self, state: DreamerV2State, memory: FilterMemory, obs: Array, *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Array, FilterMemory, None]:
        see_key, act_key = jr.split(key)
        belief = memory.seen(state.learned.model, obs, key=see_key)
        policy = state.learned.actor(state.learned.model.features(belief)[0])
        action = policy.executed(policy.sample(key=act_key) if explore else policy.mode())
        return action, memory.after(belief, action), None

    def update(
        self, state: DreamerV2State, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[DreamerV2State, Additions, Metrics]:
        def step(state: DreamerV2State, key: PRNGKeyArray) -> tuple[DreamerV2State, Metrics]:
            batch_key, loss_key = jr.split(key)
            batch = data["env"].sequences(self.config.batch_size, self.config.batch_length, key=batch_key)
            loss = lambda learned: self.loss(learned, state.target_critic, batch, key=loss_key)
            learned, opt_state, metrics = descended(loss, self.optimiser, state.learned, state.opt_state)
            steps = state.steps + 1
            copied = steps % self.config.target_every == 0
            choose = lambda new, old: jnp.where(copied, new, old)
            target = jax.tree.map(choose, learned.critic, state.target_critic)
            return DreamerV2State(learned, target, opt_state, steps), metrics

        state, metrics = self.gradient_steps.repeat(step, state, key=key)
        return state, {}, metrics

    def loss(
        self, learned: Learned, target_critic: ScalarHead, batch: Sequence, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        """The sum of the losses of model, actor and critic on a batch `[batch, time, ...]`; none reaches another."""
        c, sg, (model_key, dream_key) = self.config, jax.lax.stop_gradient, jr.split(key)
        model_loss, (beliefs, metrics) = learned.model.loss(batch, key=model_key)
        count = c.imagination_starts or batch.first.shape[1]
        starts = jax.tree.map(lambda x: sg(x)[:, -count:].reshape(-1, x.shape[-1]), beliefs)
        model = sg(learned.model)
        imagined = dream(model, learned.actor, starts, c.imagination, key=dream_key)
        features = imagined.features
        discount = model.discounts(features).at[0].set(c.discount * (1.0 - batch.terminated[:, -count:].reshape(-1)))
        value = target_critic(features).mean()
        returns = state_returns(model.reward_head(features).mean(), discount, value, c.td_lambda)
        weight = sg(reach_weights(discount)[:-1])
        policy = learned.actor(sg(features[:-1]))
        entropy = policy.entropy()
        by_score = c.actor_gradient == "reinforce" or (
            c.actor_gradient == "auto" and not isinstance(self.spec.action, Box)
        )
        objective = returns
        if by_score:
            objective = policy.log_prob(sg(imagined.raw)) * sg(returns - value[:-1])
        actor_loss = -jnp.mean(weight * (objective + c.entropy * entropy))
        critic_loss = jnp.mean(weight * learned.critic(sg(features[:-1])).loss(returns))
        metrics |= {
            "actor/loss": actor_loss,
            "actor/entropy": jnp.mean(entropy),
            "critic/loss": critic_loss,
            "critic/value": jnp.mean(value),
            "dream/return": jnp.mean(returns),
        }
        return model_loss + actor_loss + critic_loss, metrics
