"""What an agent says beside its actions reaches the replay, in both drivers, and survives a checkpoint."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiny import copied, empty_data, jit_driver, run_to, same_bits

from forethought.core import AbstractAgent, Schedule, programs
from forethought.envs.games.tic_tac_toe import TicTacToe
from forethought.envs.hosted import HostedJaxEnv
from forethought.replay.games import GameReplay, Searched
from forethought.run.jit import JitDriver
from forethought.run.steps import StepDriver
from forethought.storage import checkpoint
from forethought.types import EnvSpec

GAME = TicTacToe()


class Guessing(AbstractAgent):
    """Plays any legal move; what it keeps is their policy, moved by what it has learned of the outcomes."""

    spec: EnvSpec = GAME.spec
    random_steps: int = eqx.field(static=True, default=0)
    update_every: int | None = eqx.field(static=True, default=20)

    @property
    def schedule(self):
        return Schedule.one_round("model", self.update_every, random_steps=self.random_steps)

    def data(self, capacity, num_envs):
        return {"env": GameReplay.empty(self.spec, capacity, num_envs)}

    def init(self, *, key):
        return jnp.zeros(())

    def init_memory(self, state):
        return None

    def act(self, state, memory, obs, *, key, explore):
        moves = GAME.moves(GAME.state_from(obs))
        weights = moves.legal / jnp.maximum(moves.legal.sum(), 1) + state
        return jr.categorical(key, jnp.where(moves.legal, 0.0, -jnp.inf)), None, Searched(weights, moves.player)

    def update(self, state, data, *, round, clock, key):
        found = data["env"].outcomes()
        mean = jnp.sum(jnp.where(found.known, found.value, 0)) / jnp.maximum(found.known.sum(), 1)
        return mean, {}, {"value": mean}


def driver(kind, agent=None, num_envs=2):
    agent = Guessing() if agent is None else agent
    return (
        JitDriver(agent, GAME, num_envs=num_envs) if kind == "jit" else StepDriver(agent, HostedJaxEnv(GAME, num_envs))
    )


def empty(num_envs=2):
    return {"env": GameReplay.empty(GAME.spec, 64, num_envs)}


each_driver = pytest.mark.parametrize("kind", ["jit", "steps"])


@each_driver
@pytest.mark.parametrize("num_envs", [1, 2])
def test_extras_of_every_step_are_stored_beside_it(kind, num_envs):
    one = driver(kind, num_envs=num_envs)
    end = run_to(one, one.start(empty(num_envs), seed=0), 18)
    rows = end.data["env"].latest(18)
    moves = jax.vmap(lambda obs: GAME.moves(GAME.state_from(obs)))(rows.obs)
    np.testing.assert_array_equal(rows.extras.player, moves.player)
    np.testing.assert_allclose(rows.extras.weights, moves.legal / moves.legal.sum(-1, keepdims=True), rtol=1e-6)


def test_both_drivers_store_the_same():
    jit, steps = (run_to(d, d.start(empty(), seed=1), 60) for d in (driver("jit"), driver("steps")))
    assert int(jit.updates) == 3 and jit.agent_state != 0
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        jit.data["env"].rings.data,
        steps.data["env"].rings.data,
    )


@pytest.mark.slow
def test_run_cut_in_two_and_saved_between_equals_one_that_was_not(tmp_path):
    programs.forget()  # so that the driver counts every trace
    one = driver("jit")
    start = one.start(empty(), seed=2)
    whole = run_to(one, copied(start), 70)
    for cut in (12, 20, 50):
        checkpoint.save(tmp_path / "cut.npz", run_to(one, copied(start), cut), {})
        loaded, _ = checkpoint.load(tmp_path / "cut.npz", one.start(empty(), seed=9))
        assert same_bits(run_to(one, loaded, 70), whole), cut
    assert one.traces == {"collect": 1, "update": 1}


@each_driver
def test_uniform_actions_come_with_extras_of_zero(kind):
    agent = Guessing(random_steps=20)
    one = driver(kind, agent)
    end = run_to(one, one.start(empty(), seed=0), 30)
    weights = end.data["env"].latest(30).extras.weights
    assert not weights[:20].any() and weights[20:].any(-1).all()


def test_agents_without_extras_keep_none():
    one = jit_driver("random-shooting")
    end = run_to(one, one.start(empty_data(16, one.env.spec), seed=0), 3)
    assert end.data["env"].rings.data.extras is None


def test_seeds_side_by_side_keep_their_own():
    many = JitDriver(Guessing(), GAME, num_envs=2, num_seeds=2)
    solo = driver("jit")
    together = run_to(many, many.start(empty(), seed=5), 30)
    for i in range(2):
        alone = run_to(solo, solo.start(empty(), seed=5 + i), 30)
        kept = jax.tree.map(lambda x, i=i: x[i], together.data["env"].rings.data)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), kept, alone.data["env"].rings.data)
        np.testing.assert_allclose(together.agent_state[i], alone.agent_state, atol=1e-6)
