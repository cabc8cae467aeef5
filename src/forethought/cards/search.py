"""Cards of the agents that search trees."""

import dataclasses

from ..presets.run import RunConfig
from .card import Arm, Card, Mark
from .marks import median_of, median_return, worst

_RULES = "the true rules are given: moves, results, whose turn it is"
_OURS = "forethought 0.1.0 (checked move by move against pgx)"
_AGAINST_UCT = RunConfig(
    num_envs=128, replay_capacity=60_000, opponent="uct-200", eval_episodes=40, final_episodes=200, video=False
)
_EIGHTY = median_return(
    0.6, "80 % of 200 games, half of them on each side, a draw counting half, against UCT with 200 random rollouts"
)


def _connect_four(steps: int) -> RunConfig:
    """Of so many moves, evaluated ten times."""
    return dataclasses.replace(_AGAINST_UCT, steps=steps, eval_every=steps // 10)


SEARCH: tuple[Card, ...] = (
    Card(
        name="alphazero/tic-tac-toe",
        agent="alphazero",
        env="tic-tac-toe",
        env_version=_OURS,
        arms=(
            Arm(
                "",
                "tic-tac-toe",
                RunConfig(
                    steps=128_000,
                    num_envs=128,
                    replay_capacity=20_000,
                    eval_every=32_000,
                    eval_episodes=100,
                    final_episodes=100,
                    video=False,
                ),
            ),
        ),
        seeds=5,
        given=_RULES,
        marks=(
            Mark(
                "lines of play that the search loses, worst seed",
                0.0,
                "it loses none, on either side",
                worst("lines_lost"),
                at_most=True,
            ),
            Mark(
                "lines of play that the network alone loses, worst seed",
                0.0,
                "it loses none, on either side",
                worst("lines_lost_alone"),
                at_most=True,
            ),
            Mark("seconds of a run, slowest seed", 180.0, "in 3 minutes", worst("wall_s"), at_most=True),
        ),
        published="none for tic-tac-toe in the paper",
        raw="reproductions/alphazero-tic-tac-toe",
        play=("lines",),
    ),
    Card(
        name="alphazero/connect-four",
        agent="alphazero",
        env="connect-four",
        env_version=_OURS,
        arms=(Arm("", "connect-four", _connect_four(400_000)),),
        seeds=3,
        given=_RULES,
        marks=(_EIGHTY,),
        published="none for Connect Four in the paper",
        raw="reproductions/alphazero-connect-four",
        play=("alone",),
    ),
    Card(
        name="expert-iteration/connect-four",
        agent="expert-iteration",
        env="connect-four",
        env_version=_OURS,
        arms=(Arm("", "connect-four", _connect_four(200_000)),),
        seeds=3,
        given=_RULES,
        marks=(
            Mark(
                "median share of 200 games that the apprentice alone wins against iteration 0's search",
                0.5,
                "it is better than the search that it began to learn from, at equal simulations; a draw counts half",
                median_of("alone_against_start"),
            ),
        ),
        published="none for Connect Four in the paper",
        raw="reproductions/expert-iteration-connect-four",
        play=("alone",),
    ),
)
