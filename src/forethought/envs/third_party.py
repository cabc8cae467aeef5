"""Which package registers an environment that Gymnasium does not know, by how the ids begin."""

import importlib.util

_ROBOTICS = "Fetch HandReach HandManipulate AdroitHand PointMaze_ AntMaze_ FrankaKitchen"
_HIGHWAY = "highway- merge- roundabout- parking- intersection- racetrack- u-turn- exit- two-way- lane-keeping-"
_PANDA = "PandaReach PandaPush PandaSlide PandaPickAndPlace PandaStack PandaFlip"
_MOTOR = "Cont- Finite-"
_BLUESKY = "DescentEnv- VerticalCREnv- HorizontalCREnv- SectorCREnv- PlanWaypointEnv- StaticObstacleEnv- MergeEnv-"
PACKAGES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("ale-py", "ale_py", ("ALE/",)),
    ("minigrid", "minigrid", ("MiniGrid-", "BabyAI-")),
    ("highway-env", "highway_env", tuple(_HIGHWAY.split())),
    ("gymnasium-robotics", "gymnasium_robotics", tuple(_ROBOTICS.split())),
    ("panda-gym", "panda_gym", tuple(_PANDA.split())),
    ("gym-pusht", "gym_pusht", ("gym_pusht/", "PushT")),
    ("flappy-bird-gymnasium", "flappy_bird_gymnasium", ("FlappyBird-",)),
    ("gym-electric-motor", "gym_electric_motor", tuple(_MOTOR.split())),
    ("bluesky-gym", "bluesky_gym", tuple(_BLUESKY.split())),
    ("shimmy", "shimmy", ("bsuite/", "OpenSpiel", "MeltingPot", "DMLab")),
    ("pcgym", "pcgym", ("pcgym",)),
)
"""Package, module to import, beginnings of ids."""

PIP = {
    **{module: package for package, module, _ in PACKAGES},
    "Box2D": "gymnasium[box2d]",
    "cv2": "opencv-python-headless",
    "dm_control": "forethought[envs]",
    "gymnax": "forethought[jaxenvs]",
    "mujoco": "forethought[envs]",
    "pgx": "forethought[search]",
    "pygame": "forethought[envs]",
}
"""What to install for a module that is missing, where it has another name."""


def route(id: str) -> str | None:
    """How an environment of another package is named, with what to install; None if no package is known for `id`."""
    known = [(package, module) for package, module, starts in PACKAGES if id.startswith(starts)]
    namespace = id.partition("/")[0].replace("-", "_").lower() if "/" in id else ""
    if not known and namespace.isidentifier() and importlib.util.find_spec(namespace) is not None:
        known = [(namespace, namespace)]
    if not known:
        return None
    package, module = known[0]
    if module == "pcgym":
        return 'give pcgym:make_env with --env.kwargs env_params={...} (pip install "pcgym")'
    missing = importlib.util.find_spec(module) is None
    return f"{package} registers it: " + f"pip install {package}, then " * missing + f"give {module}:{id}"
