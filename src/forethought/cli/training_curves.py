"""What a raw file keeps of the training episodes of a run of several seeds."""

from typing import Any

POINTS = 60  # of a curve of rewards


def training_curves(run: Any, episodes: int) -> dict[str, Any]:
    """By seed, the lengths of the first `episodes` training episodes, and the reward gathered by certain steps: that of
    the episodes that were over by then."""
    options = run.setup.run
    steps = [round(options.steps * point / POINTS) for point in range(POINTS + 1)]
    lengths, rewards = [], []
    for seed in range(options.seed, options.seed + options.num_seeds):
        rows = run.metrics("episode", seed)
        lengths.append([row["length"] for row in rows[:episodes]])
        rewards.append([sum(row["return"] for row in rows if row["env_steps"] <= step) for step in steps])
    return {"episode_steps": lengths, "reward_steps": steps, "reward": rewards}
