"""A trained policy to take away: its arrays, what they are, and a short loop that runs it."""

from pathlib import Path
from typing import Any

from .errors import checked_path
from .storage.files import faults, replacing
from .storage.records import check_outside_runs, dumps
from .types import Box
from .version import __version__

LOOP = '''"""Runs the policy beside this file in its environment: python {name} (needs forethought=={version})."""

import sys
from pathlib import Path

import jax
{imports}
import forethought

env = forethought.make_env({env!r}, host=True, action_repeat={repeat})
policy = forethought.Policy.load(Path(__file__).with_name("policy.npz"){handed})
key = jax.random.key(int(sys.argv[1]) if len(sys.argv) > 1 else 0)

obs, total, steps = env.start([key])[0], 0.0, 0
policy.reset()  # at the start of every episode: planners keep their plan from step to step
while steps < {limit}:
    action = policy.predict(obs)
    step = env.step(action[None], step_key=jax.random.fold_in(key, steps), reset_key=lambda i: key)
    obs, total, steps = step.obs[0], total + float(step.reward[0]), steps + 1
    if step.terminated[0] or step.truncated[0]:
        break
print(f"return {{total:.2f}} after {{steps}} actions")
'''


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
    spec = run.setup.env.spec
    space = spec.action
    actions = (
        {"kind": "box", "low": list(space.low), "high": list(space.high)}
        if isinstance(space, Box)
        else {"kind": "discrete", "n": space.n}
    )
    described = {
        "forethought": __version__,
        **policy.meta,
        "observation": {"shape": [spec.obs_dim], "dtype": "float32", "angles": list(spec.angle_dims)},
        "action": actions,
        "checkpoint": which,
        "seed": run.setup.run.seed if seed is None else seed,
        "how": "forethought.Policy.load('policy.npz').predict(obs)",
    }
    imports, handed = _handed_in(run)
    text = LOOP.format(
        imports=imports,
        handed=handed,
        name="run_policy.py",
        version=__version__,
        env=run.setup.env_name,
        repeat=spec.action_repeat,
        limit=-(-(spec.max_episode_steps or 1000) // spec.action_repeat),
    )
    written = [arrays]
    for name, content in (("policy.json", dumps(described, indent=2) + "\n"), ("run_policy.py", text)):
        with replacing(out / name) as file:
            file.write(content.encode())
        written.append(out / name)
    return written


def _handed_in(run: Any) -> tuple[str, str]:
    """Imports and arguments for what the policy's file only names."""
    imports, handed = [], ""
    names = {"reward": run.setup.given["reward"], "termination": run.setup.given["termination"]}
    for kind, name in names.items():
        module, _, function = name.partition(":")
        if function:
            imports.append(f"from {module} import {function} as {kind}")
            handed += f", {kind}={kind}"
    if "env" in names.values():
        handed += f", env={run.setup.env_name!r}"
    module, _, function = run.setup.agent_name.partition(":")
    if function:
        imports.append(f"from {module} import {function} as make_agent")
        handed += ", agent=make_agent(env.spec, forethought.Given())"
    return "".join(f"\n{line}" for line in imports) + "\n" * bool(imports), handed
