"""`forethought play RUN`."""

import dataclasses
from typing import Any

from ..errors import UserError
from ..presets.bounds import Natural, Seed
from . import machine, tables
from .common import Anywhere, Machine, RunPath, Switch
from .parse import option_names, parse

HELP = """Play a game against the agent of a run, in the terminal. The board is drawn before each of your moves; type
one of the moves that are listed, or q to stop.

Example:
  forethought play runs/first --second --simulations 200"""


@dataclasses.dataclass(frozen=True)
class Play:
    """Options of `play`."""

    run: RunPath
    """Folder of a run of a game of two."""
    first: Switch = False
    """You make the first move (the default)."""
    second: Switch = False
    """The agent makes the first move."""
    simulations: Natural | None = None
    """Simulations of each of the agent's searches; 0: its network alone; default: as it was trained."""
    best: Switch = False
    """The checkpoint with the best evaluation instead of the last one."""
    seed: Seed | None = None
    """Which seed of a run that has several; default: the first."""
    machine: Anywhere = Machine()


def option_list() -> list[str]:
    """Long options."""
    return option_names(Play)


def run(argv: list[str]) -> int:
    """Plays one game; 0 however it ends."""
    options = parse(Play, argv, command="play", help=HELP)
    if options.first and options.second:
        raise UserError("--first and --second exclude each other; leave one out")
    machine.prepare(options.machine.threads, options.machine.device)
    import jax
    import jax.random as jr

    from .. import api
    from ..core import AbstractGame
    from ..run.matches import AgentPlayer
    from ..setup import searching

    run = api.load_run(options.run)
    game = run.setup.env
    if not isinstance(game, AbstractGame) or game.num_players != 2:
        raise UserError(
            f"{options.run} was trained on {run.setup.env_name}, which is no game of two players; "
            "`forethought video RUN` films such a policy"
        )
    setup = run.setup if options.simulations is None else searching(run.setup, options.simulations)
    state = run.agent_state(which="best" if options.best else "last", seed=options.seed)
    for text in run.notes:
        tables.note(text)
    player = AgentPlayer(setup.agent, state)
    act = jax.jit(lambda memory, obs, key: player.act(memory, obs, key=key))
    return _play(game, act, player.begin(), human=int(options.second), key=jr.key(run.setup.run.seed))


def _play(game: Any, act: Any, memory: Any, *, human: int, key: Any) -> int:
    """One game in the terminal; `act(memory, obs, key)` is the agent's move, `human` 0 or 1 whose turn is ours."""
    import jax
    import jax.random as jr
    import numpy as np

    reset_key, step_key, act_key = jr.split(key, 3)
    state, obs = game.reset(key=reset_key)
    step, moves = jax.jit(lambda state, action, key: game.step(state, action, key=key)), jax.jit(game.moves)
    names = game.action_names
    print(f"{game.spec.name}: you move {'second' if human else 'first'}")
    for ply in range(game.spec.max_episode_steps or 1000):
        legal, player = (np.asarray(x) for x in (moves(state).legal, moves(state).player))
        if int(player) == human:
            print(f"\n{game.text(state)}")
            chosen = _asked([name for name, allowed in zip(names, legal) if allowed])
            if chosen is None:
                print("stopped")
                return 0
            action = names.index(chosen)
        else:
            action, memory = act(memory, obs, jr.fold_in(act_key, ply))
            print(f"\nthe agent plays {names[int(action)]}")
        state, obs, reward, terminated, truncated = step(state, np.int32(action), jr.fold_in(step_key, ply))
        if terminated or truncated:
            result = float(reward) * (1 if int(player) == human else -1)
            print(f"\n{game.text(state)}\n\n{'you win' if result > 0 else 'you lose' if result < 0 else 'a draw'}")
            return 0
    print("\ntime is up: no result")
    return 0


def _asked(names: list[str]) -> str | None:
    """One of the legal moves, asked for until there is one; None at the end of the input, or where it says q."""
    while True:
        try:
            said = input(f"legal: {' '.join(names)} (q quits)\nyour move: ").strip()
        except EOFError:
            print()
            return None
        if said in names:
            return said
        if said.lower() in ("q", "quit", "exit"):
            return None
        print(f"{said!r} is not legal here")
