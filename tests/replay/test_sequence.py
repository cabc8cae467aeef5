"""The device replay of sequences against a Python list."""

import dataclasses
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from stream import SPEC, Stream, same_steps
from tiny import Averaging, Walk, run_to, same_bits

from forethought.replay.sequence import SequenceReplay
from forethought.run.jit import JitDriver
from forethought.types import Discrete, EnvSpec, Transition

add = eqx.filter_jit(lambda replay, batch, valid: replay.add(batch, valid), donate="all")
draw = eqx.filter_jit(lambda replay, n, length, key: replay.sequences(n, length, key=key))
rows_of = eqx.filter_jit(lambda replay: replay.rows())
latest = eqx.filter_jit(lambda replay, n: replay.latest(n))
sample = eqx.filter_jit(lambda replay, n, key: replay.sample(n, key=key))


def filled(batches: int, *, num_envs: int = 3, capacity: int = 30, seed: int = 0, valid: float = 1.0, **more):
    """A replay and the stream that filled it."""
    stream, replay = Stream(num_envs, seed=seed, **more), SequenceReplay.empty(SPEC, capacity, num_envs)
    rng = np.random.default_rng(seed + 100)
    for _ in range(batches):
        mask = rng.random(num_envs) < valid
        replay = add(replay, stream.batch(mask), jnp.asarray(mask))
    return replay, stream


def row(tree, i):
    return jax.tree.map(lambda x: np.asarray(x)[i], tree)


@pytest.mark.parametrize("valid", [1.0, 0.6])
@pytest.mark.parametrize("batches", [7, 60])
def test_every_drawn_sequence_is_one_of_the_list_and_all_are_drawn_equally_often(batches, valid):
    replay, stream = filled(batches, valid=valid)
    length, per_env, drawn = 4, 10, 6000
    windows = []
    for steps in stream.steps:
        kept = steps[-per_env:]
        windows += [kept[i : i + length] for i in range(len(kept) - length + 1)]
    assert int(replay.num_sequences(length)) == len(windows)
    found = draw(replay, drawn, length, jr.key(1))
    last_obs = np.asarray(found.obs)[:, -1]
    index = {window[-1].obs.tobytes(): i for i, window in enumerate(windows)}
    which = np.array([index[obs.tobytes()] for obs in last_obs])
    for i, window in enumerate(windows):
        assert same_steps(row(found, int(np.argmax(which == i))), window)
    counts = np.bincount(which, minlength=len(windows))
    expected = drawn / len(windows)
    assert np.sum((counts - expected) ** 2 / expected) < len(windows) + 5 * np.sqrt(2 * len(windows))


def test_whole_buffer_as_one_sequence_ends_at_the_newest_step():
    replay, stream = filled(60, num_envs=1, capacity=10)
    assert same_steps(row(draw(replay, 1, 10, jr.key(0)), 0), stream.steps[0][-10:])


@pytest.mark.parametrize("valid", [1.0, 0.6])
@pytest.mark.parametrize("batches", [1, 60])
def test_rows_are_the_transitions_whose_two_observations_are_stored(batches, valid):
    replay, stream = filled(batches, valid=valid)
    rows, in_use = jax.tree.map(np.asarray, rows_of(replay))
    wanted = set()
    for steps in stream.steps:
        kept = steps[-10:]
        wanted |= {(a.obs.tobytes(), b.obs.tobytes(), float(b.reward)) for a, b in pairwise(kept) if not b.first}
    found = [(row(rows, i).obs.tobytes(), row(rows, i).next_obs.tobytes(), float(rows.reward[i])) for i in range(30)]
    assert {f for f, used in zip(found, in_use) if used} == wanted
    assert in_use.sum() == len(wanted) == int(replay.size)
    assert not np.any(np.diff(in_use.astype(int)) > 0)  # those in use come first


def test_latest_are_the_last_batches_in_the_order_they_came():
    replay, stream = filled(40, capacity=60)
    last = [row for batch in stream.transitions[-4:] for _, row in batch]
    found = jax.tree.map(np.asarray, latest(replay, 12))
    for i, values in enumerate(last):
        for leaf, value in zip(jax.tree.leaves(row(found, i)), values):
            np.testing.assert_array_equal(leaf, value)


def test_sampled_transitions_are_all_rows_equally_often():
    replay, _ = filled(60)
    rows, in_use = jax.tree.map(np.asarray, rows_of(replay))
    place = {obs.tobytes(): i for i, obs in enumerate(rows.next_obs[in_use])}
    found = jax.tree.map(np.asarray, sample(replay, 4000, jr.key(3)))
    which = np.array([place[obs.tobytes()] for obs in found.next_obs])
    counts, expected = np.bincount(which, minlength=in_use.sum()), 4000 / in_use.sum()
    assert np.sum((counts - expected) ** 2 / expected) < in_use.sum() + 5 * np.sqrt(2 * in_use.sum())
    np.testing.assert_array_equal(found.action, rows.action[in_use][which])


def test_after_a_cut_the_next_row_opens_an_episode_and_the_one_before_is_truncated():
    replay, stream = filled(3, num_envs=1, ends=0.0)
    stream.cut()
    for _ in range(2):
        replay = add(replay, stream.batch(), None) if _ else add(replay.cut(), stream.batch(), None)
    found = row(draw(replay, 1, 7, jr.key(0)), 0)
    assert same_steps(found, stream.steps[0])
    assert found.first.tolist() == [True, False, False, False, True, False, False]
    assert not found.terminated.any() and found.truncated.tolist() == [False] * 3 + [True] + [False] * 3


