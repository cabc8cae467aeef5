"""Environments by name, class, function or instance. Heavy packages are imported when one of theirs is asked for."""

import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Annotated, Any, Literal, overload

import gymnasium
from gymnasium.vector import VectorEnv

from ..core import AbstractEnv, AbstractGame, AbstractHostEnv
from ..errors import UserError, nearest
from ..presets.bounds import Within, checked_number
from . import dm_control, gymnax
from .acrobot import Acrobot
from .acrobot_swingup import AcrobotSwingUp
from .block_pushing import BlockPushing
from .cartpole_swingup import CartPoleSwingUp
from .catch import Catch
from .construct import construct, make_registered
from .games import pgx
from .games.connect_four import ConnectFour
from .games.tic_tac_toe import TicTacToe
from .gridworld import GridWorld
from .headless import choose_renderers
from .host import GymnasiumEnv, GymnasiumVectorEnv, HostedJaxEnv, duplicate
from .mountain_car import MountainCar, MountainCarContinuous
from .partial import SUFFIX, NoVelocity
from .pendulum import Pendulum
from .pendulum_wind import PendulumWind
from .pets_cartpole import PetsCartPole
from .pilco_tasks import pilco_cartpole, pilco_pendulum
from .pixels import Request, as_pixels, check_size, has_picture, no_velocity, requested
from .point_mass import PointMass
from .point_mass_obstacle import PointMassObstacle
from .quadrotor import PlanarQuadrotor
from .reacher import Reacher
from .repeat import ActionRepeat
from .sharing import refuse_running_statistics
from .tabular import TABULAR
from .task import AbstractTask
from .third_party import PIP, route
from .vehicle import DynamicBicycle, KinematicBicycle, Vehicle

MOST_ENVS = 100_000  # of Python objects side by side, of about 10 kB each

TASKS: dict[str, Callable[[], AbstractTask]] = {
    "pets-cartpole": PetsCartPole,
    "cartpole-swingup": CartPoleSwingUp,
    "pilco-cartpole": pilco_cartpole,
    "pilco-pendulum": pilco_pendulum,
    "pendulum": Pendulum,
    "pendulum-wind": PendulumWind,
    "acrobot": Acrobot,
    "acrobot-swingup": AcrobotSwingUp,
    "mountain-car": MountainCar,
    "mountain-car-continuous": MountainCarContinuous,
    "point-mass": PointMass,
    "point-mass-obstacle": PointMassObstacle,
    "reacher": Reacher,
    "block-pushing": BlockPushing,
    "planar-quadrotor": PlanarQuadrotor,
    "vehicle": Vehicle,
    "bicycle": KinematicBicycle,
    "dynamic-bicycle": DynamicBicycle,
    "catch": Catch,
    "gridworld": GridWorld,
}

GAMES: dict[str, Callable[[], AbstractGame]] = {"tic-tac-toe": TicTacToe, "connect-four": ConnectFour}

OWN: dict[str, Callable[[], AbstractEnv]] = {**TASKS, **GAMES, **TABULAR}

OTHERS: dict[str, Callable[..., Any]] = {
    "dm_control/": dm_control.DmControlEnv,
    "gymnax/": gymnax.GymnaxEnv,
    pgx.PREFIX: pgx.PgxGame,
}

ALIASES: dict[str, str] = {
    "minatar-asterix": "gymnax/Asterix-MinAtar",
    "minatar-breakout": "gymnax/Breakout-MinAtar",
    "minatar-freeway": "gymnax/Freeway-MinAtar",
    "minatar-space-invaders": "gymnax/SpaceInvaders-MinAtar",
}


