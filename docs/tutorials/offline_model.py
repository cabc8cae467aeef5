"""A model from logged data, without an environment: fit it, see how far it can be trusted, imagine in it."""

import gymnasium
import jax
import numpy as np

from forethought import imagine
from forethought.fitting import fit, load_model
from forethought.presets.fit import FitConfig
from forethought.presets.parts import EnsembleConfig

# Any log will do: obs [steps, obs], action [steps, action], reward, terminated and truncated [steps]. Here random play.
env, rows = gymnasium.make("Pendulum-v1"), []
env.action_space.seed(0)
obs, _ = env.reset(seed=0)
for _ in range(1000):
    action = env.action_space.sample()
    next_obs, reward, terminated, truncated, _ = env.step(action)
    rows.append((obs, action, reward, next_obs, terminated, truncated))
    obs = env.reset()[0] if terminated or truncated else next_obs
names = ("obs", "action", "reward", "next_obs", "terminated", "truncated")
np.savez("log.npz", **{name: np.array(column) for name, column in zip(names, zip(*rows))})

model = EnsembleConfig(hidden=(64, 64), particles=5, epochs=20, min_steps=1000, batch_size=64)
fitted = fit("log.npz", config=FitConfig(horizon=10, termination="never", model=model))
print(fitted.verdict)
print("report", fitted.save("pendulum-model")["report"])

model = load_model("pendulum-model")
belief = model.init(jax.numpy.array([-1.0, 0.0, 0.0]), key=jax.random.key(1))  # hanging at rest
actions = jax.numpy.full((10, 1), 2.0)  # [horizon, action]; a function (belief, key) -> actions is a policy to follow
seen = imagine(model, belief, actions, key=jax.random.key(2))  # leaves [horizon, particles, ...]
print("imagined rewards", seen.rewards.mean(1))
