"""Cards of the agents that learn from a few trials of a real system."""

from ..presets.run import RunConfig
from .card import Arm, Card, Mark
from .marks import share_of_seeds, share_of_seeds_by

_SECOND = 10  # steps of 0.1 s
_GIVEN = "the cost given (the task's function of obs, action, next_obs); the task never terminates"
_SOFTWARE = "forethought 0.1.0, with the numbers of PILCO's software: 0.1 s a step, 4 s a trial, measurement noise"


_TRIAL = Mark(
    "share of seeds with a balanced trial within 40 s of data",
    0.9,
    "random trial included; balanced: cost below 0.1 throughout the last second",
    share_of_seeds_by("balanced_after", 400),
)


def _card(env: str, preset: str, steps: int, *more: Mark, name: str, reason: str, published: str) -> Card:
    """PILCO on `env` for so many steps."""
    balances = Mark(
        "share of seeds whose last policy balances in at least 9 of 10 evaluations",
        0.9,
        f"{reason}; balanced: cost below 0.1 throughout the last second",
        share_of_seeds("balanced", 0.9),
    )
    return Card(
        name=f"pilco/{name}",
        agent="pilco",
        env=env,
        env_version=_SOFTWARE,
        arms=(Arm("", preset, RunConfig(steps=steps, eval_every=0, final_episodes=20, video=False)),),
        seeds=10,
        given=_GIVEN,
        marks=(balances, *more),
        published=published,
        raw=f"reproductions/pilco-{name}",
        balanced_steps=_SECOND,
    )


TRIALS: tuple[Card, ...] = (
    _card(
        "pilco-pendulum",
        "pendulum",
        120,
        name="pendulum",
        reason="the policy of the third trial, after 12 s of data, one random trial included",
        published="none with a number: the paper shows a cart-pole",
    ),
    _card(
        "pilco-cartpole",
        "cartpole",
        400,
        _TRIAL,
        name="cartpole-swingup",
        reason="within 40 s of data, one random trial included",
        published="17.5 s of data on a real cart-pole (PILCO, Deisenroth & Rasmussen 2011, Sec. 3.1)",
    ),
)
