"""How a run is carried out: everything that is not the agent's own."""

import dataclasses
from typing import Literal

from .bounds import Gigabytes, Natural, Positive, Real, Repeat, Seed, Threads


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Options of a training run. Steps are simulator steps, action repeats included."""

    steps: int = 2000
    """Environment steps to train for, random ones included; if not given: as many as the agent's preset takes to show
    something."""
    seed: Seed = 0
    """Seed of everything random."""
    num_seeds: int = 1
    """Train this many independent seeds: seed, seed + 1, ... (side by side in JAX environments)."""
    num_envs: int = 1
    """Environments stepped side by side; evaluations play as many episodes at once."""
    action_repeat: Repeat = 1
    """Simulator steps for which each action is held."""
    reward: str = "auto"
    """Where rewards of imagined steps come from: `env` (the task's own function), `learned`, or your `pkg.mod:fn`;
    `auto` takes the task's own if it has one."""
    termination: str = "auto"
    """Where imagined terminations come from: `env`, `learned`, `never`, or your `pkg.mod:fn`; `auto` as for reward."""
    oracle: bool = False
    """Plan on the true dynamics instead of learning: what the planner could reach with a perfect model."""
    plan_ms: Positive | None = None
    """Milliseconds of wall-clock per action: plan until the time is up instead of a fixed number of iterations."""
    eval_every: Natural | None = None
    """Environment steps between evaluations during training; default: a quarter of the run; 0: only at the end."""
    eval_episodes: int = 1
    """Episodes in each evaluation during training."""
    final_episodes: int = 5
    """Episodes in the evaluation at the end."""
    opponent: str = "random"
    """[Games of two] Whom the games of an evaluation are played against, half of them on each side: `random` for
    uniformly random moves, or `uct-200` for UCT with 200 random rollouts per move. A return is a result: 1, 0 or -1."""
    max_minutes: Positive | None = None
    """Stop in time for everything, final evaluation and report included, to be done after this much wall-clock time. At
    least one episode is evaluated."""
    stop_at_return: Real | None = None
    """Stop once an evaluation's mean return reaches this."""
    checkpoint_seconds: Positive = 60.0
    """Seconds between checkpoints (one is also written after every evaluation and at the end)."""
    replay_capacity: int | None = None
    """Transitions kept (steps, where an agent learns from sequences: an episode of T transitions is T + 1); default:
    all of the run's, at most a million and a quarter of the memory."""
    replay_gb: Gigabytes | None = None
    """[Agents that learn from sequences] Keep the replay on disk, in the run folder, in at most this many gigabytes.
    The newest steps stay in memory too, the oldest are dropped; the projected size is shown at the start."""
    video: bool = True
    """Film an episode of the final policy, where the environment can be drawn."""
    threads: Threads | None = None
    """CPU threads; default: all cores that this process may use."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where JAX computes; `auto` takes a GPU if JAX finds one."""
