"""A maze drawn as text: walk to the goal."""

import functools
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..errors import UserError
from ..types import Discrete, EnvSpec
from .draw import BLUE, GREEN, INK, PALE, Canvas
from .task import AbstractTask

MAZE = """
S.#.G
S.#..
S....
S.##.
S....
"""

MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])  # up, right, down, left


class Maze(NamedTuple):
    """What a text shows; bool `[height, width]`."""

    walls: np.ndarray
    starts: np.ndarray
    goals: np.ndarray


@functools.cache
def read(text: str) -> Maze:
    """Raises UserError for lines of different lengths, unknown characters, no S or no G, or no way between them."""
    lines = text.strip("\n").split("\n")
    for number, line in enumerate(lines, 1):
        if len(line) != len(lines[0]):
            raise UserError(
                f"maze: line {number} has {len(line)} squares, line 1 has {len(lines[0])}; fill up with '.'"
            )
        strange = sorted(set(line) - set("#SG. "))
        if strange:
            raise UserError(
                f"maze: line {number} holds {strange[0]!r}, wanted '#' for a wall, 'S' for a start, 'G' for a goal, "
                "'.' or ' ' for a free square"
            )
    squares = np.array([list(line) for line in lines]).reshape(len(lines), -1)
    for mark, what in (("S", "start"), ("G", "goal")):
        if not (squares == mark).any():
            raise UserError(f"maze: no {what}; write {mark!r} on a free square")
    maze = Maze(squares == "#", squares == "S", squares == "G")
    cut_off = maze.starts & ~_leading_to(maze.goals, maze.walls)
    if cut_off.any():
        row, column = (int(i) + 1 for i in np.argwhere(cut_off)[0])
        raise UserError(f"maze: no way leads from the start in line {row}, column {column} to a goal; open a wall")
    return maze


def _leading_to(goals: np.ndarray, walls: np.ndarray) -> np.ndarray:
    """The squares from which a goal can be reached."""
    found = goals
    for _ in range(goals.size):
        wide = np.pad(found, 1)
        near = wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
        if (found | (near & ~walls) == found).all():
            break
        found = found | (near & ~walls)
    return found


def at_goal(obs: Array, action: Array, next_obs: Array) -> Bool[Array, ""]:
    """Whether the walker has come to a goal."""
    planes = next_obs.reshape(-1, 3) > 127
    return jnp.any(planes[:, 0] & planes[:, 2])


def goal_reward(obs: Array, action: Array, next_obs: Array) -> Float[Array, ""]:
    """1 at a goal, else 0."""
    return at_goal(obs, action, next_obs).astype(jnp.float32)


class GridWorld(AbstractTask):
    """Actions up, right, down, left; who walks into a wall or the edge stays. A goal gives 1 and ends the episode.

    `text` has a line for each row: '#' a wall, 'S' a start (one of them is drawn), 'G' a goal, '.' or ' ' free. Seen as
    a picture of three planes, 255 where there is something: the walker, walls, goals.
    Raises UserError for a text that is no maze, or a time limit below 1.
    """

    text: str = eqx.field(static=True, default=MAZE)
    max_steps: int = eqx.field(static=True, default=50)

    def __check_init__(self) -> None:
        read(self.text)
        if self.max_steps < 1:
            raise UserError(f"max_steps={self.max_steps} must be at least 1")

    @property
    def spec(self) -> EnvSpec:
        height, width = read(self.text).walls.shape
        name = "gridworld" if self.text == MAZE else f"gridworld-{height}x{width}"
        return EnvSpec(name, height * width * 3, Discrete(4), self.max_steps, image=(height, width, 3))

    @property
    def reward_function(self):
        return goal_reward

    @property
    def termination_function(self):
        return at_goal

    def first(self, key: PRNGKeyArray) -> Float[Array, "2"]:
        return jr.choice(key, jnp.asarray(np.argwhere(read(self.text).starts), jnp.float32))

    def advance(self, physics: Float[Array, "2"], action: Array) -> Float[Array, "2"]:
        walls = jnp.asarray(np.pad(read(self.text).walls, 1, constant_values=True))
        row, column = physics.astype(jnp.int32) + jnp.asarray(MOVES)[action]
        return jnp.where(walls[row + 1, column + 1], physics, jnp.stack([row, column]).astype(jnp.float32))

    def observe(self, physics: Float[Array, "2"]) -> Float[Array, " obs"]:
        maze = read(self.text)
        row, column = physics.astype(jnp.int32)
        walker = jnp.zeros(maze.walls.shape, bool).at[row, column].set(True)
        return 255.0 * jnp.stack([walker, maze.walls, maze.goals], -1).reshape(-1).astype(jnp.float32)

    def physics_from(self, obs: Float[Array, " obs"]) -> Float[Array, "2"]:
        walker = self.spec.pixels(obs)[..., 0]
        return jnp.stack(jnp.unravel_index(jnp.argmax(walker), walker.shape)).astype(jnp.float32)

    def draw(self, physics: np.ndarray) -> np.ndarray:
        maze = read(self.text)
        height, width = maze.walls.shape
        canvas = Canvas(((width - 1) / 2, (1 - height) / 2), 0.55 * max(width, 1.5 * height))
        for row, column in np.ndindex(height, width):
            colour = INK if maze.walls[row, column] else GREEN if maze.goals[row, column] else PALE
            canvas.box((column, -row), 0.94, 0.94, colour)
        canvas.disc((float(physics[1]), -float(physics[0])), 0.3, BLUE)
        return canvas.frame()