@overload
def make(
    env: Any,
    *,
    num_envs: int = 1,
    action_repeat: int = 1,
    host: Literal[True],
    env_kwargs: Mapping[str, Any] | None = None,
    numbered: bool = True,
) -> AbstractHostEnv: ...
@overload
def make(
    env: Any,
    *,
    num_envs: int = 1,
    action_repeat: int = 1,
    host: bool = False,
    env_kwargs: Mapping[str, Any] | None = None,
    numbered: bool = True,
) -> AbstractEnv | AbstractHostEnv: ...
def make(
    env: Any,
    *,
    num_envs: int = 1,
    action_repeat: int = 1,
    host: bool = False,
    env_kwargs: Mapping[str, Any] | None = None,
    numbered: bool = True,
) -> AbstractEnv | AbstractHostEnv:
    """The environment that `env` names or is.

    `env` is one of our own ids, `dm_control/<domain>-<task>-v0`, `gymnax/<id>`, `minatar-<game>`, `pgx/<game>`, a
    Gymnasium id, `package:ID` for one that importing the package registers, `package.module:EnvClass`, an instance, or
    a class or function that makes one, which is handed `env_kwargs`. An id with `-pixels` behind it (then `-32` for a
    size, `-grey`, `-velocity`) is that task seen as pictures, 64x64 in colour; one of our own with `-no-velocity`
    behind it does not show its velocities. JAX-native ones come as they are unless `host`; all others come with
    `num_envs` environments side by side. Discrete observations are the number of a state where `numbered`, else
    one-hot.
    Raises UserError if there is no such environment, its package is missing, or its spaces are not supported.
    """
    num_envs = checked_number(int, num_envs, "num_envs")
    action_repeat = checked_number(int, action_repeat, "action_repeat")
    choose_renderers()
    name, again = (env, _maker(env, env_kwargs)) if isinstance(env, str) else (None, _bound(env, env_kwargs))
    made = again if _is_env(again) or not callable(again) else again()
    if not _is_env(made):
        raise UserError(
            f"{env!r} gives {type(made).__name__}, wanted a gymnasium.Env, a gymnasium.vector.VectorEnv, an "
            "AbstractEnv or an AbstractHostEnv, or a class or function that makes one"
        )
    _check_spaces(made, name or type(made).__name__)
    instance = again is made
    if isinstance(made, AbstractEnv):
        made = ActionRepeat(made, action_repeat) if action_repeat > 1 else made
        return HostedJaxEnv(made, num_envs) if host else made
    if isinstance(made, gymnasium.Env):
        more: Callable[[], Any] = (lambda: duplicate(made)) if instance else again
        checked_number(Annotated[int, Within(1, MOST_ENVS)], num_envs, "num_envs")
        envs = [made, *(more() for _ in range(num_envs - 1))]
        return GymnasiumEnv(envs, again=more, name=name, action_repeat=action_repeat, numbered=numbered)
    return _side_by_side(made, None if instance else again, num_envs, action_repeat, numbered)


def _check_spaces(env: Any, name: str) -> None:
    """Raises UserError for a Gymnasium environment that does not say what it observes and takes."""
    if not isinstance(env, gymnasium.Env | VectorEnv):
        return
    kinds = ("single_" if isinstance(env, VectorEnv) else "") + "observation_space", "action_space"
    for kind in kinds:
        try:
            getattr(env, kind)
        except AttributeError:
            raise UserError(
                f"{name} has no {kind}, which every Gymnasium environment must have; set self.{kind} to a "
                "gymnasium.spaces.Box or Discrete in its __init__"
            ) from None


def list_envs(*, quick: bool = False) -> dict[str, list[str]]:
    """All known ids by family; families whose package is not installed are left out.

    `quick`: ids of gymnax as its source names them, since importing it takes many seconds.
    """
    own = [*OWN, *(f"{id}-pixels" for id, kind in TASKS.items() if has_picture(kind))]
    own += [id + SUFFIX for id, kind in TASKS.items() if kind().velocity_dims]
    families = {"forethought": own, "gymnasium": sorted(gymnasium.registry)}
    if importlib.util.find_spec("gymnax") is not None:
        families["minatar"] = list(ALIASES)
    for family, module in (("dm_control", dm_control), ("gymnax", gymnax), ("pgx", pgx)):
        if importlib.util.find_spec(family) is not None:
            try:
                families[family] = gymnax.names_on_paper() if quick and module is gymnax else module.task_ids()
            except UserError:  # installed, but not working
                continue
    return families


def _is_env(env: object) -> bool:
    return isinstance(env, gymnasium.Env | VectorEnv | AbstractEnv | AbstractHostEnv)


def _side_by_side(env, again, num_envs: int, action_repeat: int, numbered: bool) -> AbstractHostEnv:
    """A vector environment, or a host environment of the user's own."""
    if action_repeat > 1:
        raise UserError(
            f"action_repeat={action_repeat} does not work on {type(env).__name__}, because its environments end "
            "at different times; repeat actions inside the single environments instead"
        )
    if num_envs not in (1, env.num_envs):
        raise UserError(f"num_envs={num_envs}, but {type(env).__name__} has {env.num_envs}; leave the option out")
    if isinstance(env, VectorEnv):
        return GymnasiumVectorEnv(env, again=again, numbered=numbered)
    refuse_running_statistics(env.spec.name, env)
    return env


