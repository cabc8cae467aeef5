"""The agents by name. Importing this imports no JAX: an agent's module is loaded when it is built."""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from .errors import UserError, nearest
from .presets.values import checked, merged, names


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where an agent and its config are."""

    summary: str
    presets_module: str
    config_name: str
    agent_module: str
    agent_name: str
    takes: tuple[str, ...] = ("given", "learner", "planner")
    """What else it is built from; without `given` it learns reward and termination itself, with `rules` it plans on the
    true ones."""
    model: bool = True
    """Whether it has a model; model-free agents learn from what they meet alone."""
    tabular: bool = False
    """Whether it is for tasks of numbered states, and for no others."""
    example: str = ""
    """A task and options behind `forethought train AGENT` that suit it."""

    @property
    def config_type(self) -> type:
        """The config's dataclass."""
        return getattr(importlib.import_module(self.presets_module), self.config_name)

    @property
    def presets(self) -> dict[str, Any]:
        """Configs by preset name; `default` is among them."""
        return importlib.import_module(self.presets_module).PRESETS

    @property
    def agent_type(self) -> type:
        """The agent's class (imports JAX)."""
        return getattr(importlib.import_module(self.agent_module), self.agent_name)

    def build(self, spec: Any, config: Any, **parts: Any) -> Any:
        """The agent, made from those of `parts` that it takes (imports JAX)."""
        return self.agent_type(spec, config, **{name: part for name, part in parts.items() if name in self.takes})

    def preset(self, name: str) -> Any:
        """The config of a preset. Raises UserError if there is none of that name."""
        if not isinstance(name, str) or name not in self.presets:
            raise UserError(f"unknown preset {name!r}; {nearest(name, list(self.presets))}")
        return self.presets[name]

    def settings(self, preset: str, config: Any = None) -> Any:
        """The config of a preset, or `config`: a whole one, or a dictionary of changes to the preset, nested or with
        dotted names. Raises UserError for unknown settings and invalid values."""
        base = self.preset(preset)
        if isinstance(config, Mapping):
            return merged(base, config)
        if config is not None and not isinstance(config, self.config_type):
            raise UserError(
                f"config={type(config).__name__} must be a {self.config_name}, or a dictionary of settings such as "
                f"{{{next(iter(names(base)))!r}: ...}}"
            )
        return checked(base if config is None else config)