def test_rows_that_are_not_valid_change_nothing():
    replay, stream = filled(20, num_envs=2)
    before = jax.tree.map(lambda x: x.copy(), replay)
    after = add(replay, stream.batch(np.zeros(2, bool)), jnp.zeros(2, bool))
    assert same_bits(before, after)


def test_drawing_what_is_not_stored_yet_cannot_go_unnoticed():
    replay, _ = filled(2, ends=0.0)
    assert np.isnan(draw(replay, 2, 4, jr.key(0)).reward).all()
    assert np.isfinite(draw(replay, 2, 3, jr.key(0)).reward).all()


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="capacity=5 must be at least 6"):
        SequenceReplay.empty(SPEC, 5, 3)
    with pytest.raises(ValueError, match="num_envs=0"):
        SequenceReplay.empty(SPEC, 5, 0)
    replay, stream = filled(1)
    with pytest.raises(ValueError, match=r"length=11 must lie in 1..10"):
        replay.sequences(2, 11, key=jr.key(0))
    with pytest.raises(ValueError, match="3 rows for a replay of num_envs=2"):
        SequenceReplay.empty(SPEC, 8, 2).add(stream.batch())
    with pytest.raises(ValueError, match="no place for extras"):
        replay.add(dataclasses.replace(stream.batch(), extras=jnp.zeros(3)))


def test_pixels_are_bytes_and_the_rest_stays_exact():
    replay = SequenceReplay.empty(SPEC, 10)
    obs = jnp.array([[-3.0, 0.4, 0.6, 254.5, 255.4, 300.0, 0.1, -7e5]])
    no = jnp.zeros(1, bool)
    replay = add(replay, Transition(obs, jnp.zeros((1, 2)), jnp.ones(1), obs + 1, no, no), None)
    seen = np.asarray(latest(replay, 1).obs)[0]
    assert replay.rings.data.pixels.dtype == jnp.uint8
    np.testing.assert_array_equal(seen, np.float32([0, 0, 1, 254, 255, 255, 0.1, -7e5]))


def test_discrete_actions_stay_whole_numbers():
    spec = EnvSpec("x", 1, Discrete(4))
    no = jnp.zeros(1, bool)
    batch = Transition(jnp.ones((1, 1)), jnp.array([3]), jnp.ones(1), jnp.ones((1, 1)), no, no)
    found = draw(add(SequenceReplay.empty(spec, 4), batch, None), 1, 2, jr.key(0))
    assert found.action.dtype == jnp.int32 and found.action.tolist() == [[0, 3]]


def driver(num_envs: int = 2, num_seeds: int | None = None) -> JitDriver:
    return JitDriver(Averaging(), Walk(ends_above=0.5), num_envs=num_envs, num_seeds=num_seeds)


def replay_of(run: JitDriver, capacity: int = 40) -> dict[str, SequenceReplay]:
    return {"env": SequenceReplay.empty(run.env.spec, capacity, run.num_envs)}


def test_jit_driver_fills_it_with_whole_episodes():
    run = driver(1)
    progress = run_to(run, run.start(replay_of(run, 80), seed=3), 60)
    steps = int(progress.data["env"].rings.used[0])
    found = row(draw(progress.data["env"], 1, steps, jr.key(0)), 0)
    starts = np.flatnonzero(found.first)
    over = found.terminated | found.truncated
    assert starts[0] == 0 and len(starts) >= 60 // 7
    assert steps == 60 + len(starts)
    assert np.flatnonzero(over).tolist()[: len(starts) - 1] == (starts[1:] - 1).tolist()
    moved = 0.9 * found.obs[:-1] + 0.2 * found.action[1:]  # a_{t-1} leads from obs_{t-1} to obs_t
    np.testing.assert_allclose(found.obs[1:][~found.first[1:]], moved[~found.first[1:]], rtol=1e-5, atol=1e-6)
    assert found.terminated.any() and not found.reward[starts].any() and not found.action[starts].any()


def test_run_cut_in_two_equals_one_that_was_not():
    run = driver()
    whole = run_to(run, run.start(replay_of(run), seed=1), 120)
    half = run_to(run, run.start(replay_of(run), seed=1), 60)
    assert same_bits(run_to(run, half, 120), whole)


def test_seeds_side_by_side_hold_what_they_hold_alone():
    run, alone = driver(num_seeds=2), driver()
    both = run_to(run, run.start(replay_of(run), seed=4), 80)
    for k in range(2):
        one = run_to(alone, alone.start(replay_of(alone), seed=4 + k), 80)
        pair = jax.tree.map(lambda x, k=k: x[k], both.data["env"].rings)
        one = one.data["env"].rings
        np.testing.assert_array_equal(pair.used, one.used)
        np.testing.assert_array_equal(pair.data.first, one.data.first)
        np.testing.assert_allclose(pair.data.vector, one.data.vector, rtol=1e-5, atol=1e-6)


def test_step_that_is_not_finite_is_taken_back_from_a_full_replay():
    run = JitDriver(Averaging(), Walk(nan_after=5), num_envs=1)
    progress = run.start(replay_of(run, 4), seed=0)
    last = progress
    with pytest.raises(Exception, match="non-finite"):
        for progress in run.train(progress, total_steps=20):  # noqa: B020
            last = progress
    found = row(draw(last.data["env"], 1, 4, jr.key(0)), 0)
    assert np.isfinite(found.obs).all() and int(last.env_steps) == 5
