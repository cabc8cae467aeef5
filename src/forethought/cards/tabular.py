"""Cards of the agents with tables: 30 runs side by side are one run of the card."""

from ..presets.run import RunConfig
from .card import Arm, Card, Mark
from .marks import mean_steps_in_episode, ratio_of_rewards

_NOTHING = "nothing given: rewards, transitions and ends are learned"
_OURS = "forethought 0.1.0"
_COUNTED = 50  # first training episodes whose lengths are kept


def _arm(name: str, preset: str, steps: int) -> Arm:
    run = RunConfig(steps=steps, num_seeds=30, eval_every=0, final_episodes=1, video=False)
    return Arm(name, preset, run)


def _changing(task: str, steps: int, least: float, published: str) -> Card:
    """Dyna-Q+ beside Dyna-Q with the same numbers, in a maze that changes."""
    ratio = Mark(
        "reward gathered by Dyna-Q+, in multiples of Dyna-Q's, mean of 30 runs",
        least,
        "it finds out that the maze has changed",
        ratio_of_rewards("dyna-q-plus", "dyna-q"),
    )
    return Card(
        name=f"dyna-q-plus/{task}",
        agent="dyna-q-plus",
        env=task,
        env_version=_OURS,
        arms=(_arm("dyna-q-plus", task, steps), _arm("dyna-q", f"{task}-without", steps)),
        seeds=1,
        given=_NOTHING,
        marks=(ratio,),
        published=published,
        raw=f"reproductions/dyna-q-plus-{task}",
        counted_episodes=_COUNTED,
    )


TABULAR: tuple[Card, ...] = (
    Card(
        name="dyna-q/maze",
        agent="dyna-q",
        env="dyna-maze",
        env_version=_OURS,
        arms=(_arm("0", "maze-0", 8000), _arm("5", "maze-5", 4000), _arm("50", "maze", 4000)),
        seeds=1,
        given=_NOTHING,
        marks=(
            Mark(
                "steps of episode 4 with 50 planning steps, mean of 30 runs",
                20.0,
                "at most 20 steps by episode 4",
                mean_steps_in_episode("50", 4),
                at_most=True,
            ),
            Mark(
                "steps of episode 8 with 5 planning steps, mean of 30 runs",
                20.0,
                "at most 20 steps by episode 8",
                mean_steps_in_episode("5", 8),
                at_most=True,
            ),
        ),
        published="Sutton & Barto 2018, figure 8.2: a curve, without numbers",
        raw="reproductions/dyna-q-maze",
        counted_episodes=_COUNTED,
    ),
    _changing("blocking-maze", 3000, 1.5, "Sutton & Barto 2018, figure 8.4: a curve, without numbers"),
    _changing("shortcut-maze", 6000, 1.15, "Sutton & Barto 2018, figure 8.5: a curve, without numbers"),
)
