"""How long to train where a user does not say: what a preset needs before it shows anything, by agent and preset.

Presets that have a result card take the steps of the card.
"""

USUAL = 2000

_STEPS: dict[str, dict[str, int]] = {
    "pets": {"lunar-lander": 10_000},
    "random-shooting": {"default": 4000, "cartpole": 2000, "paper-half-cheetah": 100_000},
    "mbpo": {"default": 4000, "inverted-pendulum": 5000, "paper-inverted-pendulum": 20_000, "paper-hopper": 125_000}
    | {"paper-walker2d": 300_000, "paper-half-cheetah": 400_000, "paper-ant": 300_000},
    "sac": {"default": 20_000, "pendulum": 10_000, "paper-mujoco": 1_000_000},
    "ppo": {"default": 100_000, "paper-mujoco": 1_000_000},
    "dqn": {"default": 50_000, "paper-atari": 50_000_000},
    "pilco": {"default": 400, "pendulum": 120, "paper-pendulum": 120},
    "planet": {"default": 6000, "paper": 1_000_000},
    "dreamer-v1": {"default": 10_000, "paper": 1_000_000},
    "dreamer-v2": {"default": 20_000, "catch": 50_000, "paper-atari": 10_000_000, "paper-dmc": 1_000_000},
    "dreamer-v3": {
        "default": 20_000,
        "tiny": 20_000,
        "cartpole": 20_000,
        "catch": 50_000,
        "dmc": 30_000,
        "pendulum-pixels": 30_000,
        "minatar": 500_000,
    }
    | dict.fromkeys(("1m", "12m", "25m", "50m", "100m", "200m", "400m"), 1_000_000),
    "local-lqr": {"default": 20_000},
    "gps": {"default": 40_000, "reacher": 60_000, "block-pushing": 96_000},
    "alphazero": {"default": 128_000, "connect-four": 400_000, "paper": 10_000_000},
    "expert-iteration": {"default": 128_000, "gridworld": 20_000, "connect-four": 200_000, "paper": 10_000_000},
    "dyna-q": {"default": 4000, "maze-0": 8000, "chance": 20_000},
    "dyna-q-plus": {"default": 6000, "blocking-maze": 3000, "blocking-maze-without": 3000},
    "prioritised-sweeping": {"default": 3000, "chance": 20_000},
    "model-samples": {"default": 10_000},
}


def usual_steps(agent: str, preset: str = "default") -> int:
    """Environment steps of a run of `agent` with `preset` for which no number was given."""
    steps = _STEPS.get(agent, {})
    return steps.get(preset, steps.get("default", USUAL))
