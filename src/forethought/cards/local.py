"""Cards of the agents with local controllers."""

import statistics
from collections.abc import Callable, Iterable

from ..presets.run import RunConfig
from ..text import percent
from .card import Arm, Card, Mark, Results
from .marks import Measure

_GIVEN = "reward given (the task's function of obs, action, next_obs); the task never terminates"
_PUBLISHED = "no comparable number: the papers show curves on tasks of their own"


def _over_rounds(field: str, choose: Callable[[Iterable[float]], float]) -> Measure:
    """What `choose` (min, max) takes of one number of a round, over all rounds of all seeds."""

    def measure(results: Results) -> float:
        rows = [row for raw in results[""].values() for row in raw["rows"] if row["kind"] == "update"]
        return choose(float(row[field]) for row in rows)

    return measure


_TRUST = (
    Mark(
        "largest KL of a round, in multiples of its bound",
        1.1,
        "never above 1.1 times the bound",
        _over_rounds("local/kl_share_most", max),
        at_most=True,
    ),
    Mark(
        "least KL of a round whose multiplier is active, in multiples of its bound",
        0.9,
        "within 10 % of the bound",
        _over_rounds("local/kl_share_least", min),
    ),
)


def _error_left(results: Results) -> float:
    """The median, over seeds, of the median over episodes of the last distance to the goal over the first."""
    shares = [
        statistics.median(last / first for first, last in zip(raw["first_distances"], raw["last_distances"]))
        for raw in results[""].values()
    ]
    return statistics.median(shares)


def _card(env: str, *, starts: int, steps: int, error: float, version: str = "forethought 0.1.0") -> Card:
    """Ten rounds of 5 rollouts of so many steps from each start."""
    round_steps = 5 * starts * steps
    run = RunConfig(
        steps=10 * round_steps,
        num_envs=5 * starts,
        eval_every=5 * round_steps,
        eval_episodes=5,
        final_episodes=20,
        video=False,
    )
    reached = Mark(
        "what is left of the distance to the goal, medians over episodes and seeds",
        error,
        f"{percent(error)} of it, from starts and to targets that no local controller was trained for",
        _error_left,
        at_most=True,
    )
    return Card(
        name=f"gps/{env}",
        agent="gps",
        env=env,
        env_version=version,
        arms=(Arm("", env, run),),
        seeds=5,
        given=_GIVEN,
        marks=(reached, *_TRUST),
        published=_PUBLISHED,
        raw=f"reproductions/gps-{env}",
        ends=True,
    )


LOCAL: tuple[Card, ...] = (
    _card("point-mass", starts=8, steps=100, error=0.05),
    _card("reacher", starts=24, steps=50, error=0.05, version="forethought 0.1.0 (arm checked against MuJoCo)"),
    _card("block-pushing", starts=32, steps=60, error=0.1),
)
