"""A model from logged transitions: judged on episodes it has not seen, saved, loaded, refused where it cannot be."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.cli.main import main
from forethought.errors import UserError
from forethought.fitting import fit, load_model, split_by_episode
from forethought.presets.fit import FitConfig
from forethought.presets.parts import EnsembleConfig
from forethought.replay.dataset import save_dataset
from forethought.types import Transition

CONFIG = FitConfig(
    holdout=0.2, horizon=5, model=EnsembleConfig(hidden=(32,), particles=5, epochs=5, min_steps=600, batch_size=64)
)


def logged(episodes: int = 10, steps: int = 30, seed: int = 0) -> Transition:
    """Episodes of a damped point that is pushed; the reward is its distance from 0, negated."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(episodes, 2))
    rows = []
    for t in range(steps):
        action = rng.uniform(-1, 1, (episodes, 1))
        y = np.stack([x[:, 0] + 0.2 * x[:, 1], 0.9 * x[:, 1] + 0.5 * action[:, 0]], 1)
        over = np.full(episodes, t == steps - 1)
        rows.append((x, action, -np.abs(x[:, 0]), y, np.zeros(episodes, bool), over))
        x = y
    columns = [np.swapaxes(np.stack(c), 0, 1).reshape(episodes * steps, *c[0].shape[1:]) for c in zip(*rows)]
    return Transition(*(c if c.dtype == bool else c.astype(np.float32) for c in columns))


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log.npz"
    save_dataset(path, logged())
    return path


@pytest.fixture(scope="module")
def fitted(log):
    parts = []
    return fit(log, config=CONFIG, progress=lambda part, loss: parts.append((part, loss))), parts


@pytest.mark.slow
def test_a_learnable_system_is_learned_and_beats_persistence_on_held_out_episodes(fitted):
    result, _ = fitted
    assert result.check.overall[0] < 0.2 * result.check.baseline[0]
    assert result.check.useful_steps == 5
    assert (result.num_train, result.num_holdout) == (240, 60)
    assert result.verdict.startswith("Trust it to all 5 steps examined")


def test_progress_counts_up_to_the_end_and_the_loss_falls(fitted):
    _, parts = fitted
    done = [part for part, _ in parts]
    assert done == sorted(done) and done[0] == 0 and done[-1] == 1 and len(done) > 5
    assert parts[-1][1] < parts[1][1]


def test_what_is_saved_is_loaded_and_predicts_the_same(fitted, tmp_path):
    result, _ = fitted
    paths = result.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    obs, action = jnp.array([0.5, -0.5]), jnp.full((5, 1), 0.3)

    def imagined(model):
        belief = model.init(obs, key=jr.key(1))
        return model.step(belief, action, key=jr.key(2))

    same = jax.tree.map(np.array_equal, imagined(result.model), imagined(loaded))
    assert all(jax.tree.leaves(same))
    summary = json.loads(paths["summary"].read_text())
    assert summary["error"][0] == pytest.approx(float(result.check.overall[0]), abs=1e-6)
    page = paths["report"].read_text()
    assert result.verdict.replace("'", "&#x27;") in page and "data:image/png" in page
    with pytest.raises(UserError, match="not empty"):
        result.save(tmp_path / "model")


def test_the_held_out_rows_are_whole_episodes_and_none_is_trained_on():
    data = logged(episodes=5, steps=7)
    train, held, notes = split_by_episode(data, 0.4, seed=3)
    assert held.reward.shape == (2, 7) and len(train.reward) == 21 and not notes
    seen = {tuple(row) for row in train.obs.tolist()}
    assert not seen & {tuple(row) for row in np.asarray(held.obs).reshape(-1, 2).tolist()}
    assert seen | {tuple(row) for row in np.asarray(held.obs).reshape(-1, 2).tolist()} == {
        tuple(row) for row in data.obs.tolist()
    }


def test_episodes_without_flags_are_told_apart_by_their_jumps():
    data = logged(episodes=4, steps=6)
    unmarked = dataclasses.replace(data, truncated=np.zeros(24, bool))
    _, held, _ = split_by_episode(unmarked, 0.25, seed=0)
    assert held.reward.shape == (1, 6) and bool(held.truncated[0, -1])
    assert not unmarked.truncated.any()  # the user's data are left as they were


def test_shorter_episodes_are_closed_where_they_end():
    long, short = logged(episodes=1, steps=8, seed=1), logged(episodes=2, steps=3, seed=2)
    data = jax.tree.map(lambda *x: np.concatenate(x), long, short, long)
    _, held, _ = split_by_episode(data, 0.75, seed=0)
    lengths = np.sort(np.argmax(np.asarray(held.truncated), 1) + 1)
    assert held.reward.shape == (3, 8) and set(lengths) == {3, 8}


def test_a_single_episode_is_cut_in_time_and_said():
    train, held, notes = split_by_episode(logged(episodes=1, steps=20), 0.25, seed=0)
    assert (len(train.reward), held.reward.shape) == (15, (1, 5))
    assert notes == ["the data are one episode: its last 5 steps are held out"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"holdout": 1.0}, "holdout=1.0"),
        ({"horizon": 0}, "horizon=0"),
        ({"reward": "never"}, "reward='never' must be learned or pkg.mod:fn"),
        ({"angles": (7,)}, "angle_dims"),
        ({"model": EnsembleConfig(particles=7)}, "particles=7 must be a multiple"),
        ({"model": EnsembleConfig(batch_size=0)}, "batch_size=0"),
        ({"model": EnsembleConfig(epochs=0)}, "epochs=0"),
    ],
)
def test_settings_that_cannot_be_are_named(log, changes, says):
    with pytest.raises(UserError, match=says.replace("(", r"\(")):
        fit(log, config=dataclasses.replace(CONFIG, **changes))


def wrong_reward(obs, action, next_obs):
    """Not what was logged."""
    return obs[0] * 0 + 5.0


@pytest.mark.slow
def test_the_command_writes_what_it_says_and_refuses_a_folder_in_use(log, tmp_path, capsys):
    small = ["--model.hidden", "8", "--model.epochs", "1", "--model.min-steps", "0", "--horizon", "3", "--quiet"]
    out = str(tmp_path / "model")
    assert main(["fit", str(log), "--out", out, *small, "--reward", "test_fitting:wrong_reward"]) == 0
    said = capsys.readouterr()
    assert "270 transitions to train on, 30 held out" in said.out
    assert "wrong_reward differs from the environment in 300 of 300 transitions" in said.err
    for name in ("model.npz", "fit.json", "model_check.png", "report.html"):
        assert f"{out}/{name}" in said.out and (tmp_path / "model" / name).is_file()
    assert main(["fit", str(tmp_path / "none.npz"), "--out", str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()
