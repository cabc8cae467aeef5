"""Board games of pgx (Koyamada et al. 2023)."""

import functools
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ...core import AbstractGame
from ...errors import UserError, nearest
from ...types import Discrete, EnvSpec, Moves

PREFIX = "pgx/"
COLUMNS = "abcdefghijklmnopqrstuvwxyz"


class Rules(NamedTuple):
    """What pgx does not say about a game of its own."""

    max_steps: int  # after which pgx ends the game, or more than can be played
    # what the first planes of an observation show, kind by kind: the marks of player 0 and of player 1
    pieces: tuple[tuple[str, str], ...] = (("X", "O"),)
    others: int = 1  # the plane with which the other player's pieces begin
    last: str | None = None  # the action behind one for each square; None: actions are not squares


def _letters(*pieces: str) -> tuple[tuple[str, str], ...]:
    return tuple((piece.upper(), piece) for piece in pieces)


CHESS = Rules(512, _letters(*"pnbrqk"), 6)
GAMES: dict[str, Rules] = {
    "animal_shogi": Rules(256, _letters(*"celgh"), 5),  # chick, elephant, giraffe, lion, hen
    "chess": CHESS,
    "connect_four": Rules(42),
    "gardner_chess": CHESS._replace(max_steps=256),
    "go_9x9": Rules(162, last="pass"),
    "go_19x19": Rules(722, last="pass"),
    "hex": Rules(122, last="swap"),
    "othello": Rules(122, last="pass"),
    "shogi": Rules(512, _letters(*"plnsbrgk", "+p", "+l", "+n", "+s", "+b", "+r"), 31),
    "tic_tac_toe": Rules(9),
}
"""Two players, nothing hidden, no chance."""

HIDDEN = ("bridge_bidding", "kuhn_poker", "leduc_holdem", "mahjong", "sparrow_mahjong")
CHANCE = ("2048", "backgammon")


def _pgx():
    try:
        import pgx
    except ImportError as error:
        raise UserError(f'pgx is not installed ({error}); run: pip install "forethought[search]"') from error
    return pgx


def task_ids() -> list[str]:
    """All ids, such as `pgx/othello`. Raises UserError if pgx is not installed."""
    _pgx()
    return [PREFIX + name for name in GAMES]


def _rules(id: str) -> Rules:
    """Raises UserError for a game that is not known, or that cannot be told by its observation."""
    name = id.removeprefix(PREFIX)
    if name in GAMES:
        return GAMES[name]
    wanted = "wanted a game of two players in which all is seen and nothing is drawn; take " + ", ".join(task_ids())
    if name.startswith("minatar-"):
        raise UserError(f"{id} is played by one, against chance; take the MinAtar of gymnax, such as minatar-breakout")
    if name in HIDDEN:
        raise UserError(f"{id} hides something from the players; {wanted}")
    if name in CHANCE:
        raise UserError(f"{id} is a game of chance; {wanted}")
    raise UserError(f"unknown game {id!r}; {nearest(id, task_ids())}")


@functools.cache
def _load(id: str) -> tuple[Any, PyTree]:
    """The game of pgx, and the state in which player 0 begins, on the host."""
    _rules(id)
    name: Any = id.removeprefix(PREFIX)
    env = _pgx().make(name)
    with jax.ensure_compile_time_eval():
        begin = jax.jit(env.init)
        starts = (jax.tree.map(np.asarray, begin(jax.random.key(seed))) for seed in range(64))
        return env, next(state for state in starts if state.current_player == 0)  # pgx tosses a coin


@functools.cache
def _spec(id: str) -> EnvSpec:
    _, start = _load(id)
    image, actions = start.observation.shape, len(start.legal_action_mask)
    hidden = sum(_width(leaf) for leaf in jax.tree.leaves(start.replace(observation=None)))
    return EnvSpec(id, math.prod(image) + hidden, Discrete(actions), _rules(id).max_steps, image=image)


def _width(leaf: np.ndarray) -> int:
    """How many float32 numbers hold a leaf of a state."""
    return leaf.size * (2 if leaf.dtype in (np.int32, np.uint32) else 1)


def _encoded(leaf: Array) -> Float[Array, " numbers"]:
    """Without loss: float32 and truth values as they are, 32-bit whole numbers as their lower and upper halves."""
    leaf = leaf.reshape(-1)
    if leaf.dtype in (jnp.int32, jnp.uint32):
        bits = jax.lax.bitcast_convert_type(leaf, jnp.uint32)
        leaf = jnp.concatenate([bits & 0xFFFF, bits >> 16])
    return leaf.astype(jnp.float32)


