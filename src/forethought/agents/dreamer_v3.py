"""Dreamer v3 (Hafner et al. 2023; settings as in the authors' code since 2024).

A recurrent state-space model with categorical latents is learned from replayed sequences; an actor and a critic learn
in what it imagines from every state of those sequences. One optimiser serves all losses.

Deviations from the authors' code:
- replayed sequences start from the zero state, where theirs start from stored latents, refreshed after every update;
- sequences are drawn uniformly, without a queue that guarantees that the newest are seen once;
- the first actions are uniform (`random_steps`), where theirs come from the untrained actor;
- the policy over discrete actions is mixed with 1 % uniform, as the paper says (their code sets it, but for latents
  only applies it);
- evaluation takes the actor's likeliest action, where theirs samples;
- images whose sides cannot be halved down to 3 or 4 get fewer layers (`networks/conv.py`);
- presets other than `1m` to `400m` are small, for CPUs, with larger step sizes, one for the model and one for actor and
  critic, more weight on the entropy, and more on reconstruction where a task's numbers are small; their dreams begin in
  the last states of each sequence only, and some read small images with dense layers.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ..core import AbstractAgent, AbstractSequenceReplay, Additions, Clock, Data, Schedule
from ..learners.actor_critic import Learned, ReturnScale, dream, dream_returns, dream_weights
from ..learners.optimiser import by_part, dreamer_optimiser
from ..learners.schedule import GradientSteps, blended, descended
from ..losses.returns import lambda_returns
from ..models.filtering import FilterMemory
from ..models.world_model import WorldModel
from ..networks.heads import Scalar, ScalarHead
from ..networks.policies import Actor
from ..presets.dreamer_v3 import DreamerV3Config
from ..replay.sequence import SequenceReplay
from ..types import EnvSpec, Metrics, Sequence


class DreamerV3State(eqx.Module):
    """Everything that learning changes."""

    learned: Learned
    slow_critic: ScalarHead
    return_scale: ReturnScale
    opt_state: optax.OptState


class DreamerV3(AbstractAgent[DreamerV3State, FilterMemory]):
    """Acts from filtered latent states; learns behaviours in imagination. Reward and termination are learned."""

    spec: EnvSpec
    config: DreamerV3Config = eqx.field(static=True)
    gradient_steps: GradientSteps

    def __init__(self, spec: EnvSpec, config: DreamerV3Config | None = None):
        """Raises ValueError for sizes that clash."""
        self.spec = spec
        self.config = c = DreamerV3Config() if config is None else config
        self.gradient_steps = GradientSteps.of(c.train_ratio, c.batch_size, c.batch_length, spec.action_repeat)
        if not 1 < c.horizon < float("inf"):
            raise ValueError(f"horizon={c.horizon} must be above 1 step")

    @property
    def schedule(self) -> Schedule:
        every = self.gradient_steps.update_every
        return Schedule.one_round("model", every, random_steps=self.config.random_steps)

    @property
    def sequence_length(self) -> int:
        return self.config.batch_length

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """One for all losses, unless actor and critic have a step size of their own."""
        c = self.config
        of = lambda rate: dreamer_optimiser(rate, warmup=c.warmup, clip=c.clip)
        behaviour = c.learning_rate if c.behaviour_rate is None else c.behaviour_rate
        return by_part(model=of(c.learning_rate), actor=of(behaviour), critic=of(behaviour))

    def data(self, capacity: int, num_envs: int) -> Data:
        return {"env": SequenceReplay.empty(self.spec, max(capacity, 2 * num_envs), num_envs)}

    def init(self, *, key: PRNGKeyArray) -> DreamerV3State:
        c, keys = self.config, jr.split(key, 3)
        model = WorldModel(self.spec, c.model, discount=1 - 1 / c.horizon, key=keys[0])
        style: Any = {"norm": c.model.norm, "activation": c.model.activation}
        size = model.rssm.feature_dim
        actor = Actor(
            size,
            self.spec.action,
            units=c.model.units,
            layers=c.actor_layers,
            unimix=c.actor_unimix,
            **style,
            key=keys[1],
        )
        critic = ScalarHead(size, "two-hot", units=c.model.units, layers=c.critic_layers, **style, key=keys[2])
        learned = Learned(model, actor, critic)
        slow = jax.tree.map(jnp.copy, critic)  # a buffer must not be donated twice
        opt_state = self.optimiser.init(eqx.filter(learned, eqx.is_inexact_array))
        return DreamerV3State(learned, slow, ReturnScale.start(), opt_state)

    def model(self, state: DreamerV3State) -> WorldModel:
        return state.learned.model

    def init_memory(self, state: DreamerV3State) -> FilterMemory:
        return FilterMemory.start(state.learned.model)

    def act(
        self, state: DreamerV3State, memory: FilterMemory, obs: Array, *, key: PRNGKeyArray, explore: bool
    ) -> tuple[Array, FilterMemory, None]:
        see_key, act_key = jr.split(key)
        model = state.learned.model
        belief = memory.seen(model, obs, key=see_key)
        policy = state.learned.actor(model.features(belief)[0])
        action = policy.executed(policy.sample(key=act_key) if explore else policy.mode())
        return action, memory.after(belief, action), None

    def update(
        self, state: DreamerV3State, data: Data, *, round: str, clock: Clock, key: PRNGKeyArray
    ) -> tuple[DreamerV3State, Additions, Metrics]:
        """As many gradient steps as the schedule asks for."""
        step = lambda s, k: self._gradient_step(s, data["env"], key=k)
        state, metrics = self.gradient_steps.repeat(step, state, key=key)
        return state, {}, metrics

    def _gradient_step(
        self, state: DreamerV3State, replay: AbstractSequenceReplay, *, key: PRNGKeyArray
    ) -> tuple[DreamerV3State, Metrics]:
        batch_key, loss_key = jr.split(key)
        batch = replay.sequences(self.config.batch_size, self.config.batch_length, key=batch_key)
        loss = lambda learned: self.loss(learned, state, batch, key=loss_key)
        learned, opt_state, (scale, metrics) = descended(loss, self.optimiser, state.learned, state.opt_state)
        slow = blended(state.slow_critic, learned.critic, self.config.slow_rate)
        return DreamerV3State(learned, slow, scale, opt_state), metrics

    def loss(
        self, learned: Learned, state: DreamerV3State, batch: Sequence, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], tuple[ReturnScale, Metrics]]:
        """The sum of all losses on a batch `[batch, time, ...]`; the return scale moved on, and metrics.

        The actor's loss and the critic's loss in imagination change actor and critic only; the critic's loss on
        replayed states also reaches the model.
        """
        c, (model_key, dream_key) = self.config, jr.split(key)
        model_loss, (beliefs, metrics) = learned.model.loss(batch, key=model_key)
        # Imagination, from the last states of every sequence.
        sg, count = jax.lax.stop_gradient, c.imagination_starts or batch.first.shape[1]
        latest = jax.tree.map(lambda x: x[:, -count:], beliefs)
        starts = jax.tree.map(lambda x: sg(x).reshape(-1, x.shape[-1]), latest)
        model = sg(learned.model)
        imagined = sg(dream(model, sg(learned.actor), starts, c.imagination, key=dream_key))
        features, said = imagined.features, learned.critic(imagined.features)
        discount, value = model.discounts(features), sg(said.mean())
        returns = dream_returns(model.reward_head(features).mean(), discount, value, c.td_lambda)
        weight = dream_weights(discount)[:-1]
        scale = state.return_scale.updated(returns, c.return_rate)
        # Actor: REINFORCE, whatever the actions.
        policy = learned.actor(features[:-1])
        advantage = (returns - value[:-1]) / scale.scale
        entropy = policy.entropy()
        actor_loss = -jnp.mean(weight * (policy.log_prob(imagined.raw) * advantage + c.entropy * entropy))

        def critic_loss(said: Scalar, features: Array, target: Array, weight: Array) -> Float[Array, ""]:
            """Of all states but the last."""
            said, features = jax.tree.map(lambda x: x[:-1], (said, sg(features)))
            slow = state.slow_critic(features).mean()
            return jnp.mean(weight * (said.loss(target) + c.slow_weight * said.loss(slow)))

        imagined_loss = critic_loss(said, features, returns, weight)
        # Critic on replayed states: their returns bootstrap from what was imagined from each of them.
        along = lambda x: jnp.moveaxis(x[:, -count:], 1, 0)
        boot = along(returns[0].reshape(-1, count))
        going = along(~(batch.terminated | batch.truncated))
        live = (1 - 1 / c.horizon) * along(~batch.terminated)
        replayed = lambda_returns(along(batch.reward)[1:], live[1:], boot[1:], c.td_lambda * going[1:])
        seen = along(learned.model.features(beliefs))
        replay_loss = critic_loss(learned.critic(seen), seen, replayed, going[:-1])
        metrics |= {
            "actor/loss": actor_loss,
            "actor/entropy": jnp.mean(entropy),
            "critic/loss": imagined_loss,
            "critic/replay_loss": replay_loss,
            "critic/value": jnp.mean(value),
            "dream/return": jnp.mean(returns),
            "dream/return_scale": scale.scale,
        }
        total = model_loss + actor_loss + imagined_loss + c.replay_value_weight * replay_loss
        return total, (scale, metrics)
