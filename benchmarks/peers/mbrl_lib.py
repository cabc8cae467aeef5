"""mbrl-lib 0.2.0 as its own configuration files describe it, with what its wheel lacks to run today.

Runs in the environment that `benchmarks.peers.install` makes; run as a program it says what it found there.

Nothing of mbrl-lib is changed or replaced. What is added from outside:
- `CEM`: the settings of the optimiser, whose YAML file the wheel leaves out;
- `_recursive_: false` in two places, which the Hydra it was written for did not need;
- `CartPole`: its cart-pole of PETS with a MuJoCo model of the same numbers, as the wheel leaves out the XML file too,
  and with the render modes that current Gymnasium insists on.
"""

import importlib.metadata
import pathlib
import tempfile

import gymnasium
import mbrl.env.reward_fns
import mbrl.env.termination_fns
import mbrl.models
import mbrl.planning
import mbrl.util.common
import numpy as np
import torch
from gymnasium import utils
from gymnasium.envs.mujoco import mujoco_env
from mbrl.env import cartpole_continuous, pets_cartpole
from omegaconf import DictConfig, OmegaConf

PACKAGES = ("mbrl", "torch", "hydra-core", "omegaconf", "gymnasium", "mujoco", "numpy")

CEM = {
    "_target_": "mbrl.planning.CEMOptimizer",
    "num_iterations": "${overrides.cem_num_iters}",
    "elite_ratio": "${overrides.cem_elite_ratio}",
    "population_size": "${overrides.cem_population_size}",
    "alpha": "${overrides.cem_alpha}",
    "lower_bound": "???",
    "upper_bound": "???",
    "return_mean_elites": True,
    "device": "${device}",
    "clipped_normal": "${overrides.cem_clipped_normal}",
}

MODEL = """<mujoco><compiler inertiafromgeom="true"/>
<option gravity="0 0 -9.81" integrator="RK4" timestep="0.02"/>
<worldbody><body name="cart">
  <joint name="slider" type="slide" axis="1 0 0" limited="true" range="-2.5 2.5" damping="1"/>
  <geom type="capsule" quat="0.707 0 0.707 0" size="0.1 0.1" contype="0" conaffinity="0"/>
  <body name="pole"><joint name="hinge" type="hinge" axis="0 1 0" limited="false" damping="1"/>
  <geom type="capsule" fromto="0 0 0 0.001 0 -0.6" size="0.049 0.3" contype="0" conaffinity="0"/></body>
</body></worldbody>
<actuator><motor joint="slider" gear="100" ctrlrange="-3 3" ctrllimited="true"/></actuator></mujoco>
"""


class CartPole(pets_cartpole.CartPoleEnv):
    """mbrl-lib's `cartpole_pets_version`: its own step, reward and start, on our copy of the model."""

    metadata = {"render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"], "render_fps": 25}

    def __init__(self) -> None:
        utils.EzPickle.__init__(self)
        box = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float64)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "cartpole.xml"
            path.write_text(MODEL)
            mujoco_env.MujocoEnv.__init__(self, str(path), 2, box)


def config(
    overrides: str, *, in_size: int, out_size: int = 4, algorithm: str = "pets", seed: int = 0, **changes
) -> DictConfig:
    """The package's configuration `overrides` with `algorithm`, its ensemble and CEM, on the CPU.

    `changes` replace entries of the overrides. `in_size` and `out_size` are what its documentation says to give by
    hand.
    """
    folder = pathlib.Path(mbrl.__file__).parent / "examples" / "conf"
    found = OmegaConf.create(
        {
            "seed": seed,
            "device": "cpu",
            "debug_mode": False,
            "action_optimizer": CEM,
            "algorithm": OmegaConf.load(folder / "algorithm" / f"{algorithm}.yaml"),
            "dynamics_model": OmegaConf.load(folder / "dynamics_model" / "gaussian_mlp_ensemble.yaml"),
            "overrides": OmegaConf.load(folder / "overrides" / f"{overrides}.yaml"),
        }
    )
    # Hydra from 1.1 on makes nested parts first unless told not to; mbrl-lib makes them itself.
    found.dynamics_model._recursive_ = False
    found.algorithm.agent._recursive_ = False
    found.dynamics_model.in_size = in_size
    found.dynamics_model.out_size = out_size
    for name, value in changes.items():
        found.overrides[name] = value
    return found


def continuous_cartpole() -> tuple:
    """`cartpole_continuous`: configuration, environment, and its given termination and reward."""
    env = cartpole_continuous.CartPoleEnv()
    cfg = config("pets_cartpole", in_size=5)
    return cfg, env, mbrl.env.termination_fns.cartpole, mbrl.env.reward_fns.cartpole


def pets_version(seed: int = 0) -> tuple:
    """`cartpole_pets_version` at the configuration made for it: 200 steps, sine and cosine of the angle."""
    cfg = config("pets_cartpole_paper_version", in_size=6, seed=seed)
    env = gymnasium.wrappers.TimeLimit(CartPole(), max_episode_steps=cfg.overrides.trial_length)
    return cfg, env, mbrl.env.termination_fns.no_termination, mbrl.env.reward_fns.cartpole_pets


def agent(cfg: DictConfig, env: gymnasium.Env, termination, reward, obs: np.ndarray, action: np.ndarray) -> tuple:
    """An untrained model with normalisation of the rows given and its first elites chosen, and the agent on it."""
    model = mbrl.util.common.create_one_dim_tr_model(cfg, env.observation_space.shape, env.action_space.shape)
    nothing = np.zeros(len(obs), bool)
    batch = mbrl.types.TransitionBatch(obs, action, obs, np.zeros(len(obs)), nothing, nothing)
    model.update_normalizer(batch)
    model.set_elite(list(range(cfg.overrides.num_elites)))
    model_env = mbrl.models.ModelEnv(env, model, termination, reward, generator=torch.Generator())
    planner = mbrl.planning.create_trajectory_optim_agent_for_model(
        model_env, cfg.algorithm.agent, num_particles=cfg.algorithm.num_particles
    )
    return model, planner


def versions() -> dict[str, str]:
    """Of what decides the numbers."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


if __name__ == "__main__":
    for name, version in versions().items():
        print(f"{name} {version}")
