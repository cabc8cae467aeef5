"""sheeprl's Dreamer v3 as its `dreamer_v3_5` has it, the one of the Nature paper, at sizes of our choice.

Runs in the environment that `benchmarks.peers.install` makes; run as a program it says what it found there. Nothing of
sheeprl is changed or replaced: the update is its `train` on a batch from its replay buffer, then its
`update_target_critic`, as its main loop calls them. Its configuration files hold but for what `sheeprl_options` lists.
"""

import importlib.metadata
import pathlib

import gymnasium
import hydra
import numpy as np
import torch
from lightning.fabric import Fabric
from omegaconf import OmegaConf
from sheeprl.algos.dreamer_v3_5 import dreamer_v3_5 as algorithm
from sheeprl.algos.dreamer_v3_5.agent import build_agent
from sheeprl.algos.dreamer_v3_5.utils import Moments
from sheeprl.data.buffers import EnvIndependentReplayBuffer, SequentialReplayBuffer
from sheeprl.utils.utils import dotdict

from .. import work
from .sheeprl_options import overrides
from .trials import Trials

PACKAGES = ("sheeprl", "torch", "lightning", "hydra-core", "gymnasium", "numpy")


def config(sizes: work.Dreaming, *, compiled: bool = False):
    """The configuration at those sizes; `compiled` switches on its `algo.compile`."""
    changes = ["env=gym", f"algo.compile.enabled={compiled}", *overrides(sizes)]
    with hydra.initialize_config_module("sheeprl.configs", version_base="1.3"):
        found = hydra.compose("config", changes)
        # What is worked out only when a run starts (the date in its name, say) is left as it is.
        return dotdict(
            {key: OmegaConf.to_container(found[key], resolve=True) for key in ("algo", "fabric", "distribution")}
        )


class Update:
    """One gradient step of world model, actor and critic, drawing the batch included."""

    def __init__(self, sizes: work.Dreaming, *, compiled: bool = False):
        torch.set_float32_matmul_precision("highest")
        self.cfg = cfg = config(sizes, compiled=compiled)
        torch.distributions.Distribution.set_default_validate_args(cfg.distribution.validate_args)
        cfg.env = dotdict({"num_envs": 1})
        self.fabric = Fabric(accelerator="cpu", devices=1, precision=cfg.fabric.precision)
        steps, rng = 4 * sizes.length, np.random.default_rng(0)
        rows = {name: np.zeros((steps, 1, 1), np.float32) for name in ("terminated", "truncated", "is_first")}
        rows |= {"rewards": rng.normal(size=(steps, 1, 1)), "actions": rng.uniform(-1, 1, (steps, 1, sizes.action))}
        rows[algorithm.STEP_ID_KEY] = np.stack([np.zeros(steps, int), np.arange(steps)], -1)[:, None]
        spaces = {}
        if sizes.obs:
            spaces["state"] = gymnasium.spaces.Box(-np.inf, np.inf, (sizes.obs,))
            rows["state"] = rng.normal(size=(steps, 1, sizes.obs)).astype(np.float32)
        if sizes.image:
            shape = (3, sizes.image, sizes.image)
            spaces["rgb"] = gymnasium.spaces.Box(0, 255, shape, np.uint8)
            rows["rgb"] = rng.integers(0, 256, (steps, 1, *shape), np.uint8)
        self.replay = EnvIndependentReplayBuffer(steps, n_envs=1, buffer_cls=SequentialReplayBuffer, seed=0)
        self.replay.add(rows)
        self.actions = (sizes.action,)
        agent = build_agent(self.fabric, self.actions, True, cfg, gymnasium.spaces.Dict(spaces))
        self.model, self.actor, self.critic, self.slow_critic, _ = agent
        learned = [p for part in (self.model, self.actor, self.critic) for p in part.parameters()]
        self.parameters = sum(p.numel() for p in learned)
        made = hydra.utils.instantiate(cfg.algo.optimizer, params=learned, _convert_="all")
        self.optimizer = self.fabric.setup_optimizers(made)
        scale = cfg.algo.actor.moments
        self.moments = Moments(scale.decay, scale.max, scale.percentile.low, scale.percentile.high)

    def __call__(self) -> None:
        algo = self.cfg.algo
        sizes = (algo.per_rank_batch_size, algo.per_rank_sequence_length, 1)
        batch, _ = algorithm.sample_sequences(self.replay, *sizes, self.fabric.device)
        parts = (self.model, self.actor, self.critic, self.slow_critic, self.optimizer, self.moments)
        batch = {name: values[0] for name, values in batch.items()}
        algorithm.train(self.fabric, self.cfg, *parts, batch, None, self.actions)
        algorithm.update_target_critic(self.critic, self.slow_critic, algo.critic.tau)


def task(id: str, rows: str) -> gymnasium.Env:
    """A task of Gymnasium's, with a row written after every episode; named in `env.wrapper` of its command line."""
    return Trials(gymnasium.make(id), pathlib.Path(rows))


def versions() -> dict[str, str]:
    """Of what decides the numbers."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


if __name__ == "__main__":
    for name, version in versions().items():
        print(f"{name} {version}")
