"""What `latent_ablations.py` measures: how good imagined futures are of a task that needs memory and chance."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray

from forethought.envs.partial import NoVelocity
from forethought.envs.pendulum_wind import PendulumWind
from forethought.models.world_model import WorldModel
from forethought.replay.sequence import SequenceReplay
from forethought.types import Sequence, Transition

ENV = NoVelocity(PendulumWind())
HOLD = 10  # mean steps for which a random torque is held
CONTEXT, HORIZON, DRAWS = 20, 30, 32


# ---- data


class Episodes(eqx.Module):
    """What happened, `[episodes, time]`, and the true states before each step."""

    rows: Transition
    states: Any


def collected(count: int, *, key: PRNGKeyArray) -> Episodes:
    """Episodes under uniform torques, each kept on with probability 1 - 1 / HOLD a step, whatever is seen."""
    space, limit = ENV.spec.action, ENV.spec.max_episode_steps

    def step(carry: tuple, key: PRNGKeyArray) -> tuple:
        state, obs, action = carry
        new_key, action_key, step_key = jr.split(key, 3)
        action = jnp.where(jr.bernoulli(new_key, 1 / HOLD), space.sample(key=action_key), action)
        later, next_obs, reward, terminated, truncated = ENV.step(state, action, key=step_key)
        return (later, next_obs, action), (Transition(obs, action, reward, next_obs, terminated, truncated), state)

    def episode(key: PRNGKeyArray) -> Episodes:
        reset_key, action_key, step_key = jr.split(key, 3)
        start = (*ENV.reset(key=reset_key), space.sample(key=action_key))
        return Episodes(*jax.lax.scan(step, start, jr.split(step_key, limit))[1])

    return jax.jit(jax.vmap(episode))(jr.split(key, count))


def replay_of(rows: Transition) -> SequenceReplay:
    """The episodes `[episodes, time]`, each in a ring of its own."""
    episodes, steps = rows.reward.shape
    empty = SequenceReplay.empty(ENV.spec, episodes * (steps + 1), episodes)
    along = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), rows)
    return jax.jit(lambda rows: jax.lax.scan(lambda replay, row: (replay.add(row), None), empty, rows)[0])(along)


def windows(rows: Transition) -> Sequence:
    """Stretches `[windows, CONTEXT + HORIZON]` of steps, one behind the other and none over an episode's end."""
    length = CONTEXT + HORIZON
    opened = lambda first, later: jnp.concatenate([first, later], 1)
    zero = lambda x: jnp.zeros_like(x[:, :1])
    steps = Sequence(
        opened(rows.obs[:, :1], rows.next_obs),
        opened(zero(rows.action), rows.action),
        opened(zero(rows.reward), rows.reward),
        opened(~zero(rows.terminated), jnp.zeros_like(rows.terminated)),
        opened(zero(rows.terminated), rows.terminated),
        opened(zero(rows.truncated), rows.truncated),
    )
    many = steps.reward.shape[1] // length
    cut = lambda x: x[:, : many * length].reshape(-1, length, *x.shape[2:])
    return jax.tree.map(cut, steps)


# ---- measures


def squared_error(draws: Array, truth: Array) -> Array:
    """Squared error `[*batch]` of the mean of `draws` `[draws, *batch]` against `truth` `[*batch]`."""
    return (draws.mean(0) - truth) ** 2


def energy_score(draws: Array, truth: Array) -> Array:
    """E|X - y| - E|X - X'| / 2 of `draws` X, X' `[draws, *batch, dims]` and the truth y `[*batch, dims]`; `[*batch]`.

    Lower is better (Gneiting & Raftery 2007, Sec. 4.3). Pairs are of two different draws, so that its expectation does
    not depend on how many there are.
    """
    norm = lambda x: jnp.sqrt(jnp.sum(x**2, -1))
    count = len(draws)
    turned = lambda k: norm(draws - jnp.roll(draws, k, 0)).mean(0)  # draw i against draw i - k
    between = jax.lax.map(turned, jnp.arange(1, count)).sum(0) / max(count - 1, 1)
    return norm(draws - truth).mean(0) - between / 2


