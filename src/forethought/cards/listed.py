"""The cards there are."""

import dataclasses

from ..errors import UserError, nearest
from ..presets.run import RunConfig
from .card import Arm, Card, Mark
from .control import CONTROL
from .latent import LATENT
from .local import LOCAL
from .marks import gap_between_intervals, lower_end, median_return, ratio_of_medians
from .oracles import ORACLES, RANDOM_LUNAR_LANDER, share_of_gap
from .policies import POLICIES
from .search import SEARCH
from .tabular import TABULAR
from .trials import TRIALS

_PETS_RUN = RunConfig(steps=2000, eval_every=400, eval_episodes=1, final_episodes=10)
_CARTPOLE = ORACLES["pets-cartpole"].mean_return
_CARTPOLE_VERSION = "forethought 0.1.0 (checked step by step against MuJoCo)"
_OTHER_CARTPOLE = (
    "199.6 +- 4.6 over 4 seeds after 50,000 steps in another cart-pole with a maximum of 200 (POPLIN, Wang & Ba 2020, "
    "Table 1); the PETS paper gives curves only"
)


def _ladder(version: str, *, steps: int) -> Arm:
    run = RunConfig(steps=steps, eval_every=0, final_episodes=10, video=False)
    return Arm(version, f"cartpole-{version}", run)


_ALL = (
    Card(
        name="pets/cartpole",
        agent="pets",
        env="pets-cartpole",
        env_version=_CARTPOLE_VERSION,
        arms=(Arm("", "cartpole", _PETS_RUN),),
        seeds=10,
        given="reward given (the task's function of obs, action, next_obs); the task never terminates",
        marks=(median_return(0.95 * _CARTPOLE, "95 % of the planner on the true dynamics"),),
        published=_OTHER_CARTPOLE,
        raw="reproductions/pets-cartpole",
    ),
    Card(
        name="pets/cartpole-learned-reward",
        agent="pets",
        env="pets-cartpole",
        env_version=_CARTPOLE_VERSION,
        arms=(
            Arm("", "cartpole-learned-reward", dataclasses.replace(_PETS_RUN, reward="learned", termination="learned")),
        ),
        seeds=10,
        given="nothing given: reward and termination are learned",
        marks=(median_return(0.9 * _CARTPOLE, "90 % of the planner on the true dynamics"),),
        published="none: the paper's agent is given the reward",
        raw="reproductions/pets-cartpole-learned-reward",
    ),
    Card(
        name="pets/pendulum",
        agent="pets",
        env="Pendulum-v1",
        env_version="gymnasium 1.3",
        arms=(Arm("", "pendulum", _PETS_RUN),),
        seeds=5,
        given="nothing given: reward and termination are learned",
        marks=(median_return(share_of_gap("Pendulum-v1", 0.95), "95 % of the gap from random actions to the oracle"),),
        published="none for Pendulum-v1 in the paper",
        raw="reproductions/pets-pendulum",
    ),
    Card(
        name="pets/lunar-lander",
        agent="pets",
        env="LunarLanderContinuous-v3",
        env_version="gymnasium 1.3, Box2D 2.3.10",
        arms=(
            Arm(
                "",
                "lunar-lander",
                RunConfig(steps=10_000, eval_every=2500, eval_episodes=3, final_episodes=10, video=False),
            ),
        ),
        seeds=3,
        given="nothing given: reward and termination are learned",
        marks=(
            Mark(
                "lower end of the 95 % interval of the mean final return",
                RANDOM_LUNAR_LANDER,
                "above the interval of random actions",
                lower_end,
            ),
        ),
        published="none in the paper",
        raw="reproductions/pets-lunar-lander",
    ),
    Card(
        name="mpc-ladder/cartpole",
        agent="mpc-ladder",
        env="pets-cartpole",
        env_version=_CARTPOLE_VERSION,
        arms=(
            _ladder("0.5", steps=2000),
            _ladder("1.0", steps=2000),
            _ladder("1.5", steps=2000),
            Arm(
                "oracle",
                "cartpole-1.5",
                RunConfig(steps=1, oracle=True, eval_every=0, final_episodes=10, video=False),
            ),
        ),
        seeds=5,
        given="reward given (the task's function of obs, action, next_obs); the task never terminates",
        marks=(
            Mark(
                "squared error of 0.5 where its plans lead, in multiples of its holdout error",
                3.0,
                "at least 3",
                ratio_of_medians(("0.5", "visited_error"), ("0.5", "holdout_error")),
            ),
            Mark(
                "squared error of 0.5 where its plans lead, in multiples of that of 1.0",
                2.0,
                "1.0 halves it",
                ratio_of_medians(("0.5", "visited_error_common"), ("1.0", "visited_error_common")),
            ),
            Mark(
                "return between the 95 % intervals of 0.5 and 1.0",
                0.0,
                "1.0 above 0.5",
                gap_between_intervals("1.0", "0.5"),
            ),
            Mark(
                "return between the 95 % intervals of 1.0 and 1.5",
                0.0,
                "1.5 above 1.0",
                gap_between_intervals("1.5", "1.0"),
            ),
        ),
        published="none: the ladder is taught, not published with numbers",
        raw="reproductions/mpc-ladder-cartpole",
        model_errors=True,
    ),
    *POLICIES,
    *LATENT,
    *SEARCH,
    *TABULAR,
    *CONTROL,
    *LOCAL,
    *TRIALS,
)
CARDS: dict[str, Card] = {card.name: card for card in _ALL}


def find(name: str) -> Card:
    """A card by name. Raises UserError, with the nearest names, if there is none."""
    if name not in CARDS:
        raise UserError(f"unknown card {name!r}; {nearest(name, list(CARDS))}")
    return CARDS[name]
