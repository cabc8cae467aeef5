"""Every line of play that can come about against a policy that leaves nothing to chance."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from ..core import AbstractGame

CHUNK = 256  # positions handed to the policy at once, so that it is compiled once
LARGEST = 1_000_000  # different positions at one depth


class Lines(NamedTuple):
    """How many lines of play end how, for the policy. An illegal action loses."""

    won: int
    drawn: int
    lost: int


class Walk(NamedTuple):
    """All lines of a game, one for each way in which the opponent can choose."""

    first: Lines  # the policy is the first player
    second: Lines

    @property
    def lost(self) -> int:
        """Lines of play that the policy loses, on either side."""
        return self.first.lost + self.second.lost


def every_line(game: AbstractGame, policy: Callable[[Array], Array]) -> Walk:
    """Plays `policy` against every reply of the opponent, for games as small as tic-tac-toe.

    `policy` gives the actions `[n]` for observations `[n, obs]`, each by its own row alone; `n` is 256. Equal positions
    are asked for once and their lines counted together. Raises ValueError for a game of one player, and where there are
    more than a million positions at one depth.
    """
    if game.num_players != 2:
        raise ValueError(f"{game.spec.name} is played by {game.num_players}, wanted a game of 2 players")

    @jax.jit
    def look(obs: Array) -> tuple[Array, Array]:
        moves = jax.vmap(lambda o: game.moves(game.state_from(o)))(obs)
        return moves.legal, moves.player

    @jax.jit
    def step(obs: Array, action: Array) -> tuple[Array, Array, Array]:
        one = lambda o, a: game.step(game.state_from(o), a, key=jr.key(0))[1:4]
        return jax.vmap(one)(obs, action)

    def side(player: int) -> Lines:
        obs, lines = np.asarray(game.reset(key=jr.key(0))[1])[None], np.ones(1, np.int64)
        tally = np.zeros(3, np.int64)
        while len(obs):
            legal, mover = _chunks(look, obs)
            mine = mover == player
            rows, actions = np.nonzero(legal & ~mine[:, None])
            if mine.any():
                rows = np.concatenate([np.flatnonzero(mine), rows])
                actions = np.concatenate([_chunks(policy, obs[mine]), actions])
            seen, reward, terminated = _chunks(step, obs[rows], actions.astype(np.int32))
            result = np.sign(reward) * np.where(mine[rows], 1, -1)
            for i, wanted in enumerate((1, 0, -1)):
                tally[i] += lines[rows][terminated & (result == wanted)].sum()
            obs, where = np.unique(seen[~terminated], axis=0, return_inverse=True)
            lines = np.bincount(where.reshape(-1), lines[rows][~terminated], len(obs)).astype(np.int64)
            if len(obs) > LARGEST:
                raise ValueError(f"{game.spec.name} has more than {LARGEST} positions at one depth; too many to walk")
        return Lines(*map(int, tally))

    return Walk(side(0), side(1))


def _chunks(function: Callable, *arrays: np.ndarray):
    """`function` of rows, computed `CHUNK` at a time; the last chunk is filled up with repeats."""
    out = []
    for start in range(0, len(arrays[0]), CHUNK):
        rows = np.minimum(np.arange(start, start + CHUNK), len(arrays[0]) - 1)
        out.append(jax.tree.map(np.asarray, function(*(jnp.asarray(x[rows]) for x in arrays))))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(arrays[0])], *out)