@eqx.filter_jit
def futures(model: WorldModel, steps: Sequence, *, key: PRNGKeyArray) -> tuple[Array, Array]:
    """Imagined observations `[DRAWS, windows, HORIZON, obs]` and rewards `[DRAWS, windows, HORIZON]`.

    CONTEXT steps of each window are filtered from nothing; what follows is imagined under the actions really taken.

    Observations are the decoder's means of drawn latents, without its own fixed spread; rewards are expected ones.
    """
    filter_key, key = jr.split(key)
    many = lambda x: jnp.tile(x[:, :CONTEXT], (DRAWS, *(1 for _ in x.shape[1:])))
    first = jnp.zeros_like(steps.first).at[:, 0].set(True)
    inputs = (many(model.action_features(steps.action)), many(model.encoder(steps.obs)), many(first))
    beliefs, _ = model.rssm.scan(*inputs, key=filter_key)
    belief = jax.tree.map(lambda x: x[:, -1].reshape(DRAWS, -1, x.shape[-1]), beliefs)
    action = jnp.moveaxis(steps.action[:, CONTEXT:], 1, 0)

    def step(belief: Any, x: tuple) -> tuple:
        action, key = x
        belief, prediction = model.step(belief, jnp.broadcast_to(action, (DRAWS, *action.shape)), key=key)
        return belief, (model.observation(belief).mean(), prediction.reward)

    _, (obs, reward) = jax.lax.scan(step, belief, (action, jr.split(key, HORIZON)))
    return jnp.moveaxis(obs, 0, 2), jnp.moveaxis(reward, 0, 2)


@jax.jit
def true_futures(steps: Sequence, states: Any, *, key: PRNGKeyArray) -> tuple[Array, Array]:
    """As `futures`, of the true dynamics from the true `states` `[windows]` at the end of the context."""

    def future(state: Any, action: Array, key: PRNGKeyArray) -> tuple:
        def step(state: Any, x: tuple) -> tuple:
            state, obs, reward, _, _ = ENV.step(state, x[0], key=x[1])
            return state, (obs, reward)

        return jax.lax.scan(step, state, (action, jr.split(key, HORIZON)))[1]

    keys = jr.split(key, (DRAWS, len(steps.reward)))
    return jax.vmap(jax.vmap(future), (None, None, 0))(states, steps.action[:, CONTEXT:], keys)


def nothing_changes(steps: Sequence) -> tuple[Array, Array]:
    """As `futures`: the last observation and reward of the context stay for ever."""
    still = lambda x: jnp.repeat(x[None, :, CONTEXT - 1 : CONTEXT], HORIZON, 2)
    return still(steps.obs), still(steps.reward)


def states_after_context(states: Any) -> Any:
    """The true states `[windows]` at the end of the context, of `Episodes.states`, for the windows of `windows`."""
    length = CONTEXT + HORIZON
    return jax.tree.map(lambda x: x[:, CONTEXT - 1 :: length].reshape(-1, *x.shape[2:]), states)


@jax.jit
def judged(obs: Array, reward: Array, steps: Sequence, scale: tuple[Array, Array]) -> dict[str, Array]:
    """By steps ahead `[HORIZON]`: errors of observation and reward in variances of the data, energy score in its
    deviations.

    `obs` `[draws, windows, horizon, obs]` and `reward` are what was imagined; `scale` are standard deviations.
    """
    obs, truth = obs / scale[0], steps.obs[:, CONTEXT:] / scale[0]
    reward, earned = reward / scale[1], steps.reward[:, CONTEXT:] / scale[1]
    return {
        "error": squared_error(obs, truth).mean((0, 2)),
        "energy_score": energy_score(obs, truth).mean(0),
        "reward_error": squared_error(reward, earned).mean(0),
    }
