"""Tasks of numbered states, given by tables: mazes that may change, the noisy chain, random decision processes."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core import AbstractEnv
from ..errors import UserError
from ..types import Discrete, EnvSpec, Tables
from . import gridworld
from .maze_picture import draw_maze

DYNA_MAZE = """
.......#G
..#....#.
S.#....#.
..#......
.....#...
.........
"""
_WALLED = """
........G
.........
.........
{}
.........
...S.....
"""
BLOCKED = _WALLED.format("########."), _WALLED.format(".########")
SHORTCUT = _WALLED.format(".########"), _WALLED.format(".#######.")


class TabularState(eqx.Module):
    """Where the walker is."""

    place: Int[Array, ""]  # number of the state
    steps: Int[Array, ""]  # since the reset
    clock: Int[Array, ""]  # step of the run: at the reset as the driver says, one more with every step


class Tabular(AbstractEnv[TabularState]):
    """A task given by its tables. The observation is the number of the state.

    From step `changes[k]` of the run on, the transitions of phase k + 1 hold. Who enters a terminal state ends the
    episode there.
    """

    name: str = eqx.field(static=True)
    cumulative: Float[Array, "phases states actions states"]  # of the transition probabilities, along the last axis
    reward: Float[Array, "states actions states"]
    terminal: Bool[Array, " states"]
    start: Float[Array, " states"]  # cumulative chance to begin in each state
    changes: tuple[int, ...] = eqx.field(static=True)
    max_episode_steps: int | None = eqx.field(static=True)
    mazes: tuple[str, ...] = eqx.field(static=True)  # what each phase looks like; none: no picture

    def __init__(
        self,
        name: str,
        transition: np.ndarray,
        reward: np.ndarray,
        terminal: np.ndarray,
        start: np.ndarray,
        *,
        changes: Sequence[int] = (),
        max_episode_steps: int | None = None,
        mazes: Sequence[str] = (),
    ):
        """`transition` holds probabilities `[states, actions, states]`, or `[phases, ...]` of them with `changes`;
        `reward` is `[states, actions, states]`, `terminal` and `start` (probabilities) are `[states]`.

        Raises UserError for tables that are empty, of other shapes, or no probabilities.
        """
        transition = np.asarray(transition, np.float64)
        transition = transition[None] if transition.ndim == 3 else transition
        phases, states, actions = 1 + len(changes), len(start), transition.shape[2] if transition.ndim == 4 else 0
        if not states or not actions:
            raise UserError(
                f"{name}: the tables are empty ({states} states, {actions} actions); give at least one each"
            )
        shapes = {
            "transition": (transition, (phases, states, actions, states)),
            "reward": (np.asarray(reward), (states, actions, states)),
            "terminal": (np.asarray(terminal), (states,)),
        }
        for what, (table, wanted) in shapes.items():
            if table.shape != wanted:
                raise UserError(f"{name}: {what} has shape {table.shape}, wanted {wanted}")
        _check_probabilities(name, "transition", transition)
        _check_probabilities(name, "start", np.asarray(start, np.float64))
        if list(changes) != sorted(set(changes)) or any(at < 1 for at in changes):
            raise UserError(f"{name}: changes={tuple(changes)} must be steps of at least 1, each later than the last")
        self.name, self.changes, self.max_episode_steps = name, tuple(changes), max_episode_steps
        self.cumulative = jnp.asarray(np.cumsum(transition, -1), jnp.float32)
        self.reward, self.terminal = jnp.asarray(reward, jnp.float32), jnp.asarray(terminal, bool)
        self.start, self.mazes = jnp.asarray(np.cumsum(start), jnp.float32), tuple(mazes)

    @property
    def spec(self) -> EnvSpec:
        _, states, actions, _ = self.cumulative.shape
        return EnvSpec(self.name, 1, Discrete(actions), self.max_episode_steps, num_states=states)

    def tables(self, phase: int = 0) -> Tables:
        """The task as exact planning takes it."""
        chance = jnp.diff(self.cumulative[phase], axis=-1, prepend=0.0)
        over = self.terminal[:, None]  # nothing comes after the end
        going_on = jnp.where(self.terminal | over[..., None], 0.0, chance)
        return Tables(going_on, jnp.where(over, 0.0, jnp.sum(chance * self.reward, -1)))

    def reset(
        self, *, key: PRNGKeyArray, start: TabularState | None = None, clock: Int[Array, ""] | int = 0
    ) -> tuple[TabularState, Float[Array, "1"]]:
        place = _draw(self.start, key) if start is None else start.place
        return self._seen(TabularState(place, jnp.zeros((), jnp.int32), jnp.asarray(clock, jnp.int32)))

    def step(
        self, state: TabularState, action: Array, *, key: PRNGKeyArray
    ) -> tuple[TabularState, Float[Array, "1"], Float[Array, ""], Bool[Array, ""], Bool[Array, ""]]:
        phase = sum((state.clock >= at).astype(jnp.int32) for at in self.changes) if self.changes else 0
        place = _draw(self.cumulative[phase, state.place, action], key)
        reward = self.reward[state.place, action, place]
        state, obs = self._seen(TabularState(place, state.steps + 1, state.clock + 1))
        limit = self.max_episode_steps
        truncated = jnp.zeros((), bool) if limit is None else state.steps >= limit
        return state, obs, reward, self.terminal[place], truncated

    def state_from(self, obs: Float[Array, "1"]) -> TabularState:
        zero = jnp.zeros((), jnp.int32)
        return TabularState(self.spec.state_number(obs), zero, zero)

    def render(self, state: TabularState) -> np.ndarray | None:
        """The maze and the walker; None where the task is no maze."""
        if not self.mazes:
            return None
        phase = sum(int(state.clock) >= at for at in self.changes)
        return draw_maze(gridworld.read(self.mazes[phase]), walker=int(state.place))

    @staticmethod
    def _seen(state: TabularState) -> tuple[TabularState, Float[Array, "1"]]:
        return state, state.place[None].astype(jnp.float32)


def _draw(cumulative: Float[Array, " n"], key: PRNGKeyArray) -> Int[Array, ""]:
    return jnp.sum(cumulative <= jr.uniform(key) * cumulative[-1], dtype=jnp.int32)


def _check_probabilities(name: str, what: str, table: np.ndarray) -> None:
    total = table.sum(-1)
    wrong = ~((table >= 0).all(-1) & (np.abs(total - 1) < 1e-6))
    if wrong.any():
        row = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise UserError(
            f"{name}: {what}{list(row) if row else ''} is no distribution (it sums to {float(total[row]):g}, lowest "
            f"{float(table[row].min()):g}); wanted numbers of at least 0 with sum 1"
        )


def maze(
    text: str = DYNA_MAZE,
    *later: tuple[int, str],
    name: str = "maze",
    step_reward: float = 0.0,
    goal_reward: float = 1.0,
    max_episode_steps: int | None = None,
) -> Tabular:
    """A maze as `gridworld` draws it, of squares numbered row by row (walls too).

    Actions are up, right, down, left; who walks into a wall or the edge stays. `later` are pairs (step of the run,
    text): from that step on the maze has the walls of that text. The episode ends at a goal.
    Raises UserError for a text that is no maze, with no way from a start to a goal, or of another size than the first.
    """
    texts = [text, *(other for _, other in later)]
    read = [gridworld.read(one) for one in texts]
    for number, one in enumerate(read[1:], 2):
        if one.walls.shape != read[0].walls.shape:
            raise UserError(f"{name}: maze {number} has the size {one.walls.shape}, the first {read[0].walls.shape}")
    goals = read[0].goals.reshape(-1)
    transition = np.stack([_steps(one.walls) for one in read])
    reward = np.where(goals, goal_reward, step_reward) * np.ones(transition.shape[1:])
    starts = read[0].starts.reshape(-1)
    return Tabular(
        name,
        transition,
        reward,
        goals,
        starts / starts.sum(),
        changes=[at for at, _ in later],
        max_episode_steps=max_episode_steps,
        mazes=texts,
    )


def _steps(walls: np.ndarray) -> np.ndarray:
    """Where each move leads from each square `[squares, 4, squares]`; also out of walls, which may be new."""
    height, width = walls.shape
    closed = np.pad(walls, 1, constant_values=True)
    found = np.zeros((walls.size, 4, walls.size))
    for square, (row, column) in enumerate(np.ndindex(height, width)):
        for action, (down, right) in enumerate(gridworld.MOVES):
            stays = closed[row + down + 1, column + right + 1]
            found[square, action, square if stays else (row + down) * width + column + right] = 1.0
    return found


def chain(
    num_states: int = 100, *, noise: float = 0.1, end_reward: float = 100.0, max_episode_steps: int | None = 400
) -> Tabular:
    """States in a row (STEVE's example, Buckman et al. 2018): actions back and forward, -1 a step, and `end_reward`
    more for coming to the last one, where the episode ends. Starts anywhere before it.

    With probability `noise` a step leads to a state drawn from all but the last.
    """
    if num_states < 2 or not 0 <= noise <= 1:
        raise UserError(f"chain: num_states={num_states} must be at least 2 and noise={noise} lie in 0..1")
    last = num_states - 1
    transition = np.zeros((num_states, 2, num_states))
    for place in range(num_states):
        transition[place, 0, max(place - 1, 0)] += 1 - noise
        transition[place, 1, min(place + 1, last)] += 1 - noise
    transition[:, :, :last] += noise / last
    reward = np.full(transition.shape, -1.0)
    reward[:, :, last] += end_reward
    terminal = np.arange(num_states) == last
    return Tabular(
        "noisy-chain" if noise else "chain",
        transition,
        reward,
        terminal,
        ~terminal / last,
        max_episode_steps=max_episode_steps,
    )


def random_mdp(num_states: int = 20, num_actions: int = 4, *, branching: int = 3, seed: int = 0) -> Tabular:
    """A random decision process (Garnet: Archibald et al. 1995): each pair leads to `branching` states, with
    probabilities and a normal reward drawn once. It never ends; episodes are cut after 100 steps.
    """
    if not 1 <= branching <= num_states:
        raise UserError(f"random-mdp: branching={branching} must lie in 1..{num_states}, the number of states")
    rng = np.random.default_rng(seed)
    transition = np.zeros((num_states, num_actions, num_states))
    for pair in np.ndindex(num_states, num_actions):
        transition[pair][rng.choice(num_states, branching, replace=False)] = rng.dirichlet(np.ones(branching))
    reward = np.repeat(rng.normal(size=(num_states, num_actions, 1)), num_states, axis=2)
    never, anywhere = np.zeros(num_states, bool), np.full(num_states, 1 / num_states)
    return Tabular("random-mdp", transition, reward, never, anywhere, max_episode_steps=100)


TABULAR = {
    "dyna-maze": lambda: maze(name="dyna-maze"),
    "blocking-maze": lambda: maze(BLOCKED[0], (1000, BLOCKED[1]), name="blocking-maze"),
    "shortcut-maze": lambda: maze(SHORTCUT[0], (3000, SHORTCUT[1]), name="shortcut-maze"),
    "gridworld-numbered": lambda: maze(gridworld.MAZE, name="gridworld-numbered", max_episode_steps=50),
    "noisy-chain": chain,
    "random-mdp": random_mdp,
}
