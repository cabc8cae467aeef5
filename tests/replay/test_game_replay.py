"""Games that are stored know how they ended."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.replay.games import GameReplay, Searched
from forethought.types import Discrete, EnvSpec, Transition

SPEC = EnvSpec("toy", 2, Discrete(3))
ENVS = 3
add = eqx.filter_jit(lambda replay, batch, valid: replay.add(batch, valid), donate="all")
outcomes = eqx.filter_jit(lambda replay, discount: replay.outcomes(discount))


def ticks(count, *, seed=0, truncates=0.05):
    """`count` ticks of games in which anybody may be to move; observations number the rows."""
    rng, made = np.random.default_rng(seed), []
    for tick in range(count):
        ended = rng.random(ENVS) < 0.2
        cut = rng.random(ENVS) < truncates
        number = np.arange(tick * ENVS, (tick + 1) * ENVS)
        obs = np.stack([number, -number], -1).astype(np.float32)
        weights = rng.dirichlet(np.ones(3), ENVS).astype(np.float32)
        player = rng.integers(0, 2, ENVS).astype(np.int32)
        reward = rng.normal(size=ENVS).astype(np.float32)
        rows = (obs, rng.integers(0, 3, ENVS).astype(np.int32), reward, obs + 1, ended, cut)
        made.append(Transition(*map(jnp.asarray, rows), extras=Searched(jnp.asarray(weights), jnp.asarray(player))))
    return made


def by_hand(rows, discount):
    """`(value, known)` of every row of each environment, by looking ahead from each."""
    found = {}
    for env in range(ENVS):
        steps = [jax.tree.map(lambda x, env=env: np.asarray(x[env]), row) for row in rows]
        for i in range(len(steps)):
            value, weight, player = 0.0, 1.0, steps[i].extras.player
            for step in steps[i:]:
                value += weight * step.reward * (1 if step.extras.player == player else -1)
                weight *= discount
                if step.terminated or step.truncated:
                    found[int(steps[i].obs[0])] = (value, bool(step.terminated))
                    break
            else:
                found[int(steps[i].obs[0])] = (None, False)
    return found


@pytest.mark.parametrize("count", [5, 8, 21])
def test_outcomes_are_those_of_a_plain_loop_also_after_the_ring_has_turned(count):
    rows = ticks(count)
    replay = GameReplay.empty(SPEC, 8 * ENVS - 1, ENVS)
    assert replay.capacity == 8 * ENVS
    for row in rows:
        replay = add(replay, row, None)
    found, wanted = outcomes(replay, 0.9), by_hand(rows[-8:], 0.9)
    stored, in_use = replay.rows()
    assert int(replay.size) == in_use.sum() == min(count, 8) * ENVS
    for k in range(replay.capacity):
        if not in_use[k]:
            assert not found.known[k]
            continue
        value, known = wanted[int(stored.obs[k, 0])]
        assert bool(found.known[k]) == known
        if known:
            np.testing.assert_allclose(found.value[k], value, rtol=1e-4, atol=1e-6)


def test_games_that_are_not_over_or_were_cut_off_by_time_are_no_draws():
    no, yes = jnp.zeros(ENVS, bool), jnp.array([True, False, False])
    row = ticks(1)[0]
    reward = jnp.array([1.0, 0.0, 0.0])
    over = dataclasses.replace(row, reward=reward, terminated=yes, truncated=jnp.array([False, True, False]))
    under_way = dataclasses.replace(row, reward=0 * reward, terminated=no, truncated=no)
    replay = GameReplay.empty(SPEC, 4 * ENVS, ENVS).add(under_way).add(over).add(under_way)
    known = outcomes(replay, 1.0).known.reshape(ENVS, 4).T
    np.testing.assert_array_equal(known[:3], [[True, False, False]] * 2 + [[False] * 3])


def test_a_truncation_with_a_termination_is_an_end():
    yes = jnp.ones(ENVS, bool)
    row = dataclasses.replace(ticks(1)[0], terminated=yes, truncated=yes)
    found = outcomes(GameReplay.empty(SPEC, ENVS, ENVS).add(row), 1.0)
    assert found.known.all()
    np.testing.assert_allclose(found.value, row.reward)


def test_what_follows_a_cut_is_another_game():
    no, yes = jnp.zeros(ENVS, bool), jnp.ones(ENVS, bool)
    first, second, last = (dataclasses.replace(r, terminated=no, truncated=no) for r in ticks(3))
    last = dataclasses.replace(last, terminated=yes)
    replay = GameReplay.empty(SPEC, 4 * ENVS, ENVS).add(first).cut().add(second).add(last)
    known = outcomes(replay, 1.0).known.reshape(ENVS, 4).T
    np.testing.assert_array_equal(known[:, 0], [False, True, True, False])
    whole = GameReplay.empty(SPEC, 4 * ENVS, ENVS).cut().add(last).cut()
    assert outcomes(whole, 1.0).known.sum() == ENVS and not whole.rings.data.truncated.any()


def test_positions_are_drawn_alike_and_carry_what_belongs_to_them():
    rows = ticks(4, truncates=0.0)
    replay = GameReplay.empty(SPEC, 8 * ENVS, ENVS)
    for row in rows:
        replay = add(replay, row, None)
    found = outcomes(replay, 1.0)
    drawn = replay.positions(found, 6000, key=jr.key(0))
    number = np.asarray(drawn.obs[:, 0], int)
    np.testing.assert_allclose(np.bincount(number, minlength=12), 500, atol=110)
    weights = np.concatenate([row.extras.weights for row in rows])
    np.testing.assert_array_equal(drawn.weights, weights[number])
    row = number % ENVS * 8 + number // ENVS  # rows lie game by game
    np.testing.assert_array_equal(drawn.value, np.asarray(found.value)[row])
    np.testing.assert_array_equal(drawn.known, np.asarray(found.known)[row])


def test_a_tick_counts_whole_or_not_at_all():
    first, second = ticks(2)
    replay = GameReplay.empty(SPEC, 4 * ENVS, ENVS).add(first, jnp.ones(ENVS, bool))
    same = replay.add(second, jnp.array([True, False, True]))
    assert int(same.size) == ENVS
    np.testing.assert_array_equal(same.latest(ENVS).obs, first.obs)


def test_other_numbers_of_rows_are_refused():
    with pytest.raises(ValueError, match="3 rows for games of num_envs=2; add one of each"):
        GameReplay.empty(SPEC, 8, 2).add(ticks(1)[0])
    with pytest.raises(ValueError, match="num_envs=0 must be at least 1"):
        GameReplay.empty(SPEC, 8, 0)
