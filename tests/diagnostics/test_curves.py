"""Learning curves from metric rows."""

import matplotlib
import numpy as np
import pytest

from forethought.diagnostics.curves import (
    align,
    learning_curves,
    plot_learning_curves,
    plot_losses,
    seed_series,
)
from forethought.diagnostics.figures import spread_labels
from forethought.errors import StorageFault, UserError


def evaluation(seed, env_steps, value, final=False):
    return {
        "kind": "eval",
        "seed": seed,
        "env_steps": env_steps,
        "wall_s": 1.0,
        "returns": [value],
        "mean_return": value,
        "final": final,
    }


def run_rows(seeds=3):
    return [evaluation(s, t, 10.0 * t + s) for s in range(seeds) for t in (1, 2, 3)] + [
        {"kind": "episode", "seed": s, "env_steps": t, "episode": t, "return": 5.0 * t, "length": 1}
        for s in range(seeds)
        for t in (1, 2, 3)
    ]


def pixels(path):
    return matplotlib.image.imread(path)


def test_seeds_evaluated_at_the_same_steps_keep_their_values():
    curves = learning_curves(run_rows())
    np.testing.assert_array_equal(curves.env_steps, [1, 2, 3])
    np.testing.assert_array_equal(curves.values, [[10, 20, 30], [11, 21, 31], [12, 22, 32]])
    assert curves.seeds == (0, 1, 2)


def test_seeds_with_different_steps_meet_on_the_range_that_all_cover():
    series = {0: (np.array([0.0, 10.0]), np.array([0.0, 10.0])), 1: (np.array([4.0, 20.0]), np.array([4.0, 20.0]))}
    curves = align(series)
    assert (curves.env_steps[0], curves.env_steps[-1]) == (4.0, 10.0)
    np.testing.assert_allclose(curves.values, np.tile(curves.env_steps, (2, 1)))


def test_seeds_without_a_common_range_have_no_mean():
    assert align({0: (np.array([1.0]), np.array([0.0])), 1: (np.array([2.0]), np.array([0.0]))}) is None


def test_rows_written_again_after_a_resume_replace_the_first_ones():
    rows = [evaluation(0, 100, 1.0), evaluation(0, 200, 2.0), evaluation(0, 200, 5.0, final=True)]
    np.testing.assert_array_equal(seed_series(rows, "eval", "mean_return")[0][1], [1.0, 5.0])


def test_values_that_are_no_finite_number_are_left_out():
    rows = [evaluation(0, t, v) for t, v in enumerate((1.0, float("nan"), "<b>", None, 2.0))]
    np.testing.assert_array_equal(seed_series(rows, "eval", "mean_return")[0][1], [1.0, 2.0])


def test_figure_is_1080_pixels_wide_and_not_blank(tmp_path):
    path = plot_learning_curves({"pets": run_rows()}, tmp_path / "deep" / "curve.png", oracle=40.0, random=1.0)
    image = pixels(path)
    assert image.shape[1] == 1080
    assert np.ptp(image[..., :3]) > 0.5


def test_references_and_other_runs_change_the_figure(tmp_path):
    alone = pixels(plot_learning_curves({"a": run_rows(1)}, tmp_path / "a.png"))
    marked = pixels(plot_learning_curves({"a": run_rows(1)}, tmp_path / "b.png", oracle=29.0))
    both = pixels(plot_learning_curves({"a": run_rows(1), "b": run_rows(4)}, tmp_path / "c.png"))
    assert not np.array_equal(alone, marked)
    assert not np.array_equal(alone, both)


def test_svg_holds_the_axis_names_with_units_and_the_labels(tmp_path):
    path = plot_learning_curves({"pets": run_rows(), "shooting": run_rows(2)}, tmp_path / "c.svg", oracle=40.0)
    text = path.read_text()
    for words in ("environment steps", "return per episode", "shooting", "true dynamics: 40", "2 to 3 seeds"):
        assert words in text


def test_plotting_leaves_matplotlib_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "backend", "template")
    before = dict(matplotlib.rcParams)
    plot_learning_curves({"pets": run_rows()}, tmp_path / "c.png")
    assert dict(matplotlib.rcParams) == before


def test_a_users_dark_style_does_not_reach_the_figures(tmp_path):
    with matplotlib.rc_context({"text.color": "white", "axes.facecolor": "black"}):
        path = plot_learning_curves({"pets": run_rows()}, tmp_path / "c.png")
    assert pixels(path)[..., :3].mean() > 0.8


def test_seeds_without_a_common_range_are_still_drawn(tmp_path):
    rows = [evaluation(0, 1, 1.0), evaluation(1, 2, 2.0)]
    assert plot_learning_curves({"a": rows}, tmp_path / "c.png").exists()


def test_run_without_evaluations_is_told_what_to_plot_instead(tmp_path):
    episodes = [row for row in run_rows() if row["kind"] == "episode"]
    with pytest.raises(UserError, match="metric='episode'"):
        plot_learning_curves({"pets": episodes}, tmp_path / "c.png")
    assert plot_learning_curves({"pets": episodes}, tmp_path / "c.png", metric="episode").exists()


def test_losses_need_an_update(tmp_path):
    with pytest.raises(UserError, match="no model loss"):
        plot_losses(run_rows(), tmp_path / "loss.png")


def test_losses_below_zero_are_drawn_on_a_linear_axis(tmp_path):
    rows = [{"kind": "update", "seed": 0, "env_steps": t, "model/loss": 1.0 - t} for t in range(4)]
    text = plot_losses(rows, tmp_path / "loss.svg").read_text()
    assert "−1" in text and "training loss" in text and "holdout" not in text


def test_another_ending_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"\.jpg"):
        plot_learning_curves({"pets": run_rows()}, tmp_path / "c.jpg")


def test_a_place_that_cannot_be_written_is_a_storage_fault(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFault, match="cannot write the figure"):
        plot_learning_curves({"pets": run_rows()}, tmp_path / "file" / "c.png")


def test_labels_are_pushed_apart_and_keep_their_order():
    moved = spread_labels([3.0, 1.0, 1.1], 0.5)
    assert moved[1] < moved[2] < moved[0]
    assert moved[2] - moved[1] >= 0.5 - 1e-12
