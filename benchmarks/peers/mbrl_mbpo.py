"""Parts of mbrl-lib's MBPO at work: gradient steps of its SAC, and rollouts of its policy through its model.

Both are as its `mbpo_halfcheetah.yaml` has them but for the sizes; calls are those of its own training loop.
"""

import mbrl.algorithms.mbpo
import mbrl.env.termination_fns
import mbrl.models
import mbrl.types
import mbrl.util
import mbrl.util.common
import numpy as np
import torch
from mbrl.planning.sac_wrapper import SACAgent
from mbrl.third_party.pytorch_sac_pranz24 import SAC
from omegaconf import DictConfig

from .. import work
from . import mbrl_lib
from .jobs import Spaces, transitions

HALFCHEETAH = "mbpo_halfcheetah"


def config(networks: work.Networks, policy: tuple[int, ...]) -> DictConfig:
    """Its configuration for HalfCheetah. Raises ValueError for networks that it cannot describe."""
    if len(set(policy)) != 1 or len(policy) != 2 or len(set(networks.hidden)) != 1:
        raise ValueError(
            f"mbrl-lib has policies of two equal layers and models of equal layers, not {policy}, {networks}"
        )
    sizes = {"in_size": networks.obs + networks.action, "out_size": networks.obs + 1}
    changes = {"num_elites": networks.elites, "sac_hidden_size": policy[0]}
    found = mbrl_lib.config(HALFCHEETAH, algorithm="mbpo", **sizes, **changes)
    model = found.dynamics_model
    model.num_layers, model.hid_size, model.ensemble_size = len(networks.hidden), networks.hidden[0], networks.members
    return found


def replay(obs: int, action: int, rows: int, **dtypes) -> mbrl.util.ReplayBuffer:
    """Filled with random transitions."""
    made = mbrl.util.ReplayBuffer(rows, (obs,), (action,), rng=np.random.default_rng(0), **dtypes)
    *values, ends = transitions(obs, action, rows)
    made.add_batch(*values, ends, ends)
    return made


class Updates:
    """Gradient steps of actor, critics and temperature, drawing the batches included."""

    def __init__(self, sizes: work.SacUpdates):
        self.sizes, spaces = sizes, Spaces(sizes.obs, sizes.action)
        cfg = config(work.Networks(sizes.obs, sizes.action), tuple(sizes.hidden))
        self.agent = SAC(sizes.obs, spaces.action_space, cfg.algorithm.agent.args)
        self.replay = replay(sizes.obs, sizes.action, sizes.rows)
        learned = (*self.agent.policy.parameters(), *self.agent.critic.parameters())
        self.parameters = sum(p.numel() for p in learned)

    def __call__(self) -> None:
        for step in range(self.sizes.steps):
            self.agent.update_parameters(self.replay, self.sizes.batch, step, reverse_mask=True)


def rollouts(sizes: work.BranchedRollouts):
    """Rollouts from as many states of a replay at once, into the replay of SAC; nothing terminates."""
    n = sizes.networks
    cfg, spaces = config(n, tuple(sizes.policy)), Spaces(n.obs, n.action)
    agent = SACAgent(SAC(n.obs, spaces.action_space, cfg.algorithm.agent.args))
    model = mbrl.util.common.create_one_dim_tr_model(cfg, (n.obs,), (n.action,))
    real = replay(n.obs, n.action, sizes.starts, obs_type=np.double, action_type=np.double, reward_type=np.double)
    model.update_normalizer(real.get_all())
    model.set_elite(list(range(n.elites)))
    ends = mbrl.env.termination_fns.no_termination
    model_env = mbrl.models.ModelEnv(spaces, model, ends, None, generator=torch.Generator())
    imagined = mbrl.util.ReplayBuffer(sizes.starts * sizes.horizon, (n.obs,), (n.action,))
    roll = mbrl.algorithms.mbpo.rollout_model_and_populate_sac_buffer
    sampled = cfg.algorithm.sac_samples_action
    return lambda: roll(model_env, real, agent, imagined, sampled, sizes.horizon, sizes.starts)
