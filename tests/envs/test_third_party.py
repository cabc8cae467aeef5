"""Environments of other packages are named with the way to them."""

import importlib.machinery
import sys

import pytest

from forethought.envs.make import make
from forethought.errors import UserError


@pytest.mark.parametrize(
    ("id", "words"),
    [
        ("ALE/Pong-v5", "pip install ale-py, then give ale_py:ALE/Pong-v5"),
        ("highway-fast-v0", "pip install highway-env, then give highway_env:highway-fast-v0"),
        ("FetchReach-v4", "pip install gymnasium-robotics, then give gymnasium_robotics:FetchReach-v4"),
        ("gym_pusht/PushT-v0", "pip install gym-pusht, then give gym_pusht:gym_pusht/PushT-v0"),
        ("MiniGrid-Empty-5x5-v0", "pip install minigrid, then give minigrid:MiniGrid-Empty-5x5-v0"),
        ("Cont-CC-PMSM-v0", "pip install gym-electric-motor, then give gym_electric_motor:Cont-CC-PMSM-v0"),
        ("DescentEnv-v0", "pip install bluesky-gym, then give bluesky_gym:DescentEnv-v0"),
        ("FlappyBird-v0", "pip install flappy-bird-gymnasium, then give flappy_bird_gymnasium:FlappyBird-v0"),
        ("PandaReach-v3", "pip install panda-gym, then give panda_gym:PandaReach-v3"),
        ("pcgym/cstr", r"give pcgym:make_env with --env.kwargs env_params"),
        ("ale_py:ALE/Pong-v5", "no module 'ale_py'.*run: pip install \"ale-py\""),
        ("Unknown/Thing-v0", "import the package that registers it: package:Unknown/Thing-v0"),
        ("Xyzzy-v0", "package:ID"),
    ],
)
def test_an_id_of_another_package_says_which_and_how(id, words, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None)
    with pytest.raises(UserError, match=words) as caught:
        make(id)
    assert "did you mean" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("id", "wanted"), [("ALE/Pong-v5", "ale_py"), ("My-Robots/Arm-v0", "my_robots")])
def test_an_installed_package_is_not_installed_again_and_not_imported_unasked(id, wanted, monkeypatch):
    found = lambda name, *more: importlib.machinery.ModuleSpec(name, None) if name == wanted else None
    monkeypatch.setattr("importlib.util.find_spec", found)
    with pytest.raises(UserError, match=f"give {wanted}:{id}") as caught:
        make(id)
    assert "pip install" not in str(caught.value) and wanted not in sys.modules


def test_ids_that_importing_a_module_registers_are_made_by_module_and_id(tmp_path, monkeypatch):
    text = "import gymnasium\nfrom toy_envs import Counter\n\n\ndef register_envs():\n"
    (tmp_path / "late_envs.py").write_text(text + "    gymnasium.register('Late-v0', entry_point=Counter)\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert make("late_envs:Late-v0").name == "late_envs:Late-v0"
    with pytest.raises(UserError, match="has no 'Laté-v0'") as caught:
        make("late_envs:Laté-v0")
    assert "gymnasium," not in str(caught.value)  # modules that it imports are not suggested