def _decoded(numbers: Float[Array, " numbers"], like: np.ndarray) -> Array:
    if like.dtype in (np.int32, np.uint32):
        low, high = jnp.split(numbers.astype(jnp.uint32), 2)
        return jax.lax.bitcast_convert_type(low | (high << 16), like.dtype).reshape(like.shape)
    return numbers.astype(like.dtype).reshape(like.shape)


class PgxGame(AbstractGame[PyTree]):
    """A game of pgx by its id, such as `pgx/othello`; player 0 begins.

    An observation is pgx's own as a picture (values of 0 to 1 become 0 to 255, rounded), and behind it the whole state
    of pgx in float32 numbers, from which `state_from` restores it exactly.
    Raises UserError if pgx is missing, for an unknown game, and for one with chance or hidden information.
    """

    id: str = eqx.field(static=True)

    def __check_init__(self) -> None:
        _load(self.id)

    @property
    def spec(self) -> EnvSpec:
        return _spec(self.id)

    @property
    def num_players(self) -> int:
        return 2

    @property
    def action_names(self) -> tuple[str, ...]:
        """Squares as in `b3`, column and row from the upper left, where actions are squares; else their numbers."""
        last, (height, width) = _rules(self.id).last, self._size
        if last is None:
            return super().action_names
        return (*(f"{COLUMNS[x]}{y + 1}" for y in range(height) for x in range(width)), last)

    def reset(
        self, *, key: PRNGKeyArray, start: PyTree | None = None, clock: Int[Array, ""] | int = 0
    ) -> tuple[PyTree, Float[Array, " obs"]]:
        """The game's first position, or `start`."""
        state = jax.tree.map(jnp.asarray, _load(self.id)[1]) if start is None else start
        return state, self._observe(state)

    def step(
        self, state: PyTree, action: Array, *, key: PRNGKeyArray
    ) -> tuple[PyTree, Float[Array, " obs"], Float[Array, ""], Bool[Array, ""], Bool[Array, ""]]:
        env, _ = _load(self.id)
        after = env.step(state, action, key)
        after = jax.tree.map(lambda old, new: jnp.asarray(new, old.dtype), state, after)
        reward = after.rewards[state.current_player]
        return after, self._observe(after), reward, after.terminated, after.truncated

    def state_from(self, obs: Float[Array, " obs"]) -> PyTree:
        env, like = _load(self.id)
        leaves, shape = jax.tree.flatten(like.replace(observation=None))
        ends = np.cumsum([_width(leaf) for leaf in leaves])[:-1]
        parts = jnp.split(self.spec.vector(obs), ends)
        state = shape.unflatten([_decoded(part, leaf) for part, leaf in zip(parts, leaves)])
        seen = env.observe(state.replace(observation=jnp.zeros(like.observation.shape, like.observation.dtype)))
        return state.replace(observation=seen.astype(like.observation.dtype))

    def moves(self, state: PyTree) -> Moves:
        return Moves(state.legal_action_mask & ~(state.terminated | state.truncated), state.current_player)

    def text(self, state: PyTree) -> str:
        """The board as the player to move sees it; player 0 has X or capital letters. Pieces in hand are not shown."""
        rules, planes = _rules(self.id), np.asarray(state.observation) > 0
        marks = np.full(self._size, ".", object)
        for side in range(2):
            for kind, names in enumerate(rules.pieces):
                marks[planes[..., side * rules.others + kind]] = names[side ^ int(state.current_player)]
        rows = [" ".join(row) for row in marks]
        if rules.last is None:
            return "\n".join(rows)
        lean = (
            " " if self.id == "pgx/hex" else ""
        )  # neighbours: left and right, above and right above, below and left below
        rows = [f"{y + 1:2} {y * lean}{row}" for y, row in enumerate(rows)]
        return "\n".join(["   " + " ".join(COLUMNS[: self._size[1]]), *rows])

    @property
    def _size(self) -> tuple[int, int]:
        height, width, _ = self.spec.image or (1, 1, 1)
        return height, width

    def _observe(self, state: PyTree) -> Float[Array, " obs"]:
        picture = jnp.rint(255.0 * state.observation.astype(jnp.float32)).reshape(-1)
        return jnp.concatenate([picture, *map(_encoded, jax.tree.leaves(state.replace(observation=None)))])
