"""Cards of policies learned from replayed or imagined transitions: the model-free baselines, and MBPO."""

from ..presets.run import RunConfig
from .card import Arm, Card, Mark
from .marks import area_above, evaluations_running, lowest

_PENDULUM = "forethought 0.1.0 (equals Pendulum-v1 step by step)"
_FREE = "nothing given: no model, rewards are those that were met"
_BESIDE = "none on this task; stable-baselines3 at equal steps is in benchmarks/results/sb3"


def _returns(name: str, env: str, version: str, run: RunConfig, least: float, *, preset: str) -> Card:
    """A model-free agent that must end well with every seed."""
    return Card(
        name=name,
        agent=name.partition("/")[0],
        env=env,
        env_version=version,
        arms=(Arm("", preset, run),),
        seeds=5,
        given=_FREE,
        marks=(Mark("lowest final return of a seed", least, "solved with every seed", lowest("")),),
        published=_BESIDE,
        raw=f"reproductions/{name.replace('/', '-')}",
    )


_MBPO_RUN = RunConfig(steps=4000, eval_every=250, eval_episodes=10, final_episodes=20, video=False)

POLICIES: tuple[Card, ...] = (
    _returns(
        "sac/pendulum",
        "pendulum",
        _PENDULUM,
        RunConfig(steps=10_000, eval_every=500, eval_episodes=10, final_episodes=20, video=False),
        -200.0,
        preset="pendulum",
    ),
    _returns(
        "ppo/cartpole",
        "CartPole-v1",
        "gymnasium 1.3",
        RunConfig(steps=100_000, num_envs=8, eval_every=5000, eval_episodes=8, final_episodes=24, video=False),
        475.0,
        preset="cartpole",
    ),
    _returns(
        "dqn/cartpole",
        "CartPole-v1",
        "gymnasium 1.3",
        RunConfig(steps=50_000, eval_every=2500, eval_episodes=10, final_episodes=20, video=False),
        400.0,
        preset="cartpole",
    ),
    Card(
        name="mbpo/pendulum",
        agent="mbpo",
        env="pendulum",
        env_version=_PENDULUM,
        arms=(Arm("mbpo", "pendulum", _MBPO_RUN), Arm("sac", "pendulum", _MBPO_RUN, agent="sac")),
        seeds=5,
        given="mbpo: reward given, dynamics learned; sac: nothing given",
        marks=(
            Mark("lowest final return of a seed of mbpo", -200.0, "swung up and held with every seed", lowest("mbpo")),
            Mark(
                "area under the curve of mbpo above that of sac, smallest of the seeds",
                0.0,
                "better than model-free learning at equal steps",
                area_above("mbpo", "sac"),
            ),
        ),
        published="none on this task",
        raw="reproductions/mbpo-pendulum",
    ),
    Card(
        name="mbpo/inverted-pendulum",
        agent="mbpo",
        env="InvertedPendulum-v5",
        env_version="gymnasium 1.3, mujoco 3.17",
        arms=(
            Arm(
                "",
                "inverted-pendulum",
                RunConfig(steps=5000, eval_every=250, eval_episodes=1, final_episodes=10, video=False),
            ),
        ),
        seeds=5,
        given="nothing given: reward and termination are learned",
        marks=(
            Mark(
                "environment steps until five evaluations running are 1000, the slowest seed's",
                5000.0,
                "as in the paper's figure",
                evaluations_running(1000.0, 5),
                at_most=True,
            ),
        ),
        published="about 1000 by 5,000 steps (figure of Janner et al. 2019; InvertedPendulum-v2)",
        raw="reproductions/mbpo-inverted-pendulum",
    ),
)
