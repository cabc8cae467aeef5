"""Figures of examinations name what they show, whatever could be measured."""

import dataclasses

import jax
import jax.random as jr
import numpy as np
import pytest
from examined import HORIZON
from linear_world import NOISE, SPEC, TRUE, Linear, linear_episodes

from forethought.diagnostics.examination import examine
from forethought.diagnostics.examination_figures import (
    plot_coverage,
    plot_dimensions,
    plot_drift,
    plot_examination,
    plot_likelihood,
    plot_termination,
    plot_uncertainty,
)


def test_figures_name_their_lines(right, certain, tmp_path):
    text = lambda path: path.read_text()
    shown = text(plot_examination(right, tmp_path / "a.svg", recalibrated=right))
    for words in (
        "nothing changes",
        "deviation it states",
        "steps ahead",
        "90 % recalibrated",
        f"{right.particles} partic",
    ):
        assert words in shown
    assert "states no uncertainty" in text(plot_examination(certain, tmp_path / "b.svg"))
    assert "50 % recalibrated" in text(plot_coverage(right, tmp_path / "c.svg", recalibrated=right))
    assert "states no uncertainty" in text(plot_coverage(certain, tmp_path / "d.svg"))
    named = text(plot_dimensions(right, tmp_path / "e.svg", names=["place", "speed"]))
    assert "place" in named and "speed" in named
    assert "imagined" in text(plot_drift(right, tmp_path / "f.svg"))
    assert "Spearman" in text(plot_uncertainty(right, tmp_path / "g.svg"))
    assert "states no uncertainty" in text(plot_uncertainty(certain, tmp_path / "h.svg"))
    assert "false alarms" in text(plot_termination(right, tmp_path / "i.svg"))


def test_a_likelihood_without_bottom_does_not_hide_the_others(right, tmp_path):
    calm = plot_likelihood(right, tmp_path / "calm.svg").read_text()
    assert "model" in calm and "off the scale" not in calm
    wild = dataclasses.replace(right, nll=np.geomspace(1, 1e6, HORIZON))
    assert "model, off the scale" in plot_likelihood(wild, tmp_path / "wild.svg", recalibrated=right).read_text()


def test_the_worst_twelve_of_many_dimensions_are_shown(right, tmp_path):
    wide = {
        name: np.concatenate([getattr(right, name)] * 7, -1)
        for name in ("error", "error_band", "persistence", "deviation")
    }
    wide["names"] = tuple(f"observation {k}" for k in range(14))
    wide["error"][:, 3] *= 1e-3
    wide["error"][:, 8] *= 1e-3
    text = plot_dimensions(dataclasses.replace(right, **wide), tmp_path / "many.svg").read_text()
    assert "observation 13" in text and "observation 3<" not in text and "observation 8<" not in text
    assert "2 better ones are left out" in text


@pytest.mark.slow
def test_one_horizon_and_one_episode_can_be_drawn(tmp_path):
    one = examine(Linear(TRUE, NOISE), jax.tree.map(lambda x: x[:1], linear_episodes()), SPEC, horizon=1, key=jr.key(0))
    for plot in (plot_examination, plot_coverage, plot_dimensions, plot_drift, plot_uncertainty, plot_likelihood):
        assert plot(one, tmp_path / f"{plot.__name__}.png").stat().st_size > 5000
