"""mbrl-lib at work, on command: one iteration of planning, one pass of fitting, one action, gradient steps of SAC,
branched rollouts, one matrix product."""

import mbrl.models
import mbrl.types
import mbrl.util.common
import numpy as np

from .. import work
from . import mbrl_lib, mbrl_mbpo
from .jobs import peak, serve


def planning(task: dict):
    """One CEM iteration of its PETS on `cartpole_continuous`."""
    wanted = work.from_dict(work.Planning, task)
    cfg, env, termination, reward = mbrl_lib.continuous_cartpole()
    cfg.overrides.cem_num_iters = 1
    cfg.overrides.planning_horizon = wanted.horizon
    cfg.overrides.cem_population_size = wanted.population
    cfg.algorithm.num_particles = wanted.particles
    _check(cfg, wanted.networks)
    obs, actions = _rows(1000, seed=1)
    _, agent = mbrl_lib.agent(cfg, env, termination, reward, obs, actions)

    def run():
        agent.reset()
        agent.act(np.zeros(4))

    return run


def fitting(task: dict):
    """One epoch of its trainer, without its evaluations, on data of the buffer's double precision."""
    wanted = work.from_dict(work.Fitting, task)
    cfg, env, termination, reward = mbrl_lib.continuous_cartpole()
    _check(cfg, wanted.networks)
    obs, actions = _rows(wanted.rows, seed=1)
    model, _ = mbrl_lib.agent(cfg, env, termination, reward, obs, actions)
    cfg.overrides.num_steps = wanted.rows  # the buffer's size
    dtypes = {f"{name}_type": np.double for name in ("obs", "action", "reward")}
    buffer = mbrl.util.common.create_replay_buffer(cfg, (4,), (1,), rng=np.random.default_rng(0), **dtypes)
    nothing = np.zeros(wanted.rows, bool)
    buffer.add_batch(obs, actions, obs + 0.1 * _rows(wanted.rows, seed=2)[0], np.zeros(wanted.rows), nothing, nothing)
    rows, _ = mbrl.util.common.get_basic_buffer_iterators(buffer, wanted.batch, 0, ensemble_size=len(model))
    trainer = mbrl.models.ModelTrainer(model, optim_lr=cfg.overrides.model_lr, weight_decay=cfg.overrides.model_wd)
    return lambda: trainer.train(rows, num_epochs=1, evaluate=False, silent=True)


def action(task: dict):
    """One action of its PETS on `cartpole_pets_version`, at the configuration made for it."""
    wanted = work.from_dict(work.Action, task)
    cfg, env, termination, reward = mbrl_lib.pets_version()
    o = cfg.overrides
    sizes = (cfg.algorithm.num_particles, o.cem_population_size, o.planning_horizon, o.cem_num_iters)
    if sizes != (wanted.particles, wanted.population, wanted.horizon, wanted.iterations):
        raise ValueError(f"mbrl-lib is configured for {sizes}, but {wanted} is to be timed")
    _check(cfg, wanted.networks)
    obs, actions = _rows(1000, seed=1)
    _, agent = mbrl_lib.agent(cfg, env, termination, reward, obs, actions)
    agent.reset()
    return lambda: agent.act(np.zeros(4))


def _rows(count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 4)), rng.uniform(-1, 1, size=(count, 1))


def _check(cfg, networks: work.Networks) -> None:
    """Raises if the package's configuration is not the work that FLOP are counted for."""
    m = cfg.dynamics_model
    found = work.Networks(4, m.in_size - 4, (m.hid_size,) * m.num_layers, m.ensemble_size, cfg.overrides.num_elites)
    if found != networks:
        raise ValueError(f"mbrl-lib is configured for {found}, but {networks} is to be timed")


def sac_updates(task: dict) -> mbrl_mbpo.Updates:
    """Gradient steps of its SAC."""
    return mbrl_mbpo.Updates(work.SacUpdates(**task))


def branched_rollouts(task: dict):
    """Rollouts of its MBPO, once for every update of the model."""
    return mbrl_mbpo.rollouts(work.from_dict(work.BranchedRollouts, task))


KINDS = {
    "planning": planning,
    "fitting": fitting,
    "action": action,
    "sac_updates": sac_updates,
    "branched_rollouts": branched_rollouts,
    "peak": peak,
}


if __name__ == "__main__":
    notes = lambda job: {"parameters": job.parameters} if isinstance(job, mbrl_mbpo.Updates) else {}
    serve(KINDS, mbrl_lib.versions(), notes)
