"""Cards of optimal control on the true dynamics."""

from ..presets.run import RunConfig
from .card import Arm, Card
from .marks import median_return
from .oracles import ORACLES

_RUN = RunConfig(steps=1, oracle=True, eval_every=0, final_episodes=10, video=False)
_TRUE = "the true dynamics and reward are given; nothing is learned"


def _card(name: str, preset: str, env: str, least: float, reason: str) -> Card:
    """Receding-horizon iLQR, from rest."""
    return Card(
        name=name,
        agent="ilqr",
        env=env,
        env_version="forethought 0.1.0",
        arms=(Arm("", preset, _RUN),),
        seeds=5,
        given=_TRUE,
        marks=(median_return(least, reason),),
        published="none on this task",
        raw=f"reproductions/{name.replace('/', '-')}",
    )


CONTROL: tuple[Card, ...] = (
    _card(
        "ilqr/cartpole-swingup",
        "cartpole-swingup",
        "cartpole-swingup",
        ORACLES["cartpole-swingup"].mean_return,
        "swung up from rest and held, no worse than the oracle",
    ),
    _card(
        "ilqr/acrobot",
        "acrobot",
        "acrobot-swingup",
        150.0,  # hanging still for three seconds, 0.135 a step, then upright and at rest for seven, 1 a step: 148
        "swung up from rest and held: upright for seven of the ten seconds",
    ),
)
