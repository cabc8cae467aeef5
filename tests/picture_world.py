"""Episodes of small pictures, and tiny latent world models fitted to them in seconds."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from forethought.diagnostics.logged import Logged
from forethought.envs.catch import Catch
from forethought.models.world_model import WorldModel
from forethought.presets.world_model import WorldModelConfig
from forethought.types import Sequence, Transition

CONFIG = WorldModelConfig(
    deter=48, hidden=48, latents=6, classes=6, blocks=4, prior_layers=1, units=48, layers=1, images="dense"
)


def played(env, episodes: int, steps: int, *, seed: int = 0, action: int | None = None) -> Transition:
    """Episodes of uniform actions, or of one `action` alone, leaves `[episodes, steps, ...]` of NumPy arrays.

    None may end before.
    """

    def one(key):
        reset_key, *keys = jr.split(key, steps + 1)
        state, obs = env.reset(key=reset_key)

        def step(carry, key):
            state, obs = carry
            act_key, step_key = jr.split(key)
            chosen = env.spec.action.sample(key=act_key) if action is None else jnp.int32(action)
            state, next_obs, reward, terminated, truncated = env.step(state, chosen, key=step_key)
            return (state, next_obs), Transition(obs, chosen, reward, next_obs, terminated, truncated)

        return jax.lax.scan(step, (state, obs), jnp.stack(keys))[1]

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(jr.split(jr.key(seed), episodes)))


def sequences(data: Transition) -> Sequence:
    """The same as steps, leaves `[episodes, steps + 1, ...]`."""
    before = lambda x: jnp.concatenate([jnp.zeros_like(x[:, :1]), x], 1)
    obs = jnp.concatenate([data.obs[:, :1], data.next_obs], 1)
    first = jnp.zeros(obs.shape[:2], bool).at[:, 0].set(True)
    rest = (before(jnp.asarray(x)) for x in (data.action, data.reward))
    return Sequence(obs, *rest, first, before(jnp.asarray(data.terminated)), before(jnp.asarray(data.truncated)))


def fitted(env, data: Transition, config: WorldModelConfig = CONFIG, *, steps: int = 1000, seed: int = 0) -> WorldModel:
    """A world model after so many gradient steps on batches of 16 whole episodes."""
    model = WorldModel(env.spec, config, key=jr.key(seed))
    arrays, static = eqx.partition(model, eqx.is_inexact_array)
    optimiser, batch = optax.adam(3e-3), sequences(data)

    def loss(arrays, key):
        chosen = jr.randint(key, (16,), 0, len(data.reward))
        picked = jax.tree.map(lambda x: x[chosen], batch)
        return eqx.combine(arrays, static).loss(picked, key=key)[0]

    @jax.jit
    def run(arrays, key):
        def step(carry, key):
            arrays, state = carry
            updates, state = optimiser.update(jax.grad(loss)(arrays, key), state)
            return (optax.apply_updates(arrays, updates), state), None

        return jax.lax.scan(step, (arrays, optimiser.init(arrays)), jr.split(key, steps))[0][0]

    return eqx.combine(run(arrays, jr.key(seed + 1)), static)


@functools.cache
def catch_model() -> WorldModel:
    """Knows Catch well enough for the doctor to find nothing."""
    return fitted(Catch(), played(Catch(), 400, 9), steps=2000)


def catch_logged(episodes: int = 24, *, seed: int = 1) -> Logged:
    """Episodes of Catch that the model has not seen."""
    return Logged.of_trajectories(played(Catch(), episodes, 9, seed=seed))


def scrambled(head, *, seed: int = 5):
    """The head with every weight redrawn at random, about as large as it was at first."""
    arrays, static = eqx.partition(head, eqx.is_inexact_array)
    leaves, tree = jax.tree.flatten(arrays)
    keys = jr.split(jr.key(seed), len(leaves))
    drawn = [jr.normal(k, x.shape) / np.sqrt(max(x.shape[0], 1)) if x.ndim > 1 else x for k, x in zip(keys, leaves)]
    return eqx.combine(jax.tree.unflatten(tree, drawn), static)
