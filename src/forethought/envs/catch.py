"""Catch (Mnih et al. 2014), with the sizes and rules of bsuite (Osband et al. 2020): a falling ball and a paddle."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..types import Discrete, EnvSpec
from .draw import BLUE, ORANGE, PALE, Canvas
from .task import AbstractTask

ROWS, COLUMNS = 10, 5


def _board(obs: Float[Array, " obs"]) -> Bool[Array, "rows columns"]:
    return obs.reshape(ROWS, COLUMNS) > 127


def catch_termination(obs: Array, action: Array, next_obs: Array) -> Bool[Array, ""]:
    """True once the ball has reached the paddle's row: nothing is left above it."""
    return ~jnp.any(_board(next_obs)[:-1])


def catch_reward(obs: Array, action: Array, next_obs: Array) -> Float[Array, ""]:
    """At the end 1 if the ball is caught, -1 if not; 0 before."""
    caught = jnp.sum(_board(next_obs)[-1]) == 1
    return jnp.where(catch_termination(obs, action, next_obs), jnp.where(caught, 1.0, -1.0), 0.0)


class Catch(AbstractTask):
    """A 10x5 picture, 255 where ball and paddle are; actions left, stay, right; 9 steps; return 1 or -1.

    The ball starts in a random column of the top row and falls a row a step; the paddle starts in the middle.
    """

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec("catch", ROWS * COLUMNS, Discrete(3), max_episode_steps=ROWS - 1, image=(ROWS, COLUMNS, 1))

    @property
    def reward_function(self):
        return catch_reward

    @property
    def termination_function(self):
        return catch_termination

    def first(self, key: PRNGKeyArray) -> Float[Array, "3"]:
        return jnp.array([0.0, 0.0, COLUMNS // 2]).at[0].set(jr.randint(key, (), 0, COLUMNS).astype(jnp.float32))

    def advance(self, physics: Float[Array, "3"], action: Array) -> Float[Array, "3"]:
        ball, row, paddle = physics
        paddle = jnp.clip(paddle + action.astype(jnp.float32) - 1.0, 0.0, COLUMNS - 1.0)
        return jnp.stack([ball, jnp.minimum(row + 1.0, ROWS - 1.0), paddle])

    def observe(self, physics: Float[Array, "3"]) -> Float[Array, "50"]:
        ball, row, paddle = physics.astype(jnp.int32)
        board = jnp.zeros((ROWS, COLUMNS)).at[row, ball].set(255.0).at[ROWS - 1, paddle].set(255.0)
        return board.reshape(-1)

    def physics_from(self, obs: Float[Array, "50"]) -> Float[Array, "3"]:
        """Exact while the ball falls; once it is down, the paddle is taken to be under it or left of it."""
        board = _board(obs)
        paddle = jnp.argmax(board[-1])
        above = jnp.argmax(board[:-1].reshape(-1))
        last = COLUMNS - 1 - jnp.argmax(board[-1, ::-1])
        falling = jnp.any(board[:-1])
        ball = jnp.where(falling, above % COLUMNS, last)
        row = jnp.where(falling, above // COLUMNS, ROWS - 1)
        return jnp.stack([ball, row, paddle]).astype(jnp.float32)

    def draw(self, physics: np.ndarray) -> np.ndarray:
        ball, row, paddle = (int(x) for x in physics)
        canvas = Canvas((0.0, 0.0), 8.5)
        canvas.box((0.0, 0.0), COLUMNS + 0.3, ROWS + 0.3, PALE)
        place = lambda column, row: (column - (COLUMNS - 1) / 2, (ROWS - 1) / 2 - row)
        canvas.box(place(paddle, ROWS - 1), 0.95, 0.5, ORANGE)
        canvas.disc(place(ball, row), 0.4, BLUE)
        return canvas.frame()
