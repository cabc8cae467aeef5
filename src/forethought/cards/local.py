"""Cards of the agents with local controllers."""

from ..presets.run import RunConfig
from .card import Arm, Card, Mark, Results
from .marks import Measure

_GIVEN = "reward given (the task's function of obs, action, next_obs); the task never terminates"
_PUBLISHED = "no comparable number: the papers show curves on tasks of their own"


def _least_of_rounds(field: str, sign: float = 1.0) -> Measure:
    """The least, over all rounds of all seeds, of one number of a round, or of its negative."""

    def measure(results: Results) -> float:
        rows = [row for raw in results[""].values() for row in raw["rows"] if row["kind"] == "update"]
        return min(sign * float(row[field]) for row in rows)

    return measure


_TRUST = (
    Mark(
        "minus the largest KL of a round, in multiples of its bound",
        -1.1,
        "never above 1.1 times the bound",
        _least_of_rounds("local/kl_share_most", -1.0),
    ),
    Mark(
        "least KL of a round whose multiplier is active, in multiples of its bound",
        0.9,
        "within 10 % of the bound",
        _least_of_rounds("local/kl_share_least"),
    ),
)


def _card(env: str, *, starts: int, steps: int, version: str, least: Mark) -> Card:
    """Ten rounds of 5 rollouts of so many steps from each start."""
    round_steps = 5 * starts * steps
    run = RunConfig(
        steps=10 * round_steps,
        num_envs=5 * starts,
        eval_every=round_steps,
        eval_episodes=10,
        final_episodes=50,
        video=False,
    )
    return Card(
        name=f"gps/{env}",
        agent="gps",
        env=env,
        env_version=version,
        arms=(Arm("", env, run),),
        seeds=5,
        given=_GIVEN,
        marks=(least, *_TRUST),
        published=_PUBLISHED,
        raw=f"reproductions/gps-{env}",
    )


_OURS = "forethought 0.1.0"


LOCAL: tuple[Card, ...] = (
    _card("point-mass", starts=8, steps=100, version=_OURS),
    _card("reacher", starts=24, steps=50, version=f"{_OURS} (arm checked step by step against MuJoCo)"),
    _card("block-pushing", starts=32, steps=60, version=_OURS),
)
