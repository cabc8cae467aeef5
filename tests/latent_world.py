"""Tiny latent world models, tasks and batches of sequences for the tests that need them."""

import jax
import jax.numpy as jnp
import jax.random as jr

from forethought.presets.world_model import WorldModelConfig
from forethought.types import Box, Discrete, EnvSpec, Sequence

SMALL = WorldModelConfig(
    deter=16, hidden=8, latents=3, classes=4, blocks=2, prior_layers=1, units=12, layers=1, depth=2, kernel=3
)
VECTOR = EnvSpec("vector", 3, Box((-2.0,), (4.0,)), max_episode_steps=10)
PICTURE = EnvSpec("picture", 8 * 8 * 2, Discrete(3), max_episode_steps=10, image=(8, 8, 2))
BOTH = EnvSpec("both", 8 * 8 * 2 + 3, Discrete(3), max_episode_steps=10, image=(8, 8, 2))


def random_batch(spec: EnvSpec, batch: int, time: int, *, resets: tuple[int, ...] = (), seed: int = 0) -> Sequence:
    """Steps of random numbers; episodes begin at the times `resets` of every row, and end just before."""
    keys = jr.split(jr.key(seed), 4)
    pixels = jnp.round(255 * jr.uniform(keys[0], (batch, time, spec.num_pixels)))
    obs = jnp.concatenate([pixels, jr.normal(keys[1], (batch, time, spec.vector_dim))], -1)
    first = jnp.zeros((batch, time), bool).at[:, jnp.array(resets, int)].set(True)
    terminated = jnp.zeros((batch, time), bool).at[:, jnp.array([t - 1 for t in resets if t], int)].set(True)
    action = spec.action.sample((batch, time), key=keys[2])
    reward = jnp.where(first, 0.0, jr.normal(keys[3], (batch, time)))
    return Sequence(obs, action, reward, first, terminated, jnp.zeros_like(terminated))


def part(batch: Sequence, start: int, stop: int) -> Sequence:
    """The steps `start` to `stop` of a batch."""
    return jax.tree.map(lambda x: x[:, start:stop], batch)
