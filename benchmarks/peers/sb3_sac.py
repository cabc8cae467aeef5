"""stable-baselines3's SAC at its defaults, at sizes of our choice.

Runs in the environment that `benchmarks.peers.install` makes; run as a program it says what it found there. Nothing of
stable-baselines3 is changed or replaced: gradient steps are its `train` on its replay buffer.
"""

import importlib.metadata

from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import configure

from .. import work
from .jobs import Spaces, transitions

PACKAGES = ("stable-baselines3", "torch", "gymnasium", "numpy")


class Updates:
    """Gradient steps of actor, critics and temperature, drawing the batches included."""

    def __init__(self, sizes: work.SacUpdates):
        self.sizes = sizes
        nets = {"net_arch": list(sizes.hidden)}
        spaces = Spaces(sizes.obs, sizes.action)
        self.model = SAC("MlpPolicy", spaces, buffer_size=sizes.rows, policy_kwargs=nets, seed=0, device="cpu")
        self.model.set_logger(configure(None, []))  # which its `learn` would do
        fill(self.model.replay_buffer, sizes)
        learned = (*self.model.actor.parameters(), *self.model.critic.parameters())
        self.parameters = sum(p.numel() for p in learned)

    def __call__(self) -> None:
        self.model.train(gradient_steps=self.sizes.steps, batch_size=self.sizes.batch)


def fill(buffer: ReplayBuffer, sizes: work.SacUpdates) -> None:
    """Adds random transitions, one by one as it takes them."""
    for obs, action, after, reward, end in zip(*transitions(sizes.obs, sizes.action, sizes.rows)):
        buffer.add(obs, after, action, reward, end, [{}])


def versions() -> dict[str, str]:
    """Of what decides the numbers."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


if __name__ == "__main__":
    for name, version in versions().items():
        print(f"{name} {version}")
