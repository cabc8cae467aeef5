"""Local controllers alone: config and presets."""

import dataclasses

from .local_control import LocalControlConfig


@dataclasses.dataclass(frozen=True)
class LocalLQRConfig:
    """KL-constrained trajectory optimisation under local models, one controller for each start."""

    control: LocalControlConfig = LocalControlConfig()


PRESETS: dict[str, LocalLQRConfig] = {
    "default": LocalLQRConfig(),
    "plain-regression": LocalLQRConfig(LocalControlConfig(prior="none")),
    "no-trust-region": LocalLQRConfig(LocalControlConfig(trust_region=False)),
    "paper": LocalLQRConfig(
        LocalControlConfig(starts=1, clusters=20, cluster_rows=40, prior_episodes=20, initial_std=1.0)
    ),
}
