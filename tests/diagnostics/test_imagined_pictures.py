"""Pictures imagined beside real ones, and their divergence where it was planted."""

import dataclasses

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from picture_world import catch_logged, catch_model, played
from planted_world import logged, rows

from forethought.core import AbstractModel
from forethought.diagnostics.divergence import APART, TOGETHER
from forethought.diagnostics.imagined_pictures import PictureTrace, picture_traces
from forethought.diagnostics.logged import Logged
from forethought.diagnostics.pictures import SEEN, colours, column, frames, panel, strip, told_of, visible
from forethought.diagnostics.widths import Normal
from forethought.envs.catch import Catch
from forethought.errors import StorageFault
from forethought.types import Box, EnvSpec, Prediction

SPEC = Catch().spec


class Falls(AbstractModel):
    """The ball falls; from row `lost` on, everything is believed to be white."""

    lost: int = 99

    def init(self, obs, *, key):
        return obs[None]

    def step(self, belief, action, *, key):
        board = belief.reshape(-1, 10, 5)
        board = board.at[:, 1:9].set(board[:, :8]).at[:, 0].set(0.0)
        row = jnp.argmax(board[:, :9].max(-1), 1)
        board = jnp.where((row >= self.lost)[:, None, None], 255.0, board)
        return board.reshape(belief.shape), Prediction(jnp.zeros(len(board)), jnp.ones(len(board)))

    def observation(self, belief):
        return Normal(belief, jnp.ones(belief.shape[-1]))


class Stays(AbstractModel):
    """Nothing ever changes."""

    def init(self, obs, *, key):
        return obs[None]

    def step(self, belief, action, *, key):
        return belief, Prediction(jnp.zeros(1), jnp.ones(1))

    def observation(self, belief):
        return Normal(belief, jnp.ones(belief.shape[-1]))


@pytest.fixture(scope="module")
def found() -> list[PictureTrace]:
    return picture_traces(catch_model(), catch_logged(), SPEC, episodes=2, key=jr.key(0))


@pytest.mark.slow
def test_what_was_seen_is_reconstructed_and_what_follows_imagined_to_the_episodes_end(found):
    first = found[0]
    real = catch_logged().rows
    assert first.context == 3 and first.start == 2 and first.steps == 7 and first.samples >= 8
    np.testing.assert_allclose(first.real[:3], real.obs[:3].reshape(3, 10, 5, 1) / 255)
    np.testing.assert_allclose(first.real[3:], real.next_obs[2:9].reshape(7, 10, 5, 1) / 255)
    assert first.imagined.shape == first.spread.shape == first.real.shape
    assert np.all(first.error[:3] < 0.5 * first.average_error[:3])
    assert first.error[3] == pytest.approx(np.sqrt(np.mean((first.imagined[3] - first.real[3]) ** 2)))


def test_the_step_at_which_a_model_loses_its_way_is_marked():
    still = Logged.of_trajectories(played(Catch(), 20, 9, action=1))  # the paddle stays where it is
    (lost,) = picture_traces(Falls(5), still, SPEC, episodes=1, context=2, key=jr.key(0))
    assert lost.start == 1 and lost.diverged_at == 4  # rows 2, 3, 4 are right, the fourth step reaches row 5
    assert lost.error[lost.context + 3] > lost.average_error[lost.context + 3]


def test_stretches_are_spread_over_the_time_of_long_episodes():
    spec = EnvSpec("thin", 3, Box((-2.0,), (2.0,)), image=(1, 3, 1))
    some = picture_traces(Stays(), logged(rows(4)), spec, horizon=10, key=jr.key(0))
    assert [t.start for t in some] == [4, 12, 21] and all(t.steps == 10 for t in some)


def test_grey_and_rgb_are_shown_as_they_are_and_other_channels_each_in_a_colour():
    picture = np.zeros((2, 2, 1))
    picture[0, 1] = 0.5
    np.testing.assert_array_equal(visible(picture)[0], [[0, 0, 0], [128, 128, 128]])
    rgb = np.random.default_rng(0).uniform(size=(3, 4, 3))
    np.testing.assert_array_equal(visible(rgb), np.rint(255 * rgb))
    many = np.zeros((1, 11, 10))
    many[0, np.arange(10), np.arange(10)] = 1.0
    shown = visible(many)[0]
    assert len(np.unique(shown, axis=0)) == 11  # ten channels and the ground
    np.testing.assert_array_equal(shown[:10], np.rint(255 * colours(10)))
    twice = np.ones((1, 1, 4))
    np.testing.assert_array_equal(visible(twice)[0, 0], np.rint(255 * colours(4)[3]))


def trace(diverged: int | None) -> PictureTrace:
    real = np.random.default_rng(0).uniform(size=(8, 10, 10, 4))
    error = np.full(8, 0.1)
    if diverged is not None:
        error[2 + diverged - 1 :] = 0.9
    return PictureTrace(3, 7, 2, real, real, 0.1 * real, error, np.full(8, 0.5), 8)


def test_columns_say_what_was_seen_what_imagined_and_from_where_on_it_diverged():
    one = trace(3)
    heads = [column(one, row)[:2] for row in range(8)]
    assert heads[:2] == [("seen -1", SEEN), ("seen", SEEN)]
    assert heads[2:5] == [("+1", TOGETHER), ("+2", TOGETHER), ("+3", APART)]
    assert "diverged 3 steps ahead" in told_of(one) and "not diverged in 6 steps" in told_of(trace(None))


def test_frames_are_of_one_size_and_run_through_the_longest_stretch():
    short = picture_traces(Falls(), catch_logged(), SPEC, episodes=1, horizon=2, key=jr.key(0))[0]
    some = frames([dataclasses.replace(short, real=short.real[:-1]), short])
    assert len(some) == short.context + 2 and len({f.shape for f in some}) == 1 and some[0].dtype == np.uint8


def test_a_strip_shows_every_few_steps_and_the_divergence(tmp_path):
    from PIL import Image

    path = strip([trace(6), trace(None)], tmp_path / "a" / "strip.png", columns=4)
    picture = np.asarray(Image.open(path))
    one = panel([column(trace(6), row) for row in (0, 1, 2, 5, 7)], "x")
    assert picture.shape[1] == one.shape[1]  # rows 0, 1, 2, 5 by the step, 7 because it diverged there
    assert (picture == APART).all(-1).any()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFault, match="cannot write the picture"):
        strip([trace(None)], tmp_path / "file" / "strip.png")
