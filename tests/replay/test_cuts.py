"""Episodes that are abandoned count as truncated in every replay: nothing bootstraps or predicts across them."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from stream import SPEC, Stream

from forethought.losses.returns import lambda_returns
from forethought.replay.disk import DiskReplay
from forethought.replay.sequence import SequenceReplay
from forethought.replay.uniform import UniformReplay

MAKE = {
    "sequence": lambda folder: SequenceReplay.empty(SPEC, 64, 1),
    "disk": lambda folder: DiskReplay.at(folder, SPEC, gigabytes=1e-4),
    "uniform": lambda folder: UniformReplay.empty(SPEC, 64),
}
SEQUENCES = ("sequence", "disk")
add = eqx.filter_jit(lambda replay, batch: replay.add(batch))
draw = eqx.filter_jit(lambda replay, n, length, key: replay.sequences(n, length, key=key))
cut = eqx.filter_jit(lambda replay: replay.cut())
told = eqx.filter_jit(lambda replay, n, key: (replay.rows(), replay.latest(n), replay.sample(50, key=key)))


def added(replay, batch):
    return add(replay, batch) if replay.traceable else replay.add(batch)


def read(replay, n):
    """Rows, which are in use, the latest `n` and a sample."""
    found = told(replay, n, jr.key(0)) if replay.traceable else told.__wrapped__(replay, n, jr.key(0))
    (rows, used), latest, sample = jax.tree.map(np.asarray, found)
    return rows, used, latest, sample


def with_a_cut(name, folder, *, before: int = 3, after: int = 2):
    """A replay of one environment, whose one episode was abandoned after `before` steps and another begun."""
    stream, replay = Stream(1, ends=0.0), MAKE[name](folder)
    for _ in range(before):
        replay = added(replay, stream.batch())
    stream.cut()
    replay = cut(replay) if replay.traceable else replay.cut()
    for _ in range(after):
        replay = added(replay, stream.batch())
    return replay


@pytest.mark.parametrize("name", SEQUENCES)
def test_the_step_before_a_cut_is_truncated_in_every_sequence_that_holds_it(name, tmp_path):
    replay = with_a_cut(name, tmp_path)  # 0 opens, 1 2 3, cut, 4 opens, 5 6
    whole, parts = (jax.tree.map(np.asarray, draw(replay, n, length, jr.key(0))) for n, length in ((1, 7), (60, 4)))
    assert whole.truncated[0].tolist() == [False] * 3 + [True] + [False] * 3
    at_cut = parts.obs[..., -1] == whole.obs[0, 3, -1]
    assert at_cut[:, -1].any() and at_cut[:, 0].any() and np.array_equal(parts.truncated, at_cut)


# on disk a cut shows once the next step is there: nothing is rewritten for it
@pytest.mark.parametrize(
    ("name", "after"), [("sequence", 0), ("sequence", 2), ("disk", 2), ("uniform", 0), ("uniform", 2)]
)
def test_the_transition_before_a_cut_is_truncated(name, after, tmp_path):
    rows, used, latest, sample = read(with_a_cut(name, tmp_path, after=after), 3 + after)
    assert rows.truncated[used].tolist() == latest.truncated.tolist() == [False, False, True] + [False] * after
    assert np.array_equal(sample.truncated, sample.next_obs[:, -1] == rows.next_obs[2, -1])


@pytest.mark.parametrize("name", MAKE)
def test_a_cut_where_nothing_is_open_marks_nothing(name, tmp_path):
    assert not np.asarray(MAKE[name](tmp_path / "a").cut().rows()[0].truncated).any()
    batch = dataclasses.replace(Stream(1, ends=0.0).batch(), terminated=jnp.ones(1, bool))
    rows, used, *_ = read(added(MAKE[name](tmp_path / "b"), batch).cut(), 5)
    assert rows.terminated[used].all() and not rows.truncated[used].any()


def test_a_replay_of_a_checkpoint_that_did_not_mark_its_cuts_is_truncated_there():
    replay = with_a_cut("sequence", None)
    old = eqx.tree_at(lambda r: r.rings.data.truncated, replay, jnp.zeros_like(replay.rings.data.truncated))
    found = draw(old, 1, 7, jr.key(0))
    assert np.flatnonzero(np.asarray(found.truncated)[0]).tolist() == [3]


@pytest.mark.parametrize("name", SEQUENCES)
def test_replayed_returns_do_not_reach_across_a_cut(name, tmp_path):
    found = draw(with_a_cut(name, tmp_path), 1, 7, jr.key(0))
    going = ~(found.terminated | found.truncated)[0]
    value = jnp.where(jnp.arange(7) > 3, 1000.0, 10.0)  # what follows the cut is worth much more
    returns = lambda_returns(jnp.zeros(6), jnp.ones(6), value[1:], 0.95 * going[1:])
    np.testing.assert_allclose(returns[:3], 10.0, rtol=1e-6)  # 409 to 487 where the trace crosses it
