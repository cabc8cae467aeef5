"""stable-baselines3 on tasks of Gymnasium's: the model-free baselines that our cards are shown beside.

    .venv-peers/bin/python -m benchmarks.peers.sb3_train sac-pendulum ppo-cartpole dqn-cartpole

Hyper-parameters are those that rl-zoo3 tuned for these tasks, in its words (`lin_x`: from x linearly to 0); what is not
named is stable-baselines3's default. A raw file per task and seed holds every training episode, an evaluation of 10
episodes after every twentieth of the run, and one of 20 episodes of the last policy, which is what counts. Policies are
evaluated without exploration, every episode from a start of its own that training does not see.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import re
import time
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from . import sb3_sac

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "results" / "sb3"
AGENTS = {"sac": SAC, "ppo": PPO, "dqn": DQN}
EVALUATIONS, EPISODES, FINAL_EPISODES = 20, 10, 20
FIRST_START = 1_000_000  # seed of the first start of evaluations; those of training are below


@dataclasses.dataclass(frozen=True)
class Task:
    """What is trained where, for how long, and with which settings."""

    agent: str
    env: str
    steps: int
    mark: float  # mean return whose first evaluation is noted
    hyper_parameters: dict[str, Any]
    num_envs: int = 1


TASKS = {
    "sac-pendulum": Task("sac", "Pendulum-v1", 10_000, -200.0, {"learning_rate": 1e-3}),
    "ppo-cartpole": Task(
        "ppo",
        "CartPole-v1",
        100_000,
        475.0,
        {
            "n_steps": 32,
            "batch_size": 256,
            "gae_lambda": 0.8,
            "gamma": 0.98,
            "n_epochs": 20,
            "ent_coef": 0.0,
            "learning_rate": "lin_0.001",
            "clip_range": "lin_0.2",
        },
        num_envs=8,
    ),
    "dqn-cartpole": Task(
        "dqn",
        "CartPole-v1",
        50_000,
        400.0,
        {
            "learning_rate": 2.3e-3,
            "batch_size": 64,
            "buffer_size": 100_000,
            "learning_starts": 1000,
            "gamma": 0.99,
            "target_update_interval": 10,
            "train_freq": 256,
            "gradient_steps": 128,
            "exploration_fraction": 0.16,
            "exploration_final_eps": 0.04,
            "policy_kwargs": {"net_arch": [256, 256]},
        },
    ),
}


def scheduled(value: Any) -> Any:
    """`value`, or the schedule that it names; schedules are told which share of the run is left."""
    if isinstance(value, str) and value.startswith("lin_"):
        first = float(value.removeprefix("lin_"))
        return lambda left: left * first
    return value


def algorithm(task: Task, seed: int) -> BaseAlgorithm:
    """An untrained agent with its environments."""
    envs = make_vec_env(task.env, n_envs=task.num_envs, seed=seed)
    chosen = {name: scheduled(value) for name, value in task.hyper_parameters.items()}
    return AGENTS[task.agent]("MlpPolicy", envs, seed=seed, device="cpu", **chosen)


def play(model: BaseAlgorithm, env: gymnasium.Env, start: int) -> float:
    """Return of one episode without exploration."""
    obs, _ = env.reset(seed=start)
    total, over = 0.0, False
    while not over:
        action, _ = model.predict(obs, deterministic=True)
        obs, reward, terminated, truncated, _ = env.step(action)
        total, over = total + float(reward), terminated or truncated
    return total


class Curve(BaseCallback):
    """Rows of training episodes and evaluations. Its clock stands still during evaluations."""

    def __init__(self, task: Task, seed: int):
        super().__init__()
        self.env, self.every = gymnasium.make(task.env), task.steps // EVALUATIONS
        self.next, self.last = self.every, task.steps - self.every
        self.start = FIRST_START + 1000 * seed
        self.rows: list[dict[str, Any]] = []
        self.begun = time.perf_counter()

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self._note("episode", {"return": round(float(info["episode"]["r"]), 3), "length": info["episode"]["l"]})
        if self.next <= min(self.num_timesteps, self.last):
            self.next += self.every
            self.evaluate(EPISODES)
        return True

    def evaluate(self, episodes: int, *, final: bool = False) -> dict[str, Any]:
        """A row of `episodes` from fresh starts."""
        stopped = time.perf_counter()
        starts = range(self.start, self.start + episodes)
        self.start += episodes
        returns = [round(play(self.model, self.env, start), 3) for start in starts]
        self.begun += time.perf_counter() - stopped
        mean = round(float(np.mean(returns)), 3)
        return self._note("eval", {"returns": returns, "mean_return": mean, "final": final})

    def _note(self, kind: str, values: dict[str, Any]) -> dict[str, Any]:
        seconds = round(time.perf_counter() - self.begun, 3)
        self.rows.append({"kind": kind, "env_steps": self.model.num_timesteps, "train_s": seconds, **values})
        return self.rows[-1]


def train(task: Task, seed: int) -> dict[str, Any]:
    """What a run gave: curve, last policy, seconds."""
    begun = time.perf_counter()
    curve, model = Curve(task, seed), algorithm(task, seed)
    model.learn(task.steps, callback=curve)
    last = curve.evaluate(FINAL_EPISODES, final=True)
    reached = [row["env_steps"] for row in curve.rows if row["kind"] == "eval" and row["mean_return"] >= task.mark]
    return {
        "env_steps": model.num_timesteps,
        "final_return": last["mean_return"],
        "first_evaluation_at_mark": reached[0] if reached else None,
        "train_s": last["train_s"],
        "wall_s": round(time.perf_counter() - begun, 3),
        "rows": curve.rows,
    }


def made_with(threads: int) -> dict[str, Any]:
    """Versions, hardware, and how busy the machine is."""
    cpu = re.search(r"^model name\s*:\s*(.+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "versions": {"python": platform.python_version(), **sb3_sac.versions()},
        "hardware": {"cpu": cpu[1] if cpu else platform.processor(), "cores": len(os.sched_getaffinity(0))},
        "threads": threads,
        "loadavg": list(os.getloadavg()),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def layout(raw: dict[str, Any]) -> str:
    """JSON with a line for every entry and every row."""
    rows = ",\n".join(f"  {json.dumps(row)}" for row in raw["rows"])
    head = "".join(f" {json.dumps(name)}: {json.dumps(value)},\n" for name, value in raw.items() if name != "rows")
    return f'{{\n{head} "rows": [\n{rows}\n ]\n}}\n'


def main() -> None:
    """Trains what is named, one seed after another, and writes the raw files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", choices=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="%(default)s")
    parser.add_argument("--steps", type=int, help="of each run; default: the task's")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (%(default)s)")
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS, help="folder of the raw files")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for name in given.tasks:
        task = TASKS[name] if given.steps is None else dataclasses.replace(TASKS[name], steps=given.steps)
        for seed in given.seeds:
            raw = {"library": "stable-baselines3", "task": name, **dataclasses.asdict(task), "seed": seed}
            raw |= made_with(given.threads) | train(task, seed)
            path = given.out / name / f"seed-{seed}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(layout(raw))
            print(f"{name}, seed {seed}: {raw['final_return']:.1f} in the end, {raw['train_s']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