AGENTS: dict[str, Entry] = {
    "pets": Entry(
        "probabilistic ensemble, trajectory sampling and CEM, replanning every step (Chua et al. 2018)",
        "forethought.presets.pets",
        "PETSConfig",
        "forethought.agents.planning",
        "PlanningAgent",
        example="pets-cartpole --preset cartpole --steps 2000",
    ),
    "mbpo": Entry(
        "soft actor-critic on short rollouts of an ensemble, branched from real states (Janner et al. 2019)",
        "forethought.presets.mbpo",
        "MBPOConfig",
        "forethought.agents.mbpo",
        "MBPO",
        takes=("given", "learner"),
        example="pendulum --preset pendulum --steps 4000",
    ),
    "sac": Entry(
        "soft actor-critic with a learned temperature, model-free (Haarnoja et al. 2018)",
        "forethought.presets.sac",
        "SACConfig",
        "forethought.agents.sac",
        "SAC",
        takes=(),
        model=False,
        example="pendulum --preset pendulum --steps 10000",
    ),
    "ppo": Entry(
        "policy gradients with a clipped objective, model-free, for any actions (Schulman et al. 2017)",
        "forethought.presets.ppo",
        "PPOConfig",
        "forethought.agents.ppo",
        "PPO",
        takes=(),
        model=False,
        example="CartPole-v1 --preset cartpole --num-envs 8 --steps 100000",
    ),
    "dqn": Entry(
        "deep Q-learning with double targets, model-free, for discrete actions (Mnih et al. 2015)",
        "forethought.presets.dqn",
        "DQNConfig",
        "forethought.agents.dqn",
        "DQN",
        takes=(),
        model=False,
        example="CartPole-v1 --preset cartpole --steps 50000",
    ),
    "random-shooting": Entry(
        "deterministic network and random-shooting MPC with data aggregation (Nagabandi et al. 2017)",
        "forethought.presets.random_shooting",
        "RandomShootingConfig",
        "forethought.agents.planning",
        "PlanningAgent",
        example="pets-cartpole --preset cartpole --steps 2000",
    ),
    "mpc-ladder": Entry(
        "the ladder of model-based RL: version 0.5 random data, 1.0 aggregates data, 1.5 replans every step",
        "forethought.presets.mpc_ladder",
        "MPCLadderConfig",
        "forethought.agents.planning",
        "PlanningAgent",
        example="pets-cartpole --preset cartpole --version 1.0 --steps 2000",
    ),
    "pilco": Entry(
        "policy search by moment matching through Gaussian processes, in seconds of data (Deisenroth & Rasmussen 2011)",
        "forethought.presets.pilco",
        "PILCOConfig",
        "forethought.agents.pilco",
        "PILCO",
        takes=("given",),
        example="pilco-pendulum --preset pendulum --steps 400",
    ),
    "ilqr": Entry(
        "iLQR or DDP from the previous plan at every step, on the true dynamics or a network (Tassa et al. 2012)",
        "forethought.presets.ilqr",
        "ILQRConfig",
        "forethought.agents.planning",
        "PlanningAgent",
        example="cartpole-swingup --preset cartpole-swingup --oracle --steps 400",
    ),
    "planet": Entry(
        "CEM in the latent space of a recurrent state-space model, replanning every step (Hafner et al. 2019)",
        "forethought.presets.planet",
        "PlaNetConfig",
        "forethought.agents.planet",
        "PlaNet",
        takes=("planner",),
        example="pendulum --preset pendulum --steps 5000",
    ),
    "dreamer-v1": Entry(
        "latent world model: Gaussian latents, an actor that climbs values through the model (Hafner et al. 2020)",
        "forethought.presets.dreamer_v1",
        "DreamerV1Config",
        "forethought.agents.dreamer_v1",
        "DreamerV1",
        takes=(),
        example="pendulum --preset pendulum --steps 10000",
    ),
    "dreamer-v2": Entry(
        "latent world model: categorical latents, actor and critic with a target in its dreams (Hafner et al. 2021)",
        "forethought.presets.dreamer_v2",
        "DreamerV2Config",
        "forethought.agents.dreamer_v2",
        "DreamerV2",
        takes=(),
        example="catch --preset catch --num-envs 16 --steps 50000",
    ),
    "dreamer-v3": Entry(
        "latent world model with categorical latents; actor and critic learn in its dreams (Hafner et al. 2023)",
        "forethought.presets.dreamer_v3",
        "DreamerV3Config",
        "forethought.agents.dreamer_v3",
        "DreamerV3",
        takes=(),
        example="catch --preset catch --num-envs 16 --steps 50000",
    ),
    "local-lqr": Entry(
        "local controllers: linear-Gaussian models from few rollouts, KL-constrained LQR (Levine & Abbeel 2014)",
        "forethought.presets.local_lqr",
        "LocalLQRConfig",
        "forethought.agents.local_lqr",
        "LocalLQR",
        takes=("given",),
        example="reacher --steps 6000",
    ),
    "gps": Entry(
        "guided policy search: one network learns from several local controllers (Montgomery & Levine 2016)",
        "forethought.presets.gps",
        "GPSConfig",
        "forethought.agents.gps",
        "GPS",
        takes=("given",),
        example="reacher --preset reacher --steps 12000",
    ),
    "alphazero": Entry(
        "tree search on the true rules, guided by a network that learns from its games (Silver et al. 2018)",
        "forethought.presets.alphazero",
        "AlphaZeroConfig",
        "forethought.agents.alphazero",
        "AlphaZero",
        takes=("rules",),
        example="tic-tac-toe --preset tic-tac-toe --num-envs 64 --steps 50000",
    ),
    "expert-iteration": Entry(
        "a tree search is the expert, a network its apprentice and its guide (Anthony et al. 2017)",
        "forethought.presets.expert_iteration",
        "ExpertIterationConfig",
        "forethought.agents.expert_iteration",
        "ExpertIteration",
        takes=("rules",),
        example="tic-tac-toe --preset tic-tac-toe --num-envs 64 --steps 50000",
    ),
    "dyna-q": Entry(
        "Q-learning from real steps and from those that a learned table imagines (Sutton 1990)",
        "forethought.presets.dyna_q",
        "DynaQConfig",
        "forethought.agents.dyna_q",
        "DynaQ",
        takes=(),
        tabular=True,
        example="dyna-maze --preset maze --steps 4000",
    ),
    "dyna-q-plus": Entry(
        "Dyna-Q with a bonus for what was not tried for long: finds out that the world has changed (Sutton 1990)",
        "forethought.presets.dyna_q_plus",
        "DynaQConfig",
        "forethought.agents.dyna_q",
        "DynaQ",
        takes=(),
        tabular=True,
        example="shortcut-maze --preset shortcut-maze --steps 6000",
    ),
    "prioritised-sweeping": Entry(
        "values from a learned table, updated first where they would change most (Moore & Atkeson 1993)",
        "forethought.presets.prioritised_sweeping",
        "PrioritisedSweepingConfig",
        "forethought.agents.prioritised_sweeping",
        "PrioritisedSweeping",
        takes=(),
        tabular=True,
        example="dyna-maze --steps 4000",
    ),
    "model-samples": Entry(
        "Q-learning, Sarsa or Monte-Carlo control on samples of a learned table alone, or exact planning in it",
        "forethought.presets.model_samples",
        "ModelSamplesConfig",
        "forethought.agents.model_samples",
        "ModelSamples",
        takes=(),
        tabular=True,
        example="random-mdp --steps 5000",
    ),
}


def find(name: str) -> Entry:
    """The entry of an agent. Raises UserError, with the nearest names, if there is none."""
    if name not in AGENTS:
        raise UserError(f"unknown agent {name!r}; {nearest(name, list(AGENTS))}")
    return AGENTS[name]
