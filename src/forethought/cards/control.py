"""Cards of optimal control on the true dynamics."""

from ..presets.run import RunConfig
from .card import Arm, Card
from .marks import median_return
from .oracles import ORACLES

_RUN = RunConfig(steps=1, oracle=True, eval_every=0, final_episodes=10, video=False)
_TRUE = "the true dynamics and reward are given; nothing is learned"


def _card(name: str, preset: str, env: str, reason: str) -> Card:
    """Receding-horizon iLQR against the oracle's return."""
    return Card(
        name=name,
        agent="ilqr",
        env=env,
        env_version="forethought 0.1.0",
        arms=(Arm("", preset, _RUN),),
        seeds=5,
        given=_TRUE,
        marks=(median_return(ORACLES[env].mean_return, reason),),
        published="none on this task",
        raw=f"reproductions/{name.replace('/', '-')}",
    )


CONTROL: tuple[Card, ...] = (
    _card(
        "ilqr/cartpole-swingup",
        "cartpole-swingup",
        "cartpole-swingup",
        "swung up from rest and held, no worse than CEM at horizon 25",
    ),
    _card("ilqr/acrobot", "acrobot", "acrobot-swingup", "swung up from rest and held, no worse than CEM at horizon 60"),
)
