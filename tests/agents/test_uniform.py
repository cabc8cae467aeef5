"""The agent that acts at random."""

import jax
import jax.random as jr
import numpy as np
from scipy import stats

from forethought.agents.uniform import Uniform
from forethought.envs.acrobot import Acrobot
from forethought.envs.point_mass import PointMass
from forethought.run.evaluate import JitEvaluator


def test_actions_are_uniform_over_a_box_and_over_discrete_actions():
    box = JitEvaluator(Uniform(PointMass().spec), PointMass(), num_episodes=20)(None, key=jr.key(0))
    assert stats.kstest(np.ravel(box.trajectories.action), "uniform", args=(-1, 2)).pvalue > 0.01
    act = jax.vmap(lambda k: Uniform(Acrobot().spec).act(None, None, None, key=k, explore=False)[0])
    counts = np.bincount(act(jr.split(jr.key(0), 3000)))
    assert len(counts) == 3 and stats.chisquare(counts).pvalue > 0.01
