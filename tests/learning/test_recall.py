"""Each agent of latent models learns a task that needs its memory: a sign is shown, and counts one step later."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import pytest
from latent_world import SMALL

from forethought.agents.dreamer_v1 import DreamerV1
from forethought.agents.dreamer_v2 import DreamerV2
from forethought.agents.dreamer_v3 import DreamerV3
from forethought.agents.planet import PlaNet
from forethought.core import AbstractAgent, AbstractEnv
from forethought.presets.dreamer_v1 import DreamerV1Config
from forethought.presets.dreamer_v2 import DreamerV2Config
from forethought.presets.dreamer_v3 import DreamerV3Config
from forethought.presets.parts import PlannerConfig
from forethought.presets.planet import PlaNetConfig
from forethought.replay.sequence import SequenceReplay
from forethought.run.evaluate import JitEvaluator
from forethought.run.jit import JitDriver
from forethought.types import ActionSpace, Box, Discrete, EnvSpec

pytestmark = pytest.mark.slow

BOX = Box((-1.0,), (1.0,))


class RecallState(eqx.Module):
    sign: jax.Array
    steps: jax.Array


class Recall(AbstractEnv[RecallState]):
    """Sees (sign, step), the sign at step 0 only; the second and last action takes none or all of twice the sign.

    Who takes it only if it is positive gets 1 on average; without memory nothing is above 0.
    """

    action: ActionSpace

    @property
    def spec(self):
        return EnvSpec("recall", 2, self.action, max_episode_steps=2)

    def _obs(self, state):
        return jnp.stack([jnp.where(state.steps == 0, state.sign, 0.0), state.steps.astype(jnp.float32)])

    def reset(self, *, key, start=None, clock=0):
        state = RecallState(jr.rademacher(key, dtype=jnp.float32), jnp.zeros((), jnp.int32))
        return state, self._obs(state)

    def step(self, state, action, *, key):
        taken = 0.5 + 0.5 * jnp.clip(action[0], -1.0, 1.0) if isinstance(self.action, Box) else action
        after = RecallState(state.sign, state.steps + 1)
        over = after.steps == 2
        return after, self._obs(after), jnp.where(over, 2.0 * taken * state.sign, 0.0), over, jnp.zeros((), bool)


MODEL = dataclasses.replace(SMALL, deter=32, hidden=32, units=32, blocks=1)
PLAIN = dataclasses.replace(
    MODEL, cell="gru", latent="gaussian", latents=8, norm="none", activation="elu", reward="normal", free_nats=0.1
)
DREAM: dict[str, Any] = {"random_steps": 240, "batch_size": 16, "batch_length": 8, "imagination": 4}
SMALL_ACTOR: dict[str, Any] = {"actor_layers": 1, "critic_layers": 1}
AGENTS: dict[str, tuple[ActionSpace, Callable[[EnvSpec], AbstractAgent]]] = {
    "planet": (
        BOX,
        lambda spec: PlaNet(
            spec,
            PlaNetConfig(
                random_steps=240,
                update_every=240,
                updates=100,
                batch_size=16,
                batch_length=8,
                learning_rate=3e-3,
                model=dataclasses.replace(PLAIN, continues=False),
                planner=PlannerConfig(
                    horizon=3, population=50, elites=5, iterations=3, momentum=0.0, initial_std=0.5, clipped=True
                ),
            ),
        ),
    ),
    "dreamer-v1": (
        BOX,
        lambda spec: DreamerV1(
            spec,
            DreamerV1Config(
                **DREAM, **SMALL_ACTOR, update_every=16, updates=4, model_rate=3e-3, actor_rate=3e-4, critic_rate=1e-3,
                model=dataclasses.replace(PLAIN, reward_scale=10.0),
            ),
        ),
    ),
    "dreamer-v2": (
        Discrete(2),
        lambda spec: DreamerV2(
            spec,
            DreamerV2Config(
                **DREAM, **SMALL_ACTOR, update_every=4, target_every=20, model_rate=3e-3, actor_rate=1e-3,
                critic_rate=1e-3, model=dataclasses.replace(MODEL, cell="layer-gru", norm="none", reward="normal"),
            ),
        ),
    ),
    "dreamer-v3": (
        Discrete(2),
        lambda spec: DreamerV3(
            spec,
            DreamerV3Config(
                **DREAM, **SMALL_ACTOR, train_ratio=32, warmup=50, learning_rate=2e-3, behaviour_rate=1e-3,
                model=MODEL,
            ),
        ),
    ),
}  # fmt: skip


def learn(name: str, seed: int, steps: int) -> tuple[float, float]:
    """Mean return of 200 evaluation episodes before any learning and after it."""
    action, make = AGENTS[name]
    env = Recall(action)
    agent = make(env.spec)
    driver = JitDriver(agent, env)
    evaluate = JitEvaluator(agent, env, num_episodes=200)
    progress = driver.start({"env": SequenceReplay.empty(env.spec, 8000)}, seed=seed)
    before = evaluate(progress.agent_state, key=jr.key(100)).returns.mean()
    *_, end = driver.train(progress, total_steps=steps)
    return float(before), float(evaluate(end.agent_state, key=jr.key(100)).returns.mean())


# Measured over seeds 0 and 1: planet 0.99 and 1.01, dreamer-v1 1.04 twice, dreamer-v2 0.96 and 1.03, dreamer-v3
# 1.01 and 0.98. What a policy without memory gets in these episodes lies between -0.1 and 0.3.
@pytest.mark.parametrize(
    ("name", "steps"), [("planet", 1440), ("dreamer-v1", 2400), ("dreamer-v2", 2000), ("dreamer-v3", 3000)]
)
def test_latent_agent_remembers_a_sign_that_it_saw_one_step_before(name, steps):
    before, after = learn(name, seed=0, steps=steps)
    assert before < 0.4 and after > 0.85
