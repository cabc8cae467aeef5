"""Cards of the agents with latent world models."""

from ..presets.run import RunConfig
from .card import Arm, Card
from .marks import median_return
from .oracles import share_of_gap

_OURS = "forethought 0.1.0"
_PENDULUM = "forethought 0.1.0 (equals Pendulum-v1 step by step)"
_NOTHING = "nothing given: reward and termination are learned"


def _card(
    name: str,
    *,
    preset: str,
    env: str,
    version: str,
    run: RunConfig,
    seeds: int,
    mark: tuple[float, str],
    published: str,
) -> Card:
    """With one arm, one mark on the median return, nothing given, and raw files in a folder of its name."""
    return Card(
        name=name,
        agent=name.partition("/")[0],
        env=env,
        env_version=version,
        arms=(Arm("", preset, run),),
        seeds=seeds,
        given=_NOTHING,
        marks=(median_return(*mark),),
        published=published,
        raw=f"reproductions/{name.replace('/', '-')}",
    )


LATENT: tuple[Card, ...] = (
    _card(
        "planet/pendulum",
        preset="pendulum",
        env="pendulum",
        version=_PENDULUM,
        run=RunConfig(steps=6000, eval_every=2000, final_episodes=10, video=False),
        seeds=5,
        mark=(share_of_gap("Pendulum-v1", 0.8), "80 % of the gap from random actions to the oracle within 30 episodes"),
        published="none for Pendulum-v1 in the paper",
    ),
    _card(
        "planet/pendulum-pixels",
        preset="pendulum-pixels",
        env="pendulum-pixels-32-grey",
        version=_PENDULUM,
        run=RunConfig(steps=6000, eval_every=2000, final_episodes=10, video=False),
        seeds=3,
        mark=(share_of_gap("Pendulum-v1", 0.5), "50 % of the gap from random actions to the oracle within 30 episodes"),
        published="none for Pendulum-v1 in the paper",
    ),
    _card(
        "dreamer-v1/pendulum",
        preset="pendulum",
        env="pendulum",
        version=_PENDULUM,
        run=RunConfig(steps=10_000, eval_every=2500, final_episodes=10, video=False),
        seeds=5,
        mark=(-250.0, "swung up and held"),
        published="none for Pendulum-v1 in the paper",
    ),
    _card(
        "dreamer-v2/catch",
        preset="catch",
        env="catch",
        version=_OURS,
        run=RunConfig(steps=50_000, num_envs=16, eval_every=10_000, eval_episodes=20, final_episodes=100),
        seeds=5,
        mark=(0.9, "the ball is caught 19 times in 20"),
        published="none for Catch in the paper",
    ),
    _card(
        "dreamer-v3/catch",
        preset="catch",
        env="catch",
        version=_OURS,
        run=RunConfig(steps=50_000, num_envs=16, eval_every=10_000, eval_episodes=20, final_episodes=100, video=False),
        seeds=5,
        mark=(0.9, "the ball is caught 19 times in 20"),
        published="none for Catch alone: bsuite's scores are over all its tasks",
    ),
    _card(
        "dreamer-v3/minatar-breakout",
        preset="minatar",
        env="minatar-breakout",
        version="gymnax 1.0.1",
        run=RunConfig(steps=500_000, num_envs=16, eval_every=100_000, eval_episodes=10, final_episodes=50, video=False),
        seeds=3,
        mark=(5.0, "ten times what random actions get"),
        published="none for MinAtar in the paper",
    ),
    _card(
        "dreamer-v3/pendulum",
        preset="tiny",
        env="pendulum",
        version=_PENDULUM,
        run=RunConfig(steps=14_000, eval_every=3500, final_episodes=10, video=False),
        seeds=5,
        mark=(-250.0, "swung up and held"),
        published="none for Pendulum-v1 in the paper",
    ),
    _card(
        "dreamer-v3/pendulum-pixels",
        preset="pendulum-pixels",
        env="pendulum-pixels-32-grey",
        version=_PENDULUM,
        run=RunConfig(steps=30_000, eval_every=6000, final_episodes=10, video=False),
        seeds=3,
        mark=(-250.0, "swung up and held, as from vectors"),
        published="none for Pendulum-v1 in the paper",
    ),
    _card(
        "dreamer-v3/cartpole",
        preset="cartpole",
        env="CartPole-v1",
        version="gymnasium 1.3",
        run=RunConfig(steps=20_000, eval_every=5000, final_episodes=10, video=False),
        seeds=3,
        mark=(400.0, "of at most 500"),
        published="none for CartPole-v1 in the paper",
    ),
    _card(
        "dreamer-v3/dmc-cartpole-balance",
        preset="dmc",
        env="dm_control/cartpole-balance-v0",
        version="dm-control 1.0.50, mujoco 3.17",
        run=RunConfig(steps=30_000, action_repeat=2, eval_every=10_000, final_episodes=10, video=False),
        seeds=3,
        mark=(500.0, "of at most 1000"),
        published="793.6 +- 52.2 over 5 seeds after 100,000 steps, train ratio 1024 (score files of the authors)",
    ),
    _card(
        "dreamer-v3/dmc-walker-walk-pixels",
        preset="12m",
        env="dm_control/walker-walk-v0-pixels",
        version="dm-control 1.0.50, mujoco 3.17",
        run=RunConfig(steps=1_000_000, action_repeat=2, num_envs=4, eval_every=100_000, final_episodes=10),
        seeds=3,
        mark=(900.0, "of at most 1000; stays there once learned"),
        published="960.4 +- 3.1 over 10 seeds after 1,000,000 steps (score files of the authors)",
    ),
)
