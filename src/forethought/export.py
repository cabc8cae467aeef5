"""A trained policy to take away: its arrays, what they are, and a short Gymnasium loop that runs it."""

import sys
from pathlib import Path
from typing import Any

import gymnasium

from .envs.host import GymnasiumEnv, GymnasiumVectorEnv
from .errors import checked_path
from .references import findable, name_of
from .space_parts import describe_space
from .storage.files import faults, replacing
from .storage.records import check_outside_runs, dumps
from .types import Box
from .version import __version__

LOOP = '''"""Runs the policy beside this file: python run_policy.py [SEED] (needs forethought=={version})."""

import sys
from pathlib import Path

{path}import forethought
{imports}
{env}
{agent}policy = forethought.Policy.load(Path(__file__).with_name("policy.npz"){handed})

obs, info = env.reset(seed=int(sys.argv[1]) if len(sys.argv) > 1 else 0)
policy.reset()  # at the start of every episode: planners keep their plan from step to step
total, steps, terminated, truncated = 0.0, 0, False, False
while not (terminated or truncated) and steps < {limit}:
    obs, reward, terminated, truncated, info = env.step(policy.predict(obs))
    total, steps = total + float(reward), steps + 1
env.close()
print(f"return {{total:.2f}} after {{steps}} actions")
'''

OWN = """# The policy was trained in an environment that was handed over as an object, {name}. Make it here:
made = None  # from my_module import MyEnv; made = MyEnv()
if made is None:
    sys.exit("run_policy.py: the environment was handed over as an object; make it in this file, behind `made = `")
env = forethought.make_gym(made{repeat})  # a gymnasium.Env"""


def export_policy(run: Any, out: Path | str, *, which: str = "last", seed: int | None = None) -> list[Path]:
    """Writes policy.npz, policy.json and run_policy.py of `run` (an `api.Run`) to the folder `out`; returns the paths.

    Raises UserError if the run has no whole checkpoint, StorageFault if the folder cannot be written.
    """
    out = checked_path(out, "out")
    check_outside_runs(out / "policy.npz", run.path)
    with faults(out):
        out.mkdir(parents=True, exist_ok=True)
    policy = run.policy(which=which, seed=seed)
    arrays = policy.save(out / "policy.npz")
    spec, world = run.setup.env.spec, run.setup.env
    space = spec.action
    actions = (
        {"kind": "box", "low": list(space.low), "high": list(space.high)}
        if isinstance(space, Box)
        else {"kind": "discrete", "n": space.n}
    )
    observation = {"shape": [spec.obs_dim], "dtype": "float32", "angles": list(spec.angle_dims)}
    if isinstance(world, GymnasiumEnv | GymnasiumVectorEnv):
        actions, observation = describe_space(world.to_env.space), describe_space(world.observation_space)
    described = {
        "forethought": __version__,
        **policy.meta,
        "observation": observation,
        "action": actions,
        "checkpoint": which,
        "seed": run.setup.run.seed if seed is None else seed,
        "how": "forethought.Policy.load('policy.npz').predict(obs)",
    }
    written = [arrays]
    for name, content in (("policy.json", dumps(described, indent=2) + "\n"), ("run_policy.py", _loop(run))):
        with replacing(out / name) as file:
            file.write(content.encode())
        written.append(out / name)
    return written


def _loop(run: Any) -> str:
    """The text of run_policy.py."""
    setup, spec = run.setup, run.setup.env.spec
    repeat = f", action_repeat={spec.action_repeat}" * (spec.action_repeat > 1)
    entry = _entry_point(setup.env_name)
    if "env" in setup.own or not findable(setup.env_name) or (entry is not None and not findable(entry)):
        made, env = "made", OWN.format(name=setup.env_name, repeat=repeat)
    else:
        made, repeat = repr(setup.env_name), repeat + f", env_kwargs={setup.env_kwargs!r}" * bool(setup.env_kwargs)
        env = f"env = forethought.make_gym({made}{repeat})  # a gymnasium.Env"
        env = env if entry is None else f"{_registration(setup.env_name, entry)}\n{env}"
    imports, handed, agent = _handed_in(run, made, repeat)
    folders = _folders([setup.env_name, setup.agent_name, entry or "", *setup.given.values()])
    where = {folder: ", ".join(m for m, f in folders.items() if f == folder) for folder in folders.values()}
    path = "".join(
        f"sys.path.append({folder!r})  # where {modules} lies; or copy it beside this file\n"
        for folder, modules in where.items()
    )
    return LOOP.format(
        version=__version__,
        path=path,
        imports=imports,
        env=env,
        handed=handed,
        agent=agent,
        limit=-(-(spec.max_episode_steps or 1000) // spec.action_repeat),
    )


def _entry_point(id: str) -> str | None:
    """What Gymnasium makes an id of the user's own from, `module:name`; None for other names and ids."""
    spec = gymnasium.registry.get(id)
    if spec is None or spec.entry_point is None:
        return None
    entry = spec.entry_point
    named = entry if isinstance(entry, str) else name_of(entry) or "<object>"
    return None if named.startswith("gymnasium.") else named


def _registration(id: str, entry: str) -> str:
    """Lines that register `id` again, as the script did that trained the policy."""
    spec = gymnasium.registry[id]
    limit, kwargs = spec.max_episode_steps, spec.kwargs
    return (
        "import gymnasium\n\n"
        f"if {id!r} not in gymnasium.registry:\n"
        f"    gymnasium.register({id!r}, {entry!r}, max_episode_steps={limit!r}, kwargs={kwargs!r})"
    )


def _folders(names: list[str]) -> dict[str, str]:
    """Modules of the user's own that `names` come from, and the folders that they are imported from."""
    found = {}
    for name in names:
        module = name.partition(":")[0].partition(".")[0] if ":" in name else ""
        file = getattr(sys.modules.get(module), "__file__", None)
        if file is None or module == "forethought":
            continue
        path = Path(file).resolve()
        folder = path.parent.parent if path.name == "__init__.py" else path.parent
        if not {"site-packages", "dist-packages"} & set(folder.parts):
            found[module] = str(folder)
    return found


def _handed_in(run: Any, made: str, more: str) -> tuple[str, str, str]:
    """Imports and arguments for what the policy's file only names, and the line that makes an agent of the user's."""
    imports, handed, agent = [], "", ""
    names = {"reward": run.setup.given["reward"], "termination": run.setup.given["termination"]}
    for kind, name in names.items():
        module, _, function = name.partition(":")
        if function:
            imports.append(f"from {module} import {function} as {kind}")
            handed += f", {kind}={kind}"
    if "env" in names.values():
        handed += f", env={made}"
    module, _, function = run.setup.agent_name.partition(":")
    if function:
        imports.append(f"from {module} import {function} as make_agent")
        agent = f"agent = make_agent(forethought.make_env({made}{more}).spec, forethought.Given())\n"
        handed += ", agent=agent"
    return "".join(f"{line}\n" for line in imports), handed, agent