def _bound(env: Any, kwargs: Mapping[str, Any] | None, name: str | None = None) -> Any:
    """A function without arguments that makes the environment; `env` itself where it is one."""
    if not _is_env(env) and callable(env):
        return lambda: construct(env, name, kwargs)
    if kwargs:
        label = name or type(env).__name__
        raise UserError(f"env_kwargs: {label} is constructed already; hand in its class, or leave env_kwargs out")
    return env


def _maker(id: str, kwargs: Mapping[str, Any] | None = None) -> Any:
    """What makes the environment called `id`, without arguments. Raises UserError if nothing does."""
    if id in OWN:
        return _bound(OWN[id], kwargs, id)
    if (asked := requested(id)) is not None:
        return _seen(asked, kwargs)
    if id.endswith(SUFFIX):
        whole = _maker(id.removesuffix(SUFFIX), kwargs)
        return lambda: NoVelocity(whole())
    name = ALIASES.get(id, id)
    for start, kind in OTHERS.items():
        if name.startswith(start):
            if kwargs:
                raise UserError(f"env_kwargs: {id} takes no arguments; leave env_kwargs out")
            return lambda: construct(kind, id, {"id": name})
    if ":" in id:
        found = _import(id)
        if found is not None:
            return _bound(found, kwargs, id)
        id = id.split(":", 1)[1]
    try:
        gymnasium.spec(id)
    except (gymnasium.error.Error, ValueError) as error:
        raise UserError(f"unknown environment {id!r}; {_suggest(id)}") from error
    return lambda: make_registered(id, kwargs)


def _seen(asked: Request, kwargs: Mapping[str, Any] | None) -> Callable[[], Any]:
    """What makes a task that is seen as pictures."""
    if asked.env.startswith("dm_control/"):
        check_size(asked.size)
        if asked.velocity:
            raise no_velocity(asked.env)
        if kwargs:
            raise UserError(f"env_kwargs: {asked.env} takes no arguments; leave env_kwargs out")
        return lambda: dm_control.DmControlEnv(asked.env, pixels=asked.size, grey=asked.grey)
    plain = _maker(asked.env, kwargs)
    return lambda: as_pixels(plain() if callable(plain) and not _is_env(plain) else plain, *asked[1:])


def _suggest(id: str) -> str:
    """How to name it: by its package, or as the nearest known ids. The slow families are looked at last."""
    if (known := route(id)) is not None:
        return known
    near = difflib.get_close_matches(id, [*OWN, *ALIASES, *gymnasium.registry], n=3, cutoff=0.75)
    if not near:
        everywhere = [name for names in list_envs(quick=True).values() for name in names]
        near = difflib.get_close_matches(id, everywhere, n=3, cutoff=0.7)
    if near:
        return f"did you mean {' or '.join(near)}?"
    if "/" in id:
        return f"import the package that registers it: package:{id} (`forethought list envs` shows what is known)"
    return f"known: {', '.join(OWN)}; `forethought list` shows all; for one that a package registers give package:ID"


def _import(path: str) -> Any:
    """What `package.module:name` names, seeing the working directory as `python -m` does.

    None where it is a Gymnasium id that importing the module has registered.
    """
    module_name, name = path.split(":", 1)
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            package = PIP.get(module_name.partition(".")[0])
            remedy = f'; run: pip install "{package}"' if package else ""
            raise UserError(
                f"{path!r}: no module {module_name!r} in {here} or among the installed packages{remedy}"
            ) from error
        raise UserError(f"{path!r}: importing {module_name} needs {error.name}, not installed") from error
    except (Exception, SystemExit) as error:
        raise UserError(f"{path!r}: importing {module_name} raised {type(error).__name__}: {error}") from error
    if name in vars(module):
        return vars(module)[name]
    register = vars(module).get("register_envs")  # some packages register nothing before it is called
    if name not in gymnasium.registry and callable(register):
        register()
    if name in gymnasium.registry:
        return None
    own = {known: kept for known, kept in vars(module).items() if not known.startswith("_")}
    public = [known for known, kept in own.items() if not isinstance(kept, ModuleType)]
    package = module_name.partition(".")[0]
    public += [id for id, spec in gymnasium.registry.items() if str(spec.entry_point).startswith(package)]
    raise UserError(f"{path!r}: module {module_name} has no {name!r}; {nearest(name, public)}")
