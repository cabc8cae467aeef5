"""Rows that do not count never reach the uniform replay."""

from collections import deque

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tiny import Walk, empty_replay, random_rows

from forethought.replay.uniform import UniformReplay

add = eqx.filter_jit(lambda replay, batch, valid: replay.add(batch, valid), donate="all")


def test_uniform_replay_with_masks_holds_what_a_deque_holds():
    rng, replay, kept = np.random.default_rng(0), empty_replay(7), deque(maxlen=7)
    rows = random_rows(80, Walk().spec)
    for k in range(20):
        batch, valid = jax.tree.map(lambda x, k=k: x[4 * k : 4 * k + 4].copy(), rows), rng.random(4) < 0.6
        kept.extend(np.asarray(batch.obs)[valid])
        replay = add(replay, batch, jnp.asarray(valid))
        size = int(replay.size)
        assert size == len(kept)
        np.testing.assert_array_equal(np.asarray(replay.latest(7).obs)[7 - size :], list(kept))


def test_mask_of_ones_is_no_mask():
    rows = random_rows(5, Walk().spec)
    spec = Walk().spec
    left = UniformReplay.empty(spec, 8).add(rows)
    right = UniformReplay.empty(spec, 8).add(rows, jnp.ones(5, bool))
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right)):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
